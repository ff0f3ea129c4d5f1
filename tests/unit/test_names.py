"""No field is left out: of a run's name, of what tells two arms apart, of what is refused."""

import copy

import pytest
import yaml
from pydantic import ValidationError

from muonlab.io.errors import UserError
from muonlab.plan.arms import variables
from muonlab.plan.models import MODELS
from muonlab.plan.naming import defaults_of, flatten, seed_name, settings_name
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.runs import load_plan
from muonlab.plan.training import Training

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
    ],
)
def test_training_that_would_mislead_is_refused(section, says):
    with pytest.raises(ValidationError, match=says):
        Training(**section)


def test_evaluation_is_on_the_validation_split_unless_it_is_said_otherwise():
    assert Training().evaluate_on == "validation" and Training().train_on == ["train"]
    assert Training(eval_every=20, snapshot_every=40).snapshot_every == 40


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
