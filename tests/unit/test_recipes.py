"""A new optimizer and a new source of data are one new file each, in a copy of the library."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import muonlab

LIBRARY = Path(muonlab.__file__).parent

LION = '''"""Lion: the sign of a momentum, for matrices."""

import torch

from muonlab.optim.hyperparameters import Beta, NotNegative, optimizer
from muonlab.optim.matrix_optimizer import MatrixOptimizer


@optimizer
class Lion(MatrixOptimizer):
    """Chen et al., arXiv 2302.06675, without its second rate."""

    weight_decay: NotNegative = 0.1
    """Decoupled weight decay."""
    beta: Beta = 0.9
    """Decay rate of the momentum."""

    def update(self, p, group):
        state = self.state[p]
        state.setdefault("momentum", torch.zeros_like(p)).lerp_(p.grad, 1 - group["beta"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.sub_(state["momentum"].sign(), alpha=group["lr"])
'''
TRAINS_LION = """
import torch
from muonlab.models.mlp import MLP
from muonlab.optim.factory import build_optimizer
from muonlab.plan.optimizers import OPTIMIZERS
section = OPTIMIZERS["lion"](name="lion", lr=0.5, beta=0.8).model_dump()
net = MLP(6, 3, 8, 2, False, "relu")
before = [p.detach().clone() for p in net.parameters()]
optimizer = build_optimizer(net, section)
net(torch.randn(4, 6)).square().mean().backward()
optimizer.step()
assert all(not torch.equal(p, b) for p, b in zip(net.parameters(), before))
assert [g["beta"] for g in optimizer.matrix_groups] == [0.8]
try:
    OPTIMIZERS["lion"](name="lion", beta=1.0)
except ValueError as refused:
    assert "less than 1" in str(refused)
from muonlab.plan.schema import json_schema
assert "Decay rate of the momentum." in json_schema()
"""


def run(code, library, *arguments, cwd=None):
    """Runs Python code with the library that lies in a folder."""
    environment = os.environ | {"PYTHONPATH": str(library), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def library(tmp_path):
    """A folder with a copy of the library."""
    shutil.copytree(LIBRARY, tmp_path / "muonlab", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_new_optimizer_is_one_new_file(library):
    (library / "muonlab/optim/lion.py").write_text(LION)
    done = run(TRAINS_LION, library)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("beta: Beta", "beta: Betta"),
        ("Beta = 0.9", "Beta = torch.tensor(0.9)"),
        ('    """Decay rate of the momentum."""\n', ""),
    ],
    ids=["type", "default", "sentence"],
)
def test_a_setting_that_is_not_complete_is_named(library, old, new):
    (library / "muonlab/optim/lion.py").write_text(LION.replace(old, new))
    assert "Lion.beta: a setting needs" in run("import muonlab.plan.optimizers", library).stderr


def test_optimizers_need_torch_alone(library):
    shutil.rmtree(library / "muonlab/plan")
    code = "import sys; sys.modules['pydantic'] = None; from muonlab.optim.muon import Muon;"
    done = run(code + "print(Muon.settings['momentum'][1])", library)
    assert done.stdout == "0.95\n", done.stderr


# ---------------------------------------------------------------- data

STRIPES = '''"""Images of stripes."""

from typing import Literal

from pydantic import Field

from muonlab.data.sections import Images


class Stripes(Images):
    """Vertical and horizontal stripes, made here."""

    source: Literal["stripes"]
    count: int = Field(default=40, ge=10)
    """Images of both kinds."""

    def read(self, place):
        import numpy as np

        from muonlab.data.labelled import Labelled
        from muonlab.data.vision import hold_out

        labels = (np.arange(self.count) % 2).astype(np.uint8)
        whole = Labelled(np.repeat(labels[:, None], 16, axis=1), labels)
        train, validation = hold_out(whole, 5, 0, place("validation"))
        return {"train": train, "validation": validation, "test": whole}, 1
'''
NOTES = '''"""Documents of one file of notes."""

from pathlib import Path
from typing import Literal

from muonlab.data.sections import Text


class Notes(Text):
    """Notes, one a line."""

    source: Literal["notes"]
    path: str
    """The file."""

    def inputs(self, place):
        return [Path(self.path), *super().inputs(place)]

    def read(self, place, mended):
        return {"name": "notes"}, iter(Path(self.path).read_text().splitlines())
'''
PREPARES = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from pydantic import TypeAdapter
from muonlab.plan.datasets import KINDS, DataConfig, source_files
from muonlab.plan.schema import json_schema
assert not {"numpy", "torch"} & set(sys.modules)
assert (KINDS["stripes"], KINDS["notes"]) == ("images", "text")
assert "Images of both kinds." in json_schema()
check = TypeAdapter(DataConfig).validate_python
stripes = check({"source": "stripes", "count": 30}).model_dump()
notes = check({"source": "notes", "path": sys.argv[1], "vocab_size": 300}).model_dump()
plan = SimpleNamespace(data={"s": stripes, "n": notes}, place=lambda *path: ".".join(path))
assert (source_files("s", plan), source_files("n", plan)) == ([], [sys.argv[1]])
from muonlab.data import text, vision
vision.prepare("s", stripes, Path("s"))
text.prepare("n", notes, Path("n"))
facts = [json.loads(Path(name, "digest.json").read_text()) for name in "sn"]
print(facts[0]["splits"]["train"]["examples"], facts[1]["source"], facts[1]["read"]["documents"])
"""


def test_a_new_source_of_images_or_of_text_is_one_new_file(library, tmp_path):
    (library / "muonlab/data/sources/stripes.py").write_text(STRIPES)
    (library / "muonlab/data/sources/notes.py").write_text(NOTES)
    for name in "sn":
        (tmp_path / name).mkdir()
    notes = tmp_path / "notes.txt"
    words = [str(n) for n in random.Random(0).choices(range(10**6), k=6000)]
    notes.write_text("\n".join(" ".join(words[i::200]) for i in range(200)))
    done = run(PREPARES, library, str(notes), cwd=tmp_path)
    assert done.stdout == "25 {'name': 'notes'} 200\n", done.stderr
