"""Arms that change the data, and factors: what is varied beside the optimizer."""

import copy

import pytest
import yaml

from muonlab.io.errors import UserError
from muonlab.plan.known import Known
from muonlab.plan.pairs import study_pairs
from muonlab.plan.runs import load_plan
from muonlab.plan.values import VALUES

CONFIG = {
    "data": {
        "code": {"source": "stdlib", "vocab_size": 512, "max_bytes": 700000},
        "prose": {"source": "stdlib", "part": "docstrings", "vocab_size": 512},
        "images": {"source": "digits"},
    },
    "studies": {
        "s": {
            "data": "code",
            "model": {"name": "transformer", "context": 32, "width": 32, "layers": 1, "heads": 2},
            "training": {"steps": 40, "batch_size": 8, "warmup_steps": 4},
            "optimizers": {
                "adamw": {"name": "adamw", "weight_decay": 0.1},
                "muon": {"name": "muon", "weight_decay": 0.1},
            },
            "arms": {
                "adamw": {"optimizer": "adamw"},
                "muon": {"base": "adamw", "optimizer": "muon"},
            },
            "tuning": {
                "seeds": [1001],
                "method": "sobol",
                "trials": 2,
                "box": {
                    "lr": {"low": 0.001, "high": 0.1, "log": True},
                    "training.warmup_steps": {"low": 2, "high": 16, "log": True},
                },
            },
            "seeds": [1, 2, 3, 4],
            "measure": {"curvature": None, "quantization": None, "spectra": False},
        }
    },
}
PROSE = {
    "adamw_prose": {"base": "adamw", "set": {"data": "prose"}, "tune": False},
    "muon_prose": {"base": "muon", "set": {"data": "prose"}, "tune": False},
}


def plan_of(tmp_path, change=lambda study: None):
    config = copy.deepcopy(CONFIG)
    change(config["studies"]["s"])
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return load_plan([file])


def known(plan):
    """The study as if tuning had chosen the first trial of each arm."""
    study = plan.studies["s"]
    arms = {
        name: {"settings": arm.trials[0].settings, "edges": {}}
        for name, arm in study.tuned_arms.items()
    }
    return Known(study, [], {"arms": arms})


def families(study, pairs, **more):
    contrasts = study["measure"].setdefault("contrasts", {"pairs": "base"})
    family = {"outcomes": ["final_loss"], "pairs": pairs}
    contrasts.setdefault("families", {})["f"] = family | more


def test_an_arm_on_other_data_takes_its_bases_tuning_and_is_trained_on_that_data(tmp_path):
    plan = plan_of(tmp_path, lambda study: study["arms"].update(PROSE))
    assert set(plan.data_used) == {"code", "prose"}
    now = known(plan)
    for arm, base in (("adamw_prose", "adamw"), ("muon_prose", "muon")):
        own, others = now.study.reporting_runs(arm, now.chosen(arm)), now.reporting_runs
        of_base = [run for run in others if run.arm == base]
        assert {run.config["data"] for run in own} == {"prose"}
        assert [run.config["optimizer"] for run in own] == [r.config["optimizer"] for r in of_base]
        assert {run.name for run in own}.isdisjoint(run.name for run in of_base)


def test_pairs_are_compared_within_one_data_set_never_across(tmp_path):
    def change(study):
        study["arms"].update(PROSE)
        families(study, [["muon_prose", "adamw_prose"]])

    study = plan_of(tmp_path, change).studies["s"]
    pairs = {(pair["a"], pair["b"]) for pair in study_pairs(study)}
    assert pairs == {("muon", "adamw"), ("muon_prose", "adamw_prose")}
    named = {arm["name"]: arm["apart"] for arm in VALUES["study"].of(_known_of(study))["arms"]}
    assert named == {"adamw": False, "muon": False, "adamw_prose": True, "muon_prose": True}


def _known_of(study):
    arms = {n: {"settings": a.trials[0].settings, "edges": {}} for n, a in study.tuned_arms.items()}
    return Known(study, [], {"arms": arms})


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("families", [["muon_prose", "adamw"]]),
        ("ranking", "muon"),
        ("overhead", ["muon", "adamw_prose"]),
        ("waterfall", ("muon_prose", "adamw")),
    ],
)
def test_a_comparison_across_data_sets_is_refused_in_one_sentence(tmp_path, section, value):
    def change(study):
        study["arms"].update(PROSE)
        if section == "families":
            families(study, value)
        elif section == "ranking":
            study["measure"]["ranking"] = value
        elif section == "overhead":
            study["measure"]["overhead"] = {"arms": value}
        else:
            step = {"label": "x", "a": value[0], "b": value[1]}
            study["measure"]["waterfall"] = [step, step | {"a": "muon"}]

    with pytest.raises(UserError, match=r"prose .*are different quantities") as refused:
        plan_of(tmp_path, change)
    assert f"measure.{'contrasts.' if section == 'families' else ''}{section}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_sequences_of_another_length_are_not_compared_either(tmp_path):
    def change(study):
        arm = {"base": "muon", "set": {"model.context": 16}, "tune": False}
        study["arms"]["short"] = arm
        families(study, [["short", "adamw"]])

    with pytest.raises(UserError, match="in sequences of 16 tokens"):
        plan_of(tmp_path, change)


@pytest.mark.parametrize(
    ("value", "message"),
    [("nothing", "'nothing' is not in data"), ("images", "reads text, and 'images' holds images")],
)
def test_other_data_must_exist_and_suit_the_model(tmp_path, value, message):
    def change(study):
        study["arms"]["other"] = {"base": "muon", "set": {"data": value}, "tune": False}

    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, change)


FACTOR = {
    "arms": ["muon", "adamw"],
    "seeds": 2,
    "lr_factors": [0.5, 1.0],
    "levels": {
        "own": {"dose": 8},
        "short": {"dose": 16, "set": {"training.batch_size": 16, "training.steps": 20}},
    },
}


def with_factor(factor):
    return lambda study: study.update(factors={"batch": factor})


def test_a_factor_trains_two_arms_at_each_level_with_what_tuning_chose(tmp_path):
    now = known(plan_of(tmp_path, with_factor(FACTOR)))
    found = {}
    for cell, run in now.factor_runs:
        found.setdefault((cell.level, run.arm, cell.lr_factor), []).append(run)
    assert set(found) == {
        (level, arm, factor)
        for level in ("own", "short")
        for arm in ("muon", "adamw")
        for factor in (0.5, 1.0)
    }
    assert {tuple(run.seed for run in runs) for runs in found.values()} == {(1, 2)}
    names = {run.name for run in now.reporting_runs}
    for (level, arm, factor), runs in found.items():
        # The study as it stands is trained once.
        assert (runs[0].name in names) == (level == "own" and factor == 1.0)
        chosen = now.chosen(arm)
        config = runs[0].config
        assert config["optimizer"]["lr"] == pytest.approx(chosen["lr"] * factor, rel=1e-5)
        rate = config["optimizer"]["lr"] * config["optimizer"]["embedding_ratio"]
        assert rate == pytest.approx(chosen["lr"], rel=1e-5)  # the embedding's rate stays
        # The warm-up keeps its share of a run of another length.
        share = 0.5 if level == "short" else 1.0
        warmup = max(1, round(chosen["training.warmup_steps"] * share))
        assert config["training"]["warmup_steps"] == warmup
        assert config["training"]["steps"] == (20 if level == "short" else 40)
    assert {run.name for run in now.later_runs} >= {run.name for _, run in now.factor_runs}


def test_a_level_may_be_other_data_or_a_dense_model(tmp_path):
    levels = {"own": {}, "prose": {"set": {"data": "prose"}}, "wide": {"set": {"model.width": 64}}}
    plan = plan_of(tmp_path, with_factor({"arms": ["muon", "adamw"], "levels": levels}))
    assert set(plan.data_used) == {"code", "prose"}
    runs = {cell.level: run.config for cell, run in known(plan).factor_runs}
    assert runs["prose"]["data"] == "prose" and runs["wide"]["model"]["width"] == 64
    facts = VALUES["factors"].of(known(plan))["batch"]
    assert facts["arms"] == ["muon", "adamw"]
    assert {name: level["own"] for name, level in facts["levels"].items()} == {
        **{"own": True, "prose": False, "wide": False}
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ["muon", "nobody"]}, r"factors.batch.arms: 'nobody' is not an arm"),
        ({"arms": ["muon", "muon"]}, "two different arms"),
        ({"lr_factors": [0.5, 2.0]}, "lr_factors must contain 1.0"),
        ({"levels": {"own": {}}}, "at least 2"),
        ({"levels": {"own": {"dose": 1}, "more": {}}}, "either all levels have a dose, or none"),
        (
            {"levels": {"own": {}, "x": {"set": {"optimizer.lr": 1.0}}}},
            r"levels.x.set.optimizer.lr: is not a field that a level can change",
        ),
        (
            {"levels": {"own": {}, "x": {"set": {"model.wdith": 8}}}},
            r"levels.x.set.model.wdith: .*did you mean model.width",
        ),
        (
            {"levels": {"own": {}, "x": {"set": {"model.width": 33}}}},
            "must be a multiple of heads",
        ),
    ],
)
def test_a_wrong_factor_is_refused_in_one_sentence(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, with_factor(FACTOR | change))


def test_a_later_file_may_remove_a_factor_or_a_level(tmp_path):
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    config = copy.deepcopy(CONFIG)
    levels = FACTOR["levels"] | {"third": {"dose": 4}}
    config["studies"]["s"]["factors"] = {"a": FACTOR | {"levels": levels}, "b": FACTOR}
    base.write_text(yaml.safe_dump(config))
    smaller = {"b": None, "a": {"levels": {"third": None}}}
    over.write_text(yaml.safe_dump({"studies": {"s": {"factors": smaller}}}))
    study = load_plan([base, over]).studies["s"]
    assert list(study.factors) == ["a"] and list(study.factors["a"]["levels"]) == ["own", "short"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"multiple_choice": {"tasks": {"h": {"format": "hellaswag", "files": ["no.jsonl"]}}}},
            r"multiple_choice.tasks.h.files: the file no.jsonl does not exist",
        ),
        (
            {"multiple_choice": {"tasks": {"h": {"format": "arc", "files": ["a"], "name": "b"}}}},
            "give either files or name",
        ),
        ({"multiple_choice": {"tasks": {"h": {"format": "arc"}}}}, "give either files or name"),
        ({"samples": {"temperature": 0.0}}, "samples.temperature"),
    ],
)
def test_a_wrong_benchmark_is_refused_in_one_sentence(tmp_path, section, message):
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, lambda study: study["measure"].update(section))


def test_a_classifier_of_images_writes_no_samples(tmp_path):
    def change(study):
        study |= {"data": "images", "model": {"name": "mlp"}}
        study["measure"]["samples"] = {}

    with pytest.raises(UserError, match="measure.samples: is for models of text, not of images"):
        plan_of(tmp_path, change)


def test_runs_keep_their_last_weights_where_something_reads_them(tmp_path):
    def kept(section):
        plan = plan_of(tmp_path, lambda study: study["measure"].update(section))
        return known(plan).reporting_runs[0].config["keep"]

    assert kept({}) == {"snapshots": "none", "updates": False}
    for section in ({"samples": {}}, {"attention_patterns": {}}, {"also": ["quantization"]}):
        assert kept(section) == {"snapshots": "end", "updates": False}
    assert kept({"samples": {}, "also": ["direction"]}) == {"snapshots": "end", "updates": True}


def test_the_order_of_an_arms_fields_does_not_matter(tmp_path):
    wide = {"model.width": 48, "model.heads": 3}
    for changes in (wide, dict(reversed(wide.items()))):
        config = copy.deepcopy(CONFIG)
        arms = config["studies"]["s"]["arms"]
        arms["wide"] = {"base": "muon", "set": changes, "tune": False, "compound": True}
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        model = load_plan([file]).studies["s"].arms["wide"].settings["model"]
        assert (model["width"], model["heads"]) == (48, 3)
