"""Digests of code: what a job runs, what moves weights, and what watches, each and nothing else."""

import shutil
from pathlib import Path

import pytest

from muonlab import digest, parsed
from muonlab.plan.models import MODELS
from muonlab.plan.optimizers import OPTIMIZERS

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


def forget():
    """Has the digests read their files anew."""
    for cached in (
        *(parsed.parsed_modules, digest._local),
        *(digest.code_digest, digest.observer_digest),
    ):
        cached.cache_clear()


def fresh(project, *others, **options):
    forget()
    return digest.code_digest("job.py", *others, root=project, **options)


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
        own = {n: frozenset([f"muonlab.room.{n}"]) for n in names}
        return {n: fresh(project, alternatives=options, chosen=own[n]) for n in names}

    before = digests()
    edit(project, "other.py", "3", "4")
    after = digests()
    assert [n for n in names if before[n] != after[n]] == ["other"]
    edit(project, "deep.py", "return 2", "return 3")
    assert [n for n in names if after[n] != digests()[n]] == ["deep", "variant"]


def test_a_job_may_have_several_entries(project):
    (project / "muonlab" / "room" / "made.py").write_text("VALUE = 5\n")
    made = "muonlab/room/made.py"
    alone, together = fresh(project), fresh(project, made)
    assert alone != together
    edit(project, "made.py", "5", "6")
    assert fresh(project) == alone
    assert fresh(project, made) not in (alone, together)


@pytest.mark.parametrize(
    "block",
    [
        "if x:\n    pass\nelse:\n    {}",
        "try:\n    pass\nexcept OSError:\n    {}",
        "try:\n    pass\nfinally:\n    {}",
        "match x:\n    case 1:\n        {}",
        "with x:\n    {}",
        "class A:\n    def f(self):\n        async def g():\n            {}",
    ],
    ids=["else", "except", "finally", "match", "with", "nested"],
)
def test_an_import_counts_wherever_it_stands(block, project):
    (project / "job.py").write_text(block.format("import muonlab.room.other") + "\n")
    before = fresh(project)
    edit(project, "other.py", "3", "4")
    assert fresh(project) != before


# ---------------------------------------------------------------- training and its observers

OPTIMIZER = {name: f"muonlab.optim.{name}" for name in OPTIMIZERS if name != "adamw"}
MODEL = {name: f"muonlab.models.{name}" for name in MODELS}
DATA = {"images": "muonlab.training.images", "text": "muonlab.training.language"}
ALTERNATIVES = frozenset([*OPTIMIZER.values(), *MODEL.values(), *DATA.values()])
# Nothing here moves a run's weights: it counts parameters, or is for models outside the workflow.
BESIDE = {"muonlab/models/size.py"}
BESIDE |= {f"muonlab/optim/{name}.py" for name in ("roles", "whole_model")}
WATCHES = {f"muonlab/training/{name}.py" for name in ("checkpoint", "folder", "run", "watching")}


def modules(*rooms):
    files = (path for room in rooms for path in (SCRIPTS / "muonlab" / room).glob("*.py"))
    return {path.relative_to(SCRIPTS).as_posix() for path in files if path.stem != "__init__"}


MOVES = modules("models", "optim", "training") - BESIDE - WATCHES
MOVES |= {f"muonlab/data/{name}.py" for name in ("batches", "labelled", "tokens", "windows")}
MOVES |= {"muonlab/hooks.py", "muonlab/streams.py"}
MEASURES = modules("observers", "measure", "probes", "jobs") | WATCHES


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library") / "workflow_scripts"
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def edited(library, monkeypatch):
    """Adds a statement to a module of the copy, for this test; only it is read anew."""
    before = {}
    found = dict(parsed.parsed_modules(library))
    monkeypatch.setattr(digest, "parsed_modules", lambda root: found)

    def edit(name):
        path = library / name
        before[path] = path.read_text()
        path.write_text(before[path] + "\nEDITED = True\n")
        found[path] = parsed.parse(path.read_bytes(), path)
        digest._local.cache_clear()

    yield edit
    digest._local.cache_clear()
    for path, text in before.items():
        path.write_text(text)


def of_training(library, *chosen):
    digest.code_digest.cache_clear()
    digest.training_digest.cache_clear()
    return digest.training_digest(frozenset(chosen or ALTERNATIVES), ALTERNATIVES, library)


def of_observers(library):
    digest.observer_digest.cache_clear()
    return digest.observer_digest(library)


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_who_watches_or_measures_moves_no_weight(name, library, edited):
    before = of_training(library), of_observers(library)
    edited(name)
    assert of_training(library) == before[0]
    watches = (library / name) in digest.observing(library)
    assert (of_observers(library) != before[1]) == watches
    assert watches or "/probes/" in name or "/measure/" in name or "/jobs/" in name


@pytest.mark.parametrize("name", sorted(MOVES))
def test_what_moves_weights_trains_anew(name, library, edited):
    before = of_training(library), of_observers(library)
    edited(name)
    assert of_training(library) != before[0]
    assert of_observers(library) == before[1]


def test_the_training_loop_reaches_nothing_else(library):
    files = digest.closure([library / digest.TRAINING_LOOP], library)
    found = {path.relative_to(library).as_posix() for path in files if path.stem != "__init__"}
    assert found <= MOVES | {"muonlab/io/errors.py"}


def test_the_observers_digest_covers_the_rest_of_the_job(library):
    found = {path.relative_to(library).as_posix() for path in digest.observing(library)}
    assert WATCHES | modules("observers") | {"train.py"} <= found
    assert not [name for name in found if "/plan/" in name or "/report/" in name]


@pytest.mark.parametrize("other", ["muonlab.optim.soap", *sorted({MODEL["mlp"], DATA["images"]})])
def test_of_optimizers_models_and_kinds_of_data_a_runs_own_count(other, library, edited):
    own = (OPTIMIZER["muon"], MODEL["transformer"], DATA["text"])
    before = of_training(library, *own), of_training(library, *own, other)
    edited(f"{other.replace('.', '/')}.py")
    assert of_training(library, *own) == before[0]
    assert of_training(library, *own, other) != before[1]


def test_what_a_run_imports_by_name_alone_counts(library, edited):
    name = "muonlab/statistics/bootstrap.py"
    before = of_training(library, "muonlab.statistics.bootstrap"), of_training(library)
    edited(name)
    after = of_training(library, "muonlab.statistics.bootstrap"), of_training(library)
    assert after[0] != before[0] and after[1] == before[1]


def names(*entries):
    found = digest.closure([SCRIPTS / entry for entry in entries], SCRIPTS)
    return {path.relative_to(SCRIPTS).as_posix() for path in found}


@pytest.mark.parametrize("probe", ["spectra", "curvature", "quantization", "direction"])
def test_measurements_do_not_depend_on_training(probe):
    found = names("measure.py", f"muonlab/probes/{probe}.py")
    assert "muonlab/probes/finished.py" in found
    loop = [f"muonlab/{name}.py" for name in ("training/loop", "training/update", "optim/muon")]
    assert not found & {*loop, *modules("observers", "plan")}
    if probe != "direction":  # it reads the scale and the schedule of the update
        assert not found & modules("optim")


def test_figures_depend_on_presentation_and_not_on_training():
    found = names("muonlab/report/figures/training_curves.py")
    assert "muonlab/report/style.py" in found
    assert not [m for m in found if "/training/" in m or "/optim/" in m or "/plan/" in m]
