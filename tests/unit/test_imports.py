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
    "plan": {"data", "io", "optim", "section", "streams", "tuning"},
    "data": {"io", "section", "streams"},
    "models": {"streams"},
    "optim": set(),
    "measure": set(),
    "statistics": {"io", "streams"},
    "tuning": {"io", "section", "statistics", "streams"},
    "report": {"io", "statistics", "tuning"},
    "training": {"io", "streams", "data", "models", "optim", "observers", "measure"},
    "observers": {"io", "measure"},
    "probes": {"io", "streams", "data", "models", "optim", "measure", "training"},
}


def rooms_imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            parts = name.split(".")
            if parts[0] == "muonlab" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_lies_below_it(room):
    for path in (LIBRARY / room).rglob("*.py"):
        for imported in rooms_imported(path):
            assert imported in ALLOWED[room] | {room}, f"{path.name} imports {imported}"


def test_every_room_is_listed():
    assert {p.parent.name for p in LIBRARY.glob("*/__init__.py")} == set(ALLOWED)


def test_package_files_are_empty():
    assert not [p for p in LIBRARY.rglob("__init__.py") if p.stat().st_size]


def test_the_plan_never_imports_torch_nor_other_slow_packages():
    code = (
        "import sys, muonlab.plan.runs, muonlab.digest, muonlab.plan.datasets;"
        "slow = {'torch', 'numpy', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'pyarrow'}"
        " | {'datasets', 'tokenizers', 'torchvision'};"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    environment = {"PYTHONPATH": str(LIBRARY.parent)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
