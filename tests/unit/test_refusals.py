"""Settings that would be taken silently for something else are refused in one sentence."""

import re
from pathlib import Path

import pytest
import yaml

from muonlab.data.sources.digits import DIGITS
from muonlab.io.errors import UserError
from muonlab.plan.runs import load_plan
from muonlab.plan.schema import is_reserved

ROOT = Path(__file__).parents[2]
TOY = {
    "data": "digits",
    "optimizers": {
        "adamw": {"name": "adamw"},
        "muon": {"name": "muon", "weight_decay": 0.01},
    },
    "arms": {"adamw": {"optimizer": "adamw"}, "muon": {"base": "adamw", "optimizer": "muon"}},
    "tuning": {"seeds": [7], "grid": {"lr": [0.001, 0.01]}},
    "seeds": [1, 2],
}


def plan(tmp_path, data=None, name="toy", **sections):
    digits = {"source": "digits"} | (data or {})
    file = tmp_path / "one.yaml"
    file.write_text(yaml.safe_dump({"data": {"digits": digits}, "studies": {name: TOY | sections}}))
    return load_plan([file])


def sentence(tmp_path, **given):
    with pytest.raises(UserError) as refused:
        plan(tmp_path, **given)
    return str(refused.value)


# ---------------------------------------------------------------- robustness


def test_a_misspelt_field_of_robustness_is_refused_with_what_may_be_meant(tmp_path):
    said = sentence(tmp_path, robustness={"arms": ["muon"], "fields": ["momentun"]})
    assert "studies.toy.robustness.fields: 'momentun'" in said
    assert "did you mean momentum?" in said and "\n" not in said


@pytest.mark.parametrize("field", ["nesterov", "ns_steps", "scale", "components", "adamw"])
def test_only_numbers_that_a_factor_leaves_meaningful_are_changed(tmp_path, field):
    said = sentence(tmp_path, robustness={"arms": ["muon"], "fields": [field]})
    assert f"{field!r} is not a number of an optimizer of muon" in said


def test_a_field_of_another_arms_optimizer_is_refused(tmp_path):
    said = sentence(tmp_path, robustness={"arms": ["adamw"], "fields": ["momentum"]})
    assert "'momentum' is not a number of an optimizer of adamw" in said


@pytest.mark.parametrize(
    "section",
    [
        {"arms": ["adamw"]},  # the default names momentum, which AdamW has not
        {"arms": ["adamw", "muon"], "fields": ["momentum"]},
        {"arms": ["adamw"], "fields": ["eps", "lr"]},
        {"arms": ["adamw"], "fields": []},
    ],
)
def test_fields_that_one_of_the_arms_has_are_taken(tmp_path, section):
    assert plan(tmp_path, robustness=section).studies


# ---------------------------------------------------------------- names of studies


def rules() -> set[str]:
    """The names of the rules as they stand in the workflow's files."""
    files = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
    found = [re.findall(r"^(?:rule|checkpoint) (\w+):", f.read_text(), re.M) for f in files]
    return set().union(*found)


def test_no_study_may_bear_the_name_of_a_rule():
    known = rules()
    assert {"all", "train", "select", "profile_overhead"} <= known
    assert not {name for name in known if not is_reserved(name)}


@pytest.mark.parametrize(
    "name",
    [
        *("all", "data", "tune", "runs", "train", "train_trial", "propose", "select", "measure"),
        *("spectra", "curvature", "quantize", "statistics", "tables", "figures", "report", "logs"),
        *("profile_overhead", "prepare_images", "prepare_text"),
        *("measure_x", "tabulate_x", "plot_x", "write_x", "prepare_x"),
    ],
)
def test_a_study_named_as_a_target_a_rule_or_a_folder_is_refused(tmp_path, name):
    assert f"a study cannot be called {name}" in sentence(tmp_path, name=name)


@pytest.mark.parametrize("name", ["fashion", "trains", "plots", "measured", "my_data"])
def test_other_names_are_taken(tmp_path, name):
    assert plan(tmp_path, name=name).studies


# ---------------------------------------------------------------- numbers


def test_the_plan_knows_how_many_digits_there_are():
    from sklearn.datasets import load_digits

    assert len(load_digits().target) == DIGITS


@pytest.mark.parametrize(
    ("sizes", "refused"),
    [
        ({"validation": 1700}, True),
        ({"validation": 1700, "test": 97}, True),
        ({"test": 1797}, True),
        ({"validation": 1700, "test": 96}, False),
    ],
)
def test_digits_that_leave_none_to_train_on_are_refused(tmp_path, sizes, refused):
    if refused:
        said = sentence(tmp_path, data=sizes)
        assert "data.digits: validation (" in said and "1797 digits for training" in said
    else:
        assert plan(tmp_path, data=sizes).studies


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"epochs": "3"}, "must be an integer, not '3' in quotes or without a point; write 3"),
        ({"epochs": "1e3"}, "not '1e3' in quotes or without a point; write 1000"),
        ({"epochs": 3.0}, "must be an integer, not 3.0; write 3"),
        ({"epochs": 1.5}, "must be an integer, not 1.5"),
        ({"epochs": "1.5"}, "must be an integer, not '1.5'"),
        ({"epochs": "many"}, "must be an integer, not 'many'"),
        ({"epochs": True}, "must be an integer, not True"),
        ({"epochs": float("inf")}, "must be an integer, not inf"),
        ({"clip": "1"}, "must be a number, not '1' in quotes or without a point; write 1.0"),
        ({"clip": "3e-4"}, "not '3e-4' in quotes or without a point; write 0.0003"),
        ({"clip": "nan"}, "must be a number, not 'nan'"),
        ({"paired": "1"}, "must be a boolean, not '1'"),
    ],
)
def test_a_number_of_the_wrong_type_is_answered_by_one_that_would_do(tmp_path, training, says):
    assert sentence(tmp_path, training=training).endswith(says)


# ---------------------------------------------------------------- bases


@pytest.mark.parametrize(
    ("bases", "cycle"),
    [
        ({"a": "b", "b": "a"}, "a → b → a"),
        ({"a": "a"}, "a → a"),
        ({"outside": "a", "a": "b", "b": "a"}, "a → b → a"),
    ],
)
def test_bases_that_form_a_cycle_are_refused(tmp_path, bases, cycle):
    arms = {name: {"base": base, "optimizer": "muon"} for name, base in bases.items()}
    said = sentence(tmp_path, arms=arms)
    assert said.endswith(f".base: the bases of these arms form a cycle: {cycle}")
