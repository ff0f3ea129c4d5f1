"""Imports run one way through the rooms, and the plan stays fast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "workflow_scripts" / "muonlab"
# What each room may import besides itself.
ALLOWED = {
    "io": set(),
    "jobs": {"io"},
    "plan": {"data", "digest", "io", "optim", "section", "streams", "tuning"},
    "data": {"io", "section", "streams"},
    "models": {"streams"},
    "optim": {"streams"},
    "measure": set(),
    "statistics": {"io", "streams"},
    "tuning": {"io", "section", "statistics", "streams"},
    "report": {"declare", "io", "statistics", "tuning"},
    "training": {"hooks", "io", "streams", "data", "models", "optim", "observers"},
    "observers": {"hooks", "io", "measure"},
    "probes": {
        *("declare", "io", "streams", "data", "models", "optim", "measure", "training", "tuning")
    },
}
# Single modules that a room may import besides: arithmetic without torch.
ALLOWED_MODULES = {"report": {"muonlab.measure.stability", "muonlab.measure.nulls"}}


def modules_imported(path):
    """What a file imports from muonlab, each as the longest name that is a module or a package."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if is_module(name) else node.module for name in whole]
        yield from (name for name in names if name.startswith("muonlab."))


def is_module(name):
    path = LIBRARY.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_lies_below_it(room):
    allowed = ALLOWED[room] | {room}
    for path in (LIBRARY / room).rglob("*.py"):
        for module in modules_imported(path):
            known = module.split(".")[1] in allowed or module in ALLOWED_MODULES.get(room, ())
            assert known, f"{path.name} imports {module}"


def test_every_room_is_listed():
    assert {p.parent.name for p in LIBRARY.glob("*/__init__.py")} == set(ALLOWED)


def test_package_files_are_empty():
    """But for the package's own, which has the public names."""
    assert not [p for p in LIBRARY.glob("*/**/__init__.py") if p.stat().st_size]


def test_the_plan_never_imports_torch_nor_other_slow_packages():
    code = (
        "import sys, muonlab.plan.runs, muonlab.digest, muonlab.plan.datasets;"
        "slow = {'torch', 'numpy', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'pyarrow'}"
        " | {'datasets', 'tokenizers', 'torchvision'};"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    environment = {"PYTHONPATH": str(LIBRARY.parent)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
