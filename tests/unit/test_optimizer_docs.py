"""docs/optimizer.md: its script runs on two processes, and what it shows is what there is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import muonlab
from muonlab import Muon, muon_with_adamw

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "optimizer.md").read_text(encoding="utf-8")


def part(name: str) -> str:
    (found,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", PAGE, re.DOTALL)
    return found


def started(script: Path, rank: int) -> subprocess.Popen:
    """One of two processes of a run, as torchrun starts them, on files instead of a port."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(muonlab.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    meet = f"file://{script.parent}/rendezvous"
    code = script.read_text().replace(
        'init_process_group("gloo")',
        f'init_process_group("gloo", init_method={meet!r}, rank={rank}, world_size=2)',
    )
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=environment, cwd=script.parent, stdout=pipe, stderr=pipe, text=True
    )


def run(script: Path) -> str:
    script.with_name("rendezvous").unlink(missing_ok=True)
    processes = [started(script, rank) for rank in range(2)]
    outputs = [process.communicate(timeout=500) for process in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs
    return outputs[0][0]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    (code,) = re.findall(r"```python\n(.*?)```", part("script"), re.DOTALL)
    script = tmp_path_factory.mktemp("script") / "train.py"
    script.write_text(code)
    return run(script), run(script)


def test_the_script_trains_on_two_processes_and_goes_on_from_its_checkpoint(outputs):
    loss = float(re.fullmatch(r"loss ([0-9.]+)\n", outputs[1])[1])
    assert loss < 0.6 * torch.tensor(16.0).log().item(), "well below that of a guess"


def test_the_routing_that_is_shown_is_that_of_the_script(outputs):
    assert outputs[0] == re.findall(r"```\n(.*?)```", part("routing"), re.DOTALL)[0]


def test_the_settings_that_are_listed_are_those_of_the_class():
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", part("settings"), re.M)
    assert dict(rows) == {name: repr(d) for name, (_, d) in Muon.settings.items()}


def test_the_groups_that_are_listed_are_the_roles():
    from muonlab.optim import roles

    names = {getattr(roles, n) for n in ("MATRIX", "FUSED", "STACK", "EMBEDDING", "HEAD", "VECTOR")}
    names |= {roles.CONVOLUTION, roles.OTHER}
    section = PAGE.split("## Who trains what")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.M)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == names


def test_the_readmes_example_is_one_for_a_model_of_ones_own():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 5))
    namespace = {"model": model}
    exec(code, namespace)
    found = {row.tensor: row.optimizer for row in namespace["optimizer"].routing}
    assert [name for name, who in found.items() if who == "muon"] == ["1.weight"]
    assert set(found) == {name for name, _ in model.named_parameters()}


def test_the_calls_that_are_shown_are_accepted():
    model = nn.ModuleDict(
        {
            "first_layer": nn.Linear(4, 5),
            "block": nn.ModuleDict({"router": nn.Linear(5, 3), "up": nn.Linear(5, 7)}),
            "patches": nn.Linear(7, 5),
        }
    )
    calls = re.findall(r"^muon_with_adamw\(.*\)$", PAGE, re.M)
    assert len(calls) == 2
    for call in calls:
        optimizer = eval(call, {"muon_with_adamw": muon_with_adamw, "model": model})
        assert optimizer.matrix_groups
    thawed = {"matrices": [nn.Parameter(torch.ones(3, 3))], "biases": [nn.Parameter(torch.ones(3))]}
    for call in re.findall(r"^optimizer\.add_param_group\(.*\)$", PAGE, re.M):
        eval(call, thawed | {"optimizer": optimizer})
