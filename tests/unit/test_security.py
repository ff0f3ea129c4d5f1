"""Nothing that is read can run code, nothing from a config reaches a shell, and a folder in which
other users may write is said."""

import ast
import os
from pathlib import Path

import pytest

from muonlab.io.locks import exclusive
from muonlab.io.private import open_to_all

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "workflow_scripts").rglob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "os.system", "os.popen", "pandas.read_pickle", "pd.read_pickle"}
ALLOWED = {
    ("muonlab/jobs/child.py", "exec"),  # of a job's own script, in the worker
    ("muonlab/plan/optimizers.py", "eval"),  # of the annotations of our own classes
}


def calls(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.name)
def test_nothing_that_is_read_can_run_code(file):
    tree = ast.parse(file.read_text())
    place = file.relative_to(ROOT / "workflow_scripts").as_posix()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not named & FORBIDDEN_MODULES
    for name, keywords in calls(tree):
        assert name not in FORBIDDEN_CALLS | {"exec"} or (place, name) in ALLOWED, name
        assert keywords.get("shell", "False") == "False"
        assert keywords.get("allow_pickle", "False") == "False"
        if name.endswith("torch.load"):
            assert keywords["weights_only"] == "True"
        if name in ("yaml.load", "yaml.full_load", "yaml.unsafe_load"):
            pytest.fail(f"{place}: {name}")


@pytest.mark.parametrize("file", RULES, ids=lambda f: f.name)
def test_no_rule_has_a_shell_command(file):
    text = file.read_text()
    assert "shell:" not in text
    assert "shell(" not in text
    assert "shell=True" not in text


def test_a_folder_that_all_may_write_to_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inner = tmp_path / "results" / "mini"
    inner.mkdir(parents=True)
    assert open_to_all(["results/mini", ".snakemake"]) == []
    inner.parent.chmod(0o777)
    (sentence,) = open_to_all(["results/mini", ".snakemake"])
    assert f"may write to {inner.parent}," in sentence
    inner.parent.chmod(0o1777)
    assert open_to_all(["results/mini"]) == [], "there, nobody can replace the files of others"


def test_a_lock_does_not_follow_a_planted_link(tmp_path):
    """A link that another user left in the lock's place must not make us write elsewhere."""
    theirs = tmp_path / "precious"
    theirs.write_text("keep")
    (tmp_path / "x.lock").symlink_to(theirs)
    with pytest.raises(OSError), exclusive(tmp_path / "x.lock"):
        pass
    assert theirs.read_text() == "keep"


def test_lock_files_are_not_for_others_to_write(tmp_path):
    mask = os.umask(0o022)
    try:
        with exclusive(tmp_path / "x.lock"):
            assert not (tmp_path / "x.lock").stat().st_mode & 0o022
    finally:
        os.umask(mask)
