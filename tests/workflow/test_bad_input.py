"""A user's mistake is one clear sentence: which field of which file, what is wrong, what would do.

Each case is read as the workflow reads it. One case of each kind also goes through the command
line, says the same sentence there, exits non-zero, shows no traceback and leaves nothing.
"""

import re

import pytest
from checkouts import checkout

from muonlab.io.errors import UserError
from muonlab.plan.across import Across
from muonlab.plan.datasets import source_files
from muonlab.plan.outputs import Outputs
from muonlab.plan.runs import load_plan


def fashion(body: str) -> str:
    return f"studies:\n  fashion:\n    {body}\n"


# name: (the user's file, the field that the sentence names, what else it says)
CONFIGS = {
    "unknown section": ("trainings: {}\n", "trainings", "not a known field"),
    "unknown field": (fashion("trainng: {epochs: 2}"), "studies.fashion.trainng", "training"),
    "unknown inner field": (
        fashion("training: {epoch: 2}"),
        "studies.fashion.training.epoch",
        "did you mean epochs?",
    ),
    "text for a number": (
        fashion("training: {epochs: many}"),
        "studies.fashion.training.epochs",
        "integer, not 'many'",
    ),
    "number without a point": (
        fashion("optimizers: {adamw: {lr: 3e-4}}"),
        "studies.fashion.optimizers.adamw.lr",
        "write 0.0003",
    ),
    "fraction for a count": (
        fashion("training: {epochs: 1.5}"),
        "studies.fashion.training.epochs",
        "integer",
    ),
    "truth for a count": (
        fashion("training: {epochs: true}"),
        "studies.fashion.training.epochs",
        "integer",
    ),
    "null for a count": (
        fashion("training: {epochs: null}"),
        "studies.fashion.training.epochs",
        "not null",
    ),
    "zero epochs": (
        fashion("training: {epochs: 0}"),
        "studies.fashion.training.epochs",
        "greater than or equal to 1",
    ),
    "negative width": (
        fashion("model: {width: -3}"),
        "studies.fashion.model.width",
        "greater than or equal to 1",
    ),
    "unknown activation": (
        fashion("model: {activation: swish}"),
        "studies.fashion.model.activation",
        "'relu'",
    ),
    "unknown schedule": (
        fashion("training: {schedule: step}"),
        "studies.fashion.training.schedule",
        "'cosine'",
    ),
    "unknown optimizer kind": (
        fashion("optimizers: {muon: {name: mion}}"),
        "studies.fashion.optimizers.muon",
        "not 'mion'",
    ),
    "beta of one": (
        fashion("optimizers: {adamw: {beta2: 1.0}}"),
        "studies.fashion.optimizers.adamw.beta2",
        "less than 1",
    ),
    "an old name": (
        fashion("optimizers: {adamw: {betas: [0.9, 0.99]}}"),
        "studies.fashion.optimizers.adamw.betas",
        "did you mean beta",
    ),
    "unknown coefficients": (
        fashion("optimizers: {muon: {ns_coefficients: jordon}}"),
        "studies.fashion.optimizers.muon.ns_coefficients",
        "'jordan'",
    ),
    "unknown data": (fashion("data: mnist"), "studies.fashion.data", "digits"),
    "unknown source": ("data: {digits: {source: digit}}\n", "data.digits", "not 'digit'"),
    "unknown base": (
        fashion("arms: {muon: {base: adam}}"),
        "studies.fashion.arms.muon.base",
        "'adam' is not an arm",
    ),
    "unknown optimizer of an arm": (
        fashion("arms: {muon: {optimizer: mion}}"),
        "studies.fashion.arms.muon.optimizer",
        "'mion' is not in optimizers",
    ),
    "arms in a cycle": (
        fashion("arms: {adamw: {base: muon}}"),
        "studies.fashion.arms.",
        "the bases of these arms form a cycle: ",
    ),
    "unknown field of an arm": (
        fashion("arms: {x: {base: muon, set: {optimizer.momentun: 0.9}}}"),
        "studies.fashion.arms.x.set.optimizer.momentun",
        "did you mean optimizer.momentum?",
    ),
    "value of an arm out of range": (
        fashion("arms: {x: {base: muon, set: {optimizer.momentum: 1.5}}}"),
        "studies.fashion.arms.x.set.optimizer.momentum",
        "less than 1",
    ),
    "two variables": (
        fashion("arms: {x: {base: muon, set: {optimizer.momentum: 0.9, model.width: 8}}}"),
        "studies.fashion.arms.x",
        "compound: true",
    ),
    "no variable": (
        fashion("arms: {x: {base: muon, set: {optimizer.nesterov: true}}}"),
        "studies.fashion.arms.x",
        "changes nothing",
    ),
    "unequal weight decay": (
        fashion("optimizers: {muon: {weight_decay: 0.1}}"),
        "studies.fashion.arms.muon",
        "optimizer.weight_decay",
    ),
    "shared seeds": (
        fashion("tuning: {seeds: [1, 1001]}"),
        "studies.fashion",
        "both have 1",
    ),
    "seed twice": (fashion("seeds: [1, 1]"), "studies.fashion", "twice"),
    "no seeds": (fashion("seeds: []"), "studies.fashion.seeds", "at least 1"),
    "seed is text": (fashion("seeds: [one]"), "studies.fashion.seeds.0", "integer"),
    "empty grid": (fashion("tuning: {grid: {lr: []}}"), "studies.fashion.tuning", "grid.lr"),
    "unknown field in the grid": (
        fashion("tuning: {method: grid, grid: {rl: [0.1]}}"),
        "studies.fashion.tuning.grid.rl",
        "weight_decay",
    ),
    "negative rate in the grid": (
        fashion("tuning: {method: grid, grid: {lr: [-0.1]}}"),
        "studies.fashion.tuning.grid.lr",
        "greater than 0",
    ),
    "unequal trials": (
        fashion("{tuning: {method: grid}, arms: {muon: {grid: {lr: [0.1]}}}}"),
        "studies.fashion.arms",
        "equally many trials",
    ),
    "a grid that no method reads": (
        fashion("tuning: {grid: {lr: [0.1]}}"),
        "studies.fashion.tuning",
        "write method: grid beside it",
    ),
    "an arm's grid that no method reads": (
        fashion("arms: {muon: {grid: {lr: [0.1]}}}"),
        "studies.fashion.arms.muon.grid",
        "give the arm a box",
    ),
    "snapshots between evaluations": (
        fashion("training: {eval_every: 20, snapshot_every: 30}"),
        "studies.fashion.training",
        "multiple of eval_every",
    ),
    "evaluation on training data": (
        fashion("training: {train_on: [train, validation]}"),
        "studies.fashion.training",
        "must not be one of train_on",
    ),
    "unknown protocol": (
        fashion("protocols: [honest]"),
        "studies.fashion.protocols.0",
        "'fair' or 'published'",
    ),
    "fault in published": (
        fashion("protocols: [published]\n    published: {training: {epochs: 0}}"),
        "studies.fashion.published.training.epochs",
        "greater than or equal to 1",
    ),
    "name that is no name": (
        "studies: {Fashion-2: {data: digits, seeds: [1], optimizers: {}, arms: {}}}\n",
        "studies.Fashion-2",
        "names are small letters",
    ),
    "study named as a target": (
        "studies: {tables: {data: digits, seeds: [1], optimizers: {a: {name: adamw}}, "
        "arms: {a: {optimizer: a}}}}\n",
        "config",
        "cannot be called tables",
    ),
    "study without data": (
        "studies: {new: {seeds: [1], optimizers: {a: {name: adamw}}, arms: {a: {optimizer: a}}}}\n",
        "studies.new.data",
        "required and missing",
    ),
    "folder that is not there": (
        "data: {real: {source: fashion_mnist, folder: nowhere}}\n" + fashion("data: real"),
        "data.real.folder",
        "nowhere does not exist",
    ),
    "folder without the files": (
        "data: {real: {source: fashion_mnist, folder: rules}}\n" + fashion("data: real"),
        "data.real.folder",
        "lacks train-images-idx3-ubyte",
    ),
    "folder is a number": (
        "data: {real: {source: fashion_mnist, folder: 3}}\n",
        "data.real.folder",
        "string, not 3",
    ),
    "HTML in a label": (
        fashion("arms: {muon: {label: </script><script>alert(1)</script>}}"),
        "studies.fashion.arms.muon.label",
        "must not hold HTML",
    ),
    "a line in a title": (
        fashion('title: "x\\n\\n.. include:: /etc/passwd"'),
        "studies.fashion.title",
        "must be one line",
    ),
    "a name for a shell": (
        "name: $(id)\n",
        "user.yaml: name",
        "names are small letters",
    ),
    "anchors within anchors": (
        "".join(
            f"s{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x, x'}]\n" for n in range(9)
        ),
        "anchors (&, *)",
        "repeat more than 100,000 values",
    ),
    "key twice": ("data: {}\nstudies: {}\ndata: {}\n", "line 3", "occurs twice"),
}
# One case of each way to a sentence: the fields of one file, the plan, a field of the default file,
# the names of outputs, files of data, the protocol with the faults, and YAML itself.
ON_THE_COMMAND_LINE = ["unknown inner field", "arms in a cycle", "unequal weight decay"]
ON_THE_COMMAND_LINE += ["study named as a target", "folder without the files", "fault in published"]
ON_THE_COMMAND_LINE += ["anchors within anchors", "key twice"]
# Snakemake itself reads overlays before it reads the workflow, and refuses these in its own words.
NOT_CONFIGS = {
    "not YAML": "studies: [1, 2\n",
    "a list": "- studies\n",
    "tabs": "studies:\n\tfashion: {}\n",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return checkout(tmp_path_factory.mktemp("bad") / "project")


def sentences(text: str) -> list[str]:
    """What was printed, less Snakemake's announcements."""
    own = ("Using workflow specific", "Config file", "Assuming unrestricted")
    return [line for line in text.splitlines() if line and not line.startswith(own)]


@pytest.fixture
def answer(project, monkeypatch):
    """What is said about a user's file, by the calls that the workflow makes when it is read."""

    def said(content: str) -> str:
        (project.folder / "user.yaml").write_text(content)
        monkeypatch.chdir(project.folder)
        with pytest.raises(UserError) as mistake:
            plan = load_plan(["config.yaml", "user.yaml"])
            outputs = Outputs(plan)
            Across(plan, outputs.needs, outputs.registry)
            for name in plan.data_used:
                source_files(name, plan)
        return str(mistake.value)

    return said


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_with_a_mistake(case, project, answer):
    content, field, says = CONFIGS[case]
    sentence = answer(content)
    assert field in sentence
    assert says in sentence
    assert "\n" not in sentence
    # The arm that an unequal weight decay makes compound stands in the default config.
    file = "config.yaml" if case == "unequal weight decay" else "user.yaml"
    assert sentence.startswith(file)
    assert not (project.folder / "results").exists()


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE)
def test_a_config_with_a_mistake_on_the_command_line(case, project, answer):
    sentence = answer(CONFIGS[case][0])
    outcome = project.snakemake("-n", overlay="user.yaml")
    text = outcome.out + outcome.err
    assert outcome.code != 0, text
    assert "Traceback" not in text
    assert 'File "' not in text
    assert sentences(text) == [f"error: {sentence}"]
    assert not (project.folder / "results").exists()


@pytest.mark.parametrize("case", NOT_CONFIGS)
def test_a_file_that_is_no_config(case, project):
    (project.folder / "user.yaml").write_text(NOT_CONFIGS[case])
    outcome = project.snakemake("-n", overlay="user.yaml")
    assert outcome.code != 0
    assert "Config file" in outcome.out + outcome.err
    assert "Traceback" not in outcome.out + outcome.err
    assert not (project.folder / "results").exists()


def test_a_mistake_in_the_default_config_names_that_file(tmp_path):
    project = checkout(tmp_path / "project")
    project.edit("config.yaml", "depth: 3", "depth: three")
    outcome = project.snakemake("-n", overlay="")
    assert "config.yaml: studies.fashion.model.depth" in outcome.out + outcome.err
    assert outcome.code != 0


def test_an_unknown_target_is_said(project):
    outcome = project.snakemake("-n", "tablez", overlay="tiny.yaml")
    assert outcome.code != 0
    assert "tablez" in outcome.err + outcome.out
    assert "Traceback" not in outcome.err + outcome.out


@pytest.mark.parametrize("damage", ["truncated", "mislabelled"])
def test_a_broken_data_file_fails_its_job_with_one_sentence(damage, tmp_path):
    import gzip
    import struct

    project = checkout(tmp_path / "project")
    raw = project.folder / "raw"
    raw.mkdir()
    images = struct.pack(">HBBIII", 0, 8, 3, 20, 28, 28) + bytes(20 * 784)
    labels = struct.pack(">HBBI", 0, 8, 1, 20) + bytes(20)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    broken = raw / "t10k-images-idx3-ubyte"
    broken.write_bytes(images[:-7] if damage == "truncated" else labels)
    (project.folder / "user.yaml").write_text(
        "data: {real: {source: fashion_mnist, folder: raw, validation: 5}}\n"
        + fashion("data: real")
    )
    outcome = project.snakemake("tune", overlay="user.yaml")
    assert outcome.code != 0
    assert re.search(rf"^error: raw/t10k-images-idx3-ubyte: .*{damage}", outcome.err, re.MULTILINE)
    last = outcome.err.strip().splitlines()[-1]
    assert re.search(rf"^error: Preparing .*: raw/t10k-images-idx3-ubyte: .*{damage}", last)
    assert "Traceback" not in outcome.err
    assert not list((project.folder / "results/mini/data").rglob("*.safetensors"))
