"""The pins of the conda files and of the pip lists are the same, and every import is pinned."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"
SCRIPTS = ROOT / "workflow_scripts"
# Import names that are not the distribution's name.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml"}


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
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_every_package_that_the_library_imports_is_required():
    import sys

    for path in (ROOT / "workflow_scripts").rglob("*.py"):
        for name in imported(path) - set(sys.stdlib_module_names) - {"muonlab"} - OPTIONAL:
            assert DISTRIBUTIONS.get(name, name).lower() in REQUIREMENTS, f"{path.name}: {name}"


def rule_files():
    return sorted((ROOT / "rules").glob("*.smk"))


def test_every_job_names_an_environment_that_exists():
    for path in rule_files():
        text = path.read_text()
        scripts = re.findall(r'script:\s+"([^"]+)"', text)
        environments = re.findall(r'conda:\s+"([^"]+)"', text)
        assert len(scripts) == len(environments), path.name
        for name in scripts + environments:
            assert (path.parent / name).exists(), name


def test_an_environment_holds_what_its_scripts_import():
    """Modules imported late, inside a function, count too."""
    from muonlab.digest import closure

    for path in rule_files():
        text = path.read_text()
        jobs = re.findall(r'conda:\s+"([^"]+)"\s+script:\s+"([^"]+)"', text)
        for environment, script in jobs:
            available = set(conda_pins(path.parent / environment))
            for module in closure((path.parent / script).resolve(), SCRIPTS):
                for name in imported(module):
                    package = DISTRIBUTIONS.get(name, name).lower()
                    if package in REQUIREMENTS:
                        assert package in available, f"{environment}: {module.name} needs {package}"
