"""What someone installs who wants the optimizer alone: torch and nothing else."""

import importlib.metadata
import inspect
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import muonlab

LIBRARY = Path(muonlab.__file__).parent
SAYS_WHAT_IT_LOADED = """
import sys
import zipfile
import warnings
warnings.simplefilter("error")
import muonlab
assert "torch" not in sys.modules, "the package itself does not wait for torch"
from muonlab import Muon, muon_with_adamw
from torch import nn
import torch
model = nn.Sequential(nn.Embedding(9, 40), nn.Linear(40, 50), nn.GELU(), nn.Linear(50, 9))
optimizer = muon_with_adamw(model, lr=0.01)
before = [p.detach().clone() for p in model.parameters()]
for k in range(2):
    model(torch.arange(9)).logsumexp(-1).sum().backward()
    optimizer.step()
assert not any(torch.equal(p, b) for p, b in zip(model.parameters(), before))
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def needs_of(package: str) -> set[str]:
    """The distributions that a package needs on this machine, itself included."""
    found, waiting = set(), [package]
    while waiting:
        name = waiting.pop()
        found.add(name)
        for line in importlib.metadata.requires(name) or ():
            requirement, _, marker = line.partition(";")
            needed = re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower()
            if "extra" not in marker and needed not in found:
                waiting += [needed] if installed(needed) else []
    return found


def installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(scope="module")
def torch_alone(tmp_path_factory):
    """A folder in which torch, what torch needs, and this package can be imported."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "muonlab").symlink_to(LIBRARY)
    for name in needs_of("torch"):
        for file in importlib.metadata.files(name) or ():
            top = file.parts[0]
            source = Path(file.locate()).parents[len(file.parts) - 1] / top
            if top != ".." and source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source)
    return folder


def run_alone(folder: Path, code: str) -> subprocess.CompletedProcess:
    """Runs code that sees the standard library and `folder`, and no installed package."""
    start = f"import sys; sys.path.append({str(folder)!r})\n"
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-I", "-S", "-c", start + code]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_optimizer_needs_torch_alone_and_starts_without_a_warning(torch_alone):
    done = run_alone(torch_alone, SAYS_WHAT_IT_LOADED)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    others = {"numpy", "pandas", "pydantic", "scipy", "yaml", "matplotlib", "pyarrow"}
    assert not others & set(done.stdout.split())


def test_every_module_of_the_wheel_works_with_torch_alone(torch_alone):
    modules = [f"muonlab.optim.{path.stem}" for path in sorted(LIBRARY.glob("optim/[a-z]*.py"))]
    code = "".join(f"import {module}\n" for module in [*modules, "muonlab.streams"])
    done = run_alone(torch_alone, code)
    assert done.returncode == 0, done.stderr


def test_public_names_are_those_that_the_types_declare():
    stub = (LIBRARY / "__init__.pyi").read_text()
    declared = set(re.findall(r"^(?:class|def) (\w+)", stub, re.M))
    assert declared == set(muonlab.__all__) == set(muonlab.PUBLIC)
    assert set(muonlab.__all__) <= set(dir(muonlab))
    assert (LIBRARY / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'Adam'"):
        _ = muonlab.Adam


@pytest.mark.parametrize("name", ["Muon", "muon_with_adamw", "newton_schulz"])
def test_the_types_name_every_argument_with_its_default(name):
    import ast

    (node,) = (
        found
        for found in ast.parse((LIBRARY / "__init__.pyi").read_text()).body
        if getattr(found, "name", None) == name
    )
    if isinstance(node, ast.ClassDef):
        (node,) = (f for f in node.body if getattr(f, "name", None) == "__init__")
    places = [a.arg for a in node.args.args if a.arg != "self"]
    lacking = [None] * (len(places) - len(node.args.defaults))
    stated = dict(zip(places, [*lacking, *node.args.defaults], strict=True))
    stated |= {a.arg: d for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)}
    parameters = inspect.signature(getattr(muonlab, name)).parameters.values()
    own = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
    if name == "muon_with_adamw":
        own |= {n: default for n, (_, default) in muonlab.Muon.settings.items() if n != "split"}
        own["weight_decay"] = 0.1
    assert set(stated) == set(own)
    for argument, default in own.items():
        if default is not inspect.Parameter.empty:
            assert ast.literal_eval(stated[argument]) == default, argument


def test_the_wheel_holds_the_optimizers_alone(tmp_path):
    """Built from a copy, so that nothing is left in the checkout."""
    pytest.importorskip("setuptools", minversion="77")
    root = LIBRARY.parents[1]
    (tmp_path / "envs").mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "envs/requirements.txt"):
        shutil.copy(root / name, tmp_path / name)
    shutil.copytree(LIBRARY, tmp_path / "workflow_scripts" / "muonlab")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", "out", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(file) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        needs = re.findall(r"^Requires-Dist: (.*)$", wheel.read(metadata).decode(), re.M)
    optimizers = {f"muonlab/optim/{path.name}" for path in LIBRARY.glob("optim/*.py")}
    beside = {"__init__.py", "__init__.pyi", "py.typed", "streams.py"}
    assert held == optimizers | {f"muonlab/{name}" for name in beside}
    assert [need for need in needs if "extra ==" not in need] == ["torch>=2.9"]
    pinned = [need.split(";")[0].strip() for need in needs if 'extra == "workflow"' in need]
    lines = (root / "envs" / "requirements.txt").read_text().splitlines()
    assert sorted(pinned) == sorted(line for line in lines if line and not line.startswith("#"))
