"""The code digest: what a job runs, and nothing else."""

from pathlib import Path

import pytest

from muonlab import digest

SCRIPTS = Path(digest.__file__).parents[1]


@pytest.fixture
def project(tmp_path):
    package = tmp_path / "muonlab" / "room"
    package.mkdir(parents=True)
    (tmp_path / "muonlab" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "used.py").write_text("import os\nfrom muonlab.room import deep\nVALUE = 1\n")
    (package / "deep.py").write_text("def f():\n    return 2\n")
    (package / "other.py").write_text("VALUE = 3\n")
    script = tmp_path / "job.py"
    script.write_text("def g():\n    from muonlab.room.used import VALUE\n    return VALUE\n")
    return tmp_path


def fresh(project, *options):
    digest._tree.cache_clear()
    digest.code_digest.cache_clear()
    return digest.code_digest(project / "job.py", *options)


def edit(project, name, old, new):
    file = project / "muonlab" / "room" / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_an_edit_of_a_module_imported_by_a_module_changes_it(project):
    before = fresh(project)
    edit(project, "deep.py", "return 2", "return 3")
    assert fresh(project) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return 2", "return 2  # two"),
        ("def f():\n", 'def f():\n    """Two."""\n'),
        ("def f():\n    return 2", "def f(\n):\n\n    return (2)"),
    ],
    ids=["comment", "docstring", "format"],
)
def test_comments_docstrings_and_format_do_not(project, old, new):
    before = fresh(project)
    edit(project, "deep.py", old, new)
    assert fresh(project) == before


def test_a_module_that_is_not_imported_does_not(project):
    before = fresh(project)
    edit(project, "other.py", "3", "4")
    assert fresh(project) == before


def test_it_does_not_depend_on_where_the_project_lies(project, tmp_path_factory):
    import shutil

    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(project, elsewhere)
    assert fresh(project) == fresh(elsewhere)


def test_of_alternatives_only_the_chosen_one_and_what_it_imports_count(project):
    room = project / "muonlab" / "room"
    (room / "variant.py").write_text("from muonlab.room import deep\n")
    (room / "used.py").write_text("from muonlab.room import deep, other, variant\n")
    options = frozenset({"muonlab.room.deep", "muonlab.room.other", "muonlab.room.variant"})
    names = ("deep", "other", "variant")

    def digests():
        return {n: fresh(project, options, frozenset([f"muonlab.room.{n}"])) for n in names}

    before = digests()
    edit(project, "other.py", "3", "4")
    after = digests()
    assert [n for n in names if before[n] != after[n]] == ["other"]
    edit(project, "deep.py", "return 2", "return 3")
    assert [n for n in names if after[n] != digests()[n]] == ["deep", "variant"]


def test_a_chosen_module_counts_where_it_is_imported_by_name_alone(project):
    (project / "muonlab" / "room" / "own.py").write_text("from muonlab.room import other\n")
    chosen = frozenset(["muonlab.room.own"])
    before = fresh(project, frozenset(), chosen)
    assert before != fresh(project)
    edit(project, "other.py", "3", "4")
    assert fresh(project, frozenset(), chosen) != before


def names(script):
    closure = digest.closure(SCRIPTS / script, SCRIPTS)
    return {path.relative_to(SCRIPTS).as_posix() for path in closure}


def test_training_depends_on_optimizers_and_not_on_presentation():
    modules = names("train.py")
    assert {
        "muonlab/optim/adamw.py",
        "muonlab/models/mlp.py",
        "muonlab/training/loop.py",
    } <= modules
    assert "muonlab/optim/muon.py" not in modules  # it counts for its own runs
    assert not [m for m in modules if "/present/" in m or "/plan/" in m or "/statistics/" in m]


@pytest.mark.parametrize("script", ["measure_spectra.py", "measure_curvature.py", "quantize.py"])
def test_measurements_do_not_depend_on_optimizers(script):
    modules = names(script)
    assert "muonlab/probes/finished.py" in modules
    assert not [m for m in modules if "/optim/" in m or "/training/loop.py" in m]


def test_figures_depend_on_presentation_and_not_on_training():
    modules = names("plot_learning_curves.py")
    assert "muonlab/report/style.py" in modules
    assert not [m for m in modules if "/training/" in m or "/optim/" in m or "/plan/" in m]
