"""No field is left out: of a run's name, of what tells two arms apart, of what is refused."""

import copy

import pytest
import yaml
from pydantic import ValidationError

from muonlab.io.errors import UserError
from muonlab.plan.arms import differences, variables
from muonlab.plan.models import MODELS
from muonlab.plan.naming import defaults_of, flatten, seed_name, settings_name
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.runs import load_plan
from muonlab.plan.sweeps import arm_sweeps
from muonlab.plan.training import Training
from muonlab.plan.validate import read_yaml

OTHER = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v + 0.5, str: lambda v: "x"}
OTHER[type(None)] = lambda v: 7
OTHER[list] = lambda v: [*v, "more"]


def changed(section: dict, dotted: str) -> dict:
    """A copy of the section with another value in one field."""
    section = copy.deepcopy(section)
    *path, last = dotted.split(".")
    inner = section
    for key in path:
        inner = inner[key]
    inner[last] = OTHER[type(inner[last])](inner[last])
    return section


def runs():
    """A run's config for every model and every optimizer, all at their defaults."""
    for model in MODELS.values():
        for optimizer in OPTIMIZERS.values():
            sections = {
                "model": model(name=name_of(model)).model_dump(),
                "training": Training().model_dump(),
                "optimizer": optimizer(name=name_of(optimizer)).model_dump(),
            }
            yield {"data": "digits"} | sections, defaults_of(optimizer)


def name_of(model) -> str:
    return next(name for name, known in (MODELS | OPTIMIZERS).items() if known is model)


@pytest.mark.parametrize(
    ("run", "defaults"), list(runs()), ids=lambda x: x.get("optimizer", {}).get("name", "")
)
def test_every_field_is_in_the_name_of_a_run(run, defaults):
    name = settings_name(run, defaults)
    for dotted in flatten(run):
        if not dotted.endswith(".name"):
            assert settings_name(changed(run, dotted), defaults) != name, dotted


def test_seed_and_phase_are_in_the_name_of_a_run():
    names = {seed_name(seed, phase) for seed in (1, 11) for phase in ("tuning", "reporting")}
    assert names == {"seed-1", "seed-11", "tuning-seed-1", "tuning-seed-11"}


ADAMW = {"name": "adamw", "lr": 1.0, "weight_decay": 0.1}
MUON = {"name": "muon", "lr": 1.0, "weight_decay": 0.1, "momentum": 0.9}
BASE = {
    "data": "digits",
    "model": {"name": "mlp", "width": 8},
    "training": {"batch_size": 4, "clip": None},
    "optimizer": ADAMW,
}


@pytest.mark.parametrize("dotted", ["data", "model.width", "training.batch_size", "training.clip"])
@pytest.mark.parametrize("optimizer", [ADAMW, MUON])
def test_every_field_outside_of_the_optimizer_is_a_variable(dotted, optimizer):
    other = changed(BASE, dotted) | {"optimizer": optimizer}
    swap = ["optimizer"] if optimizer is MUON else []
    assert variables(BASE, other) == variables(other, BASE) == [*swap, dotted]


@pytest.mark.parametrize("field", ["lr", "weight_decay", "momentum"])
def test_every_field_of_one_optimizer_is_a_variable_but_those_that_are_tuned(field):
    one = BASE | {"optimizer": MUON}
    other = changed(one, f"optimizer.{field}")
    assert variables(one, other) == [f"optimizer.{field}"]
    assert variables(one, other, tuned=[field]) == []


def test_a_field_that_only_one_side_has_is_a_variable():
    one = BASE | {"optimizer": MUON | {"split": {"query": 2}}}
    other = BASE | {"optimizer": MUON | {"split": {"query": 2, "key": 2}}}
    assert variables(one, other) == variables(other, one) == ["optimizer.split.key"]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"evaluate_on": "validation", "train_on": ["train", "validation"]}, "one of train_on"),
        ({"eval_every": 20, "snapshot_every": 30}, "multiple of eval_every"),
        ({"rung_ratio": 1.0}, "rung_ratio"),
    ],
)
def test_training_that_would_mislead_is_refused(section, says):
    with pytest.raises(ValidationError, match=says):
        Training(**section)


def test_evaluation_is_on_the_validation_split_unless_it_is_said_otherwise():
    assert Training().evaluate_on == "validation" and Training().train_on == ["train"]
    assert Training(eval_every=20, snapshot_every=40).snapshot_every == 40
    assert Training(eval_every=20).snapshot_every is None


def test_a_mistake_is_looked_for_in_the_file_that_was_laid_on_last(tmp_path):
    study = {
        "data": "digits",
        "optimizers": {"adamw": {"name": "adamw"}},
        "arms": {"adamw": {"optimizer": "adamw"}},
        "seeds": [1],
    }
    files = []
    for name, seeds in (("first", [1]), ("second", [-2]), ("third", None)):
        files.append(tmp_path / f"{name}.yaml")
        content = {"studies": {"toy": study | {"seeds": seeds}}} if seeds else {}
        content["data"] = {"digits": {"source": "digits"}}
        files[-1].write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="second.yaml: studies.toy.seeds.0: must be greater"):
        load_plan(files)


def test_a_key_that_stands_twice_and_one_that_is_no_text_are_refused_with_their_line(tmp_path):
    file = tmp_path / "bad.yaml"
    for content, says in (
        ("data: {}\nstudies: {}\ndata: {}\n", "line 3: .*'data' occurs twice"),
        ("data:\n  1: {}\n", "line 2: .*the key 1 is not text"),
        ("data: [1\n", "line [12]: is not valid YAML"),
    ):
        file.write_text(content)
        with pytest.raises(UserError, match=f"bad.yaml, {says}"):
            read_yaml(file)


# ---------------------------------------------------------------- arms that take another's choice


def arms_of(tmp_path, grid=("lr",), **arms):
    muon = {"optimizer": "muon", "grid": {field: [0.1, 0.2] for field in grid}}
    toy = {
        "data": "digits",
        "optimizers": {"muon": {"name": "muon"}},
        "arms": {"muon": muon} | arms,
        "tuning": {"seeds": [7]},
        "seeds": [1],
    }
    file = tmp_path / "one.yaml"
    digits = {"digits": {"source": "digits"}}
    file.write_text(yaml.safe_dump({"data": digits, "studies": {"toy": toy}}))
    return load_plan([file]).studies["toy"]


def test_what_two_arms_set_against_their_tuning_tells_them_apart(tmp_path):
    follower = {"base": "muon", "tune": False}
    arms = arms_of(
        tmp_path,
        one=follower | {"set": {"optimizer.lr": 0.5}},
        two=follower | {"set": {"optimizer.lr": 0.6}},
    ).arms
    assert differences(arms["one"], arms["two"]) == ["optimizer.lr"]
    assert differences(arms["one"], arms["one"]) == []


def test_what_a_base_sets_against_its_tuning_stays_set(tmp_path):
    arms = arms_of(
        tmp_path,
        one={"base": "muon", "tune": False, "set": {"optimizer.lr": 0.5}},
        two={"base": "one", "tune": False, "set": {"optimizer.ns_steps": 7}},
    ).arms
    assert arms["two"].optimizer({"lr": 0.1})["lr"] == 0.5
    assert differences(arms["two"], arms["one"]) == ["optimizer.ns_steps"]


def test_sweeps_are_of_numbers_that_tuning_does_not_choose(tmp_path):
    study = arms_of(
        tmp_path,
        grid=("momentum",),
        fixed={"base": "muon", "tune": False, "set": {"optimizer.momentum": 0.5}},
        fewer={"base": "muon", "tune": False, "set": {"optimizer.ns_steps": 3}},
        more={"base": "muon", "tune": False, "set": {"optimizer.ns_steps": 9}},
        half={"base": "muon", "tune": False, "multiply": {"optimizer.weight_decay": 0.5}},
        plain={"base": "muon", "tune": False, "set": {"optimizer.nesterov": False}},
    )
    sweep = [[3, "fewer"], [5, "muon"], [9, "more"]]
    assert arm_sweeps(study) == [
        {"arm": "muon", "field": "ns_steps", "reference": 5, "arms": sweep}
    ]
