"""The pins of the conda files and of the pip lists are the same, and every import is pinned."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

from muonlab.digest import closure

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"
SCRIPTS = ROOT / "workflow_scripts"
# Import names that are not the distribution's name.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow"}
# Scripts that load a module of a folder by its name, whichever the job needs.
LOADED = {
    "figures.py": ("report/figures", "report/across"),
    "tables.py": ("report/tables", "report/across"),
    "texts.py": ("report/texts", "report/across"),
    "folders.py": ("report/across",),
    "measure.py": ("probes",),
    "prepare.py": ("data/sources",),
    "train.py": ("optim",),
    "profile_overhead.py": ("optim",),
}
# Late imports of functions that only some jobs call, and the conda files that hold them.
CALLED_BY = {
    ("streams.py", "torch"): {"measure.yaml", "train.yaml"},
    ("vision.py", "sklearn"): {"train.yaml"},
    ("vision.py", "torchvision"): {"train.yaml"},
}


def pins(lines) -> dict[str, str]:
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)==([^ ;]+)", line.strip())
        if match:
            found[match[1].lower()] = match[2]
    return found


REQUIREMENTS = pins((ENVS / "requirements.txt").read_text().splitlines())
# Packages that say where they are missing: loggers, and optuna for the search tpe.
OPTIONAL = {*pins((ENVS / "requirements-logging.txt").read_text().splitlines()), "optuna"}


def conda_pins(path: Path) -> dict[str, str]:
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    (listed,) = [d["pip"] for d in dependencies if isinstance(d, dict)]
    found = pins(listed)
    assert len(found) == len(listed), f"{path.name}: every package is pinned by =="
    return found


@pytest.mark.parametrize("path", sorted(ENVS.glob("*.yaml")), ids=lambda p: p.name)
def test_conda_files_repeat_the_pins(path):
    for package, version in conda_pins(path).items():
        assert REQUIREMENTS.get(package) == version, package


def test_every_requirement_is_pinned():
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-logging.txt"):
        lines = (ENVS / name).read_text().splitlines()
        content = [line for line in lines if line and not line.startswith(("#", "-r "))]
        assert len(pins(content)) == len(content)


def test_development_builds_on_the_users_requirements():
    assert "-r requirements.txt" in (ENVS / "requirements-dev.txt").read_text().splitlines()


def imported(path: Path) -> set[str]:
    """Top-level names of what a module imports, inside functions too, but not for types alone."""
    names = set()
    waiting = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return names


def test_every_package_that_the_library_imports_is_required():
    for path in (ROOT / "workflow_scripts").rglob("*.py"):
        for name in imported(path) - set(sys.stdlib_module_names) - {"muonlab"} - OPTIONAL:
            assert DISTRIBUTIONS.get(name, name).lower() in REQUIREMENTS, f"{path.name}: {name}"


def jobs() -> list[tuple[str, Path, Path]]:
    """Rule, script and conda file of every rule that runs a script."""
    found = []
    for path in (ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))):
        parts = re.split(r"^ *(?:rule|checkpoint)(?: (\w+))?:$", path.read_text(), flags=re.M)
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            scripts = re.findall(r'^ *script:\s+"([^"]+)"', body, re.M)
            environments = re.findall(r'^ *conda:\s+"([^"]+)"', body, re.M)
            assert len(scripts) == len(environments) <= 1, f"{path.name}: {name}"
            for script, environment in zip(scripts, environments, strict=True):
                places = ((path.parent / p).resolve() for p in (script, environment))
                found.append((name, *places))
    return found


def modules(script: Path) -> set[Path]:
    """All modules that a job with that script may import."""
    found = closure([script], SCRIPTS)
    for folder in LOADED.get(script.name, ()):
        for module in (SCRIPTS / "muonlab" / folder).glob("*.py"):
            found |= closure([module], SCRIPTS)
    return found


def test_every_job_names_an_environment_that_exists():
    text = "".join(f.read_text() for f in (ROOT / "rules").glob("*.smk"))
    assert len(jobs()) == len(re.findall(r"^ *script:", text, re.M)) > 0
    for name, script, environment in jobs():
        assert script.is_file() and environment.is_file(), name


def test_only_scripts_that_are_known_to_load_modules_by_name_do():
    for script in {script for _, script, _ in jobs()} - {SCRIPTS / name for name in LOADED}:
        for module in closure([script], SCRIPTS):
            if module.parent.name != "jobs":
                assert "import_module" not in module.read_text(), f"{script.name}: {module.name}"


@pytest.mark.parametrize("environment", sorted(ENVS.glob("*.yaml")), ids=lambda p: p.name)
def test_an_environment_holds_what_its_scripts_import(environment):
    """Modules imported late, inside a function, count too."""
    scripts = {script for _, script, needed in jobs() if needed == environment}
    assert scripts, "no rule uses it"
    needed = {
        DISTRIBUTIONS.get(name, name).lower(): f"{module.name}, which {script.name} imports"
        for script in scripts
        for module in modules(script)
        for name in imported(module)
        if environment.name in CALLED_BY.get((module.name, name), {environment.name})
    }
    missing = {p: where for p, where in needed.items() if p in REQUIREMENTS}
    for package in conda_pins(environment):
        missing.pop(package, None)
    assert not missing
