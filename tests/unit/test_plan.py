"""Studies, arms and runs: names, the one-variable rule, overlays, the schema and its file."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from muonlab.io.errors import UserError
from muonlab.plan.arms import differences, variables
from muonlab.plan.naming import LONGEST, RUN_PATTERN, flatten
from muonlab.plan.runs import FEW, NEVER, load_plan
from muonlab.plan.schema import json_schema
from muonlab.plan.tuned_fields import scaled
from muonlab.plan.values import against_variables
from muonlab.report.variants import alike, twins

ROOT = Path(__file__).parents[2]
SMALL = {
    "data": {"digits": {"source": "digits"}},
    "studies": {
        "toy": {
            "data": "digits",
            "optimizers": {
                "adamw": {"name": "adamw"},
                "muon": {"name": "muon", "weight_decay": 0.01},
            },
            "arms": {
                "adamw": {"optimizer": "adamw"},
                "muon": {"base": "adamw", "optimizer": "muon"},
            },
            "tuning": {"seeds": [7], "grid": {"lr": [0.001, 0.01]}},
            "seeds": [1, 2],
        }
    },
}


def plan(tmp_path, *overlays):
    files = []
    for i, content in enumerate([SMALL, *overlays]):
        files.append(tmp_path / f"layer{i}.yaml")
        files[-1].write_text(yaml.safe_dump(content))
    return load_plan(files)


def toy(**sections):
    return {"studies": {"toy": sections}}


def possible_runs(found):
    """Every run that can be asked for, whichever trial is chosen, by its name."""
    runs = {}
    for study in found.studies.values():
        trials = {name: [t.settings for t in arm.trials] for name, arm in study.arms.items()}
        several = study.tuning_runs(trials)
        for name, arm in study.arms.items():
            for settings in trials[arm.tuned_by]:
                several += study.reporting_runs(name, settings)
        runs |= {run.name: run for run in several}
    return runs


def test_every_run_is_named_by_its_settings_and_names_are_safe_paths(tmp_path):
    runs = possible_runs(plan(tmp_path))
    assert len(runs) == 2 * 2 * (1 + 2)
    for name, run in runs.items():
        assert re.fullmatch(RUN_PATTERN, name)
        assert re.fullmatch(r"[A-Za-z0-9_.+/-]+", name) and len(name) <= LONGEST
        assert name.startswith(f"{run.config['optimizer']['name']}-lr{run.settings['lr']}")
        assert name.endswith(f"seed-{run.seed}") and run.seed == run.config["seed"]
        assert ("tuning-seed" in name) == (run.phase == run.config["phase"] == "tuning")


def test_two_studies_share_equal_runs(tmp_path):
    twin = {"studies": {"twin": SMALL["studies"]["toy"]}}
    assert set(possible_runs(plan(tmp_path, twin))) == set(possible_runs(plan(tmp_path)))


def test_names_do_not_depend_on_the_order_of_keys(tmp_path):
    reordered = yaml.safe_load(yaml.safe_dump(SMALL, sort_keys=True))
    assert list(load_runs(tmp_path, reordered)) == list(load_runs(tmp_path, SMALL))


def load_runs(tmp_path, content):
    file = tmp_path / "one.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return possible_runs(load_plan([file]))


def test_run_settings_are_plain_values(tmp_path):
    def check(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                assert type(key) is str
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)
        else:
            assert type(value) in (str, int, float, bool, type(None))

    for run in possible_runs(plan(tmp_path)).values():
        check(run.config)


def test_an_overlay_replaces_values_and_null_removes_a_named_thing(tmp_path):
    changed = plan(tmp_path, toy(seeds=[5], arms={"muon": None})).studies["toy"]
    assert changed.seeds == [5]
    assert list(changed.arms) == ["adamw"]


def test_published_lies_over_the_study_and_stands_beside_fair(tmp_path):
    overlay = toy(
        protocols=["fair", "published"],
        published={
            "training": {"evaluate_on": "test"},
            "optimizers": {"muon": {"weight_decay": 0.1}},
            "arms": {"muon": {"compound": True}},
        },
    )
    studies = plan(tmp_path, overlay).studies
    assert set(studies) == {"toy", "toy_published"}
    source = studies["toy_published"].arms["muon"].settings
    assert source["training"]["evaluate_on"] == "test"
    assert source["optimizer"]["weight_decay"] == 0.1
    assert studies["toy"].arms["muon"].settings["optimizer"]["weight_decay"] == 0.01


def test_an_optimizer_swap_is_one_variable_and_unequal_weight_decay_a_second():
    adamw = {"optimizer": {"name": "adamw", "lr": 1.0, "weight_decay": 0.1}}
    muon = {"optimizer": {"name": "muon", "lr": 2.0, "weight_decay": 0.1, "momentum": 0.9}}
    assert variables(adamw, muon) == ["optimizer"]
    decayed = {"optimizer": muon["optimizer"] | {"weight_decay": 0.2}}
    assert variables(adamw, decayed) == ["optimizer", "optimizer.weight_decay"]
    assert variables(muon, decayed) == ["optimizer.weight_decay"]


def test_tuned_fields_are_no_variables():
    a = {"optimizer": {"name": "muon", "lr": 1.0, "momentum": 0.9}}
    b = {"optimizer": {"name": "muon", "lr": 2.0, "momentum": 0.95}}
    assert variables(a, b, tuned=["lr"]) == ["optimizer.momentum"]


def test_two_changes_are_refused_unless_declared_compound(tmp_path):
    two = {"base": "muon", "set": {"optimizer.momentum": 0.9, "optimizer.ns_steps": 10}}
    with pytest.raises(UserError, match="changes 2 variables against muon"):
        plan(tmp_path, toy(arms={"variant": two}))
    declared = plan(tmp_path, toy(arms={"variant": two | {"compound": True}}))
    assert declared.studies["toy"].arms["variant"].compound


def test_arms_inherit_through_several_bases(tmp_path):
    arms = {
        "slow": {"base": "muon", "set": {"optimizer.momentum": 0.9}},
        "slower": {"base": "slow", "set": {"optimizer.ns_steps": 9}},
    }
    settings = plan(tmp_path, toy(arms=arms)).studies["toy"].arms["slower"].settings["optimizer"]
    assert (settings["momentum"], settings["ns_steps"]) == (0.9, 9)


def test_every_arm_has_equally_many_trials(tmp_path):
    with pytest.raises(UserError, match="equally many trials"):
        plan(tmp_path, toy(arms={"muon": {"grid": {"lr": [0.1]}}}))


def test_the_schema_file_is_in_step_with_the_models():
    assert (ROOT / "config.schema.json").read_text() == json_schema()


@pytest.mark.parametrize("overlay", [None, *sorted((ROOT / "studies").glob("*.yaml"))], ids=str)
def test_every_shipped_config_is_valid(overlay):
    files = [ROOT / "config.yaml", *([overlay] if overlay else [])]
    assert possible_runs(load_plan(files))


def test_the_published_protocol_of_the_fashion_study_switches_the_sources_faults_on(tmp_path):
    chosen = tmp_path / "published.yaml"
    chosen.write_text("studies: {fashion: {protocols: [fair, published]}}")
    studies = load_plan([ROOT / "config.yaml", ROOT / "studies/fashion.yaml", chosen]).studies
    fair, source = studies["fashion"], studies["fashion_published"]
    training = source.arms["muon"].settings["training"]
    assert training["train_on"] == ["train", "validation"]
    assert training["evaluate_on"] == "test"
    assert not training["paired"]
    assert source.tuning["score"] == "minimum"
    decays = {arm: source.arms[arm].settings["optimizer"]["weight_decay"] for arm in source.arms}
    assert decays == {"adamw": 0.01, "muon": 0.1, "muon_hybrid": 0.1}
    assert source.arms["muon"].settings["optimizer"]["scale"] == "original"
    assert source.arms["muon"].compound
    assert not any(arm.compound for arm in fair.arms.values())


def test_the_published_fashion_study_has_its_size():
    study = load_plan([ROOT / "config.yaml", ROOT / "studies/fashion.yaml"]).studies["fashion"]
    model = study.arms["adamw"].settings["model"]
    sizes = [784, *[model["width"]] * model["depth"], 10]
    assert sum(a * b for a, b in zip(sizes, sizes[1:], strict=False)) == 12_360
    assert not model["bias"]
    assert study.arms["adamw"].settings["training"]["epochs"] == 20
    assert study.tuning["grid"]["lr"] == [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2]
    assert len(study.seeds) == 10


def test_every_field_is_documented():
    obvious = {"name", "source", "optimizers", "arms"}  # and fields that are sections
    undocumented = [
        f"{section}.{field}"
        for section, part in json.loads(json_schema())["$defs"].items()
        for field, schema in part["properties"].items()
        if not {"description", "$ref"} & set(schema) and field not in obvious
    ]
    assert not undocumented


FOLLOWER = {"base": "muon", "tune": False}


def test_an_arm_that_is_not_tuned_takes_its_bases_choice_but_for_what_it_sets(tmp_path):
    arms = {
        "six": FOLLOWER | {"set": {"optimizer.ns_steps": 6}},
        "fixed": FOLLOWER | {"set": {"optimizer.lr": 0.5}},
        "half": {"base": "six", "tune": False, "multiply": {"optimizer.lr": 0.5}},
        "quarter": {"base": "half", "tune": False, "multiply": {"optimizer.lr": 0.5}},
    }
    toy_plan = plan(tmp_path, toy(arms=arms)).studies["toy"]
    assert [len(toy_plan.arms[name].trials) for name in ("muon", *arms)] == [2, 0, 0, 0, 0]
    assert {toy_plan.arms[name].tuned_by for name in arms} == {"muon"}
    reported = {n: toy_plan.arms[n].optimizer({"lr": 0.01}) for n in arms}
    assert [reported[n]["lr"] for n in arms] == [0.01, 0.5, 0.005, 0.0025]
    assert [reported[n]["ns_steps"] for n in arms] == [6, 5, 6, 6]
    known = toy_plan.arms
    assert differences(known["six"], known["muon"]) == ["optimizer.ns_steps"]
    assert differences(known["fixed"], known["muon"]) == ["optimizer.lr"]
    assert differences(known["half"], known["six"]) == ["optimizer.lr"]
    assert differences(known["half"], known["muon"]) == ["optimizer.ns_steps", "optimizer.lr"]


def test_a_tuned_field_that_an_arm_sets_to_its_default_is_a_difference(tmp_path):
    arms = {
        "muon": {"grid": {"momentum": [0.9, 0.99]}, "unequal_search": True},
        "default": FOLLOWER | {"set": {"optimizer.momentum": 0.95}},
    }
    known = plan(tmp_path, toy(arms=arms)).studies["toy"].arms
    assert differences(known["default"], known["muon"]) == ["optimizer.momentum"]
    assert known["default"].optimizer({"momentum": 0.99})["momentum"] == 0.95


def test_a_further_tuned_field_is_the_variable_of_an_arm_that_changes_nothing_else(tmp_path):
    further = {"base": "muon", "grid": {"lr": [0.1], "momentum": [0.9]}, "unequal_search": True}
    known = plan(tmp_path, toy(arms={"further": further})).studies["toy"].arms
    assert differences(known["further"], known["muon"]) == ["optimizer.momentum"]
    assert differences(known["muon"], known["further"]) == ["optimizer.momentum"]


@pytest.mark.parametrize(
    ("arm", "field", "says"),
    [
        ({"optimizer": "muon", "tune": False}, "tune", "must have a base"),
        (FOLLOWER | {"grid": {"lr": [0.1, 0.2]}}, "tune", "must not have a grid"),
        (FOLLOWER | {"multiply": {"optimizer.nesterov": 2.0}}, "multiply.optimizer.nest", "number"),
        (
            FOLLOWER | {"multiply": {"optimizer.lrr": 2.0}},
            "multiply.optimizer.lrr",
            "optimizer.lr?",
        ),
        (FOLLOWER | {"multiply": {"optimizer.lr": -1.0}}, "multiply.optimizer.lr", "greater"),
        (FOLLOWER, "third", "changes nothing"),
    ],
)
def test_a_wrong_follower_is_refused_in_one_sentence(tmp_path, arm, field, says):
    with pytest.raises(UserError, match=f"arms.*{re.escape(field)}.*{re.escape(says)}"):
        plan(tmp_path, toy(arms={"third": arm}))


def test_decay_rates_are_multiplied_at_their_distance_from_one():
    assert scaled("lr", 0.003, 2.0) == 0.006
    assert scaled("momentum", 0.95, 1.2) == pytest.approx(0.94)
    assert scaled("momentum", 0.95, 0.8) == pytest.approx(0.96)
    assert scaled("weight_decay", 0.1, 0.8) == pytest.approx(0.08)


def test_robustness_runs_change_one_chosen_setting_and_read_no_test_set(tmp_path):
    section = {"arms": ["muon"], "lr_factors": [0.5, 2.0], "embedding_factors": [4.0], "seeds": 1}
    study = plan(tmp_path, toy(robustness=section)).studies["toy"]
    chosen = study.arms["muon"].optimizer({"lr": 0.01})
    rows = study.robustness_runs("muon", {"lr": 0.01})
    assert [(field, factor) for field, factor, _ in rows] == [
        ("lr", 0.5),
        ("lr", 2.0),
        ("embedding_ratio", 4.0),
        ("momentum", 0.8),
        ("momentum", 1.2),
        ("weight_decay", 0.8),
        ("weight_decay", 1.2),
    ]
    for field, _, run in rows:
        optimizer = run.config["optimizer"]
        changed = {key for key in chosen if chosen[key] != optimizer[key]}
        if field == "lr":  # of the matrices alone: the ratios keep the other rates where they are
            ratios = {"embedding_ratio", "head_ratio", "vector_ratio"}
            assert all(optimizer["lr"] * optimizer[r] == pytest.approx(0.01) for r in ratios)
            changed -= ratios
        assert (changed, run.seed, run.config["phase"]) == ({field}, 1, "tuning")
    assert study.robustness_runs("adamw", {"lr": 0.01}) == []
    with pytest.raises(UserError, match="robustness.arms.*'other' is not an arm"):
        plan(tmp_path, toy(robustness={"arms": ["other"]}))


FOUR = {"label": "x", "both": "muon", "without_first": "adamw", "without_second": "muon"}


@pytest.mark.parametrize(
    ("measure", "sentence"),
    [
        ({"overhead": {"arms": ["muon", "other"]}}, "overhead.arms.*'other' is not an arm"),
        ({"overhead": {"arms": ["muon", "muon"]}}, "overhead.*two different arms"),
        ({"ranking": "other"}, "ranking.*'other' is not an arm"),
        (
            {"factorials": [FOUR | {"neither": "none"}]},
            "factorials.0.neither.*'none' is not an arm",
        ),
    ],
)
def test_what_is_measured_names_arms_of_the_study(tmp_path, measure, sentence):
    with pytest.raises(UserError, match=sentence):
        plan(tmp_path, toy(measure=measure))


def test_models_read_their_own_kind_of_data(tmp_path):
    with pytest.raises(UserError, match="toy.data.*transformer reads text.*'digits' holds images"):
        plan(tmp_path, toy(model={"name": "transformer", "context": 8}))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"width": 30, "heads": 4}, "multiple of heads"),
        ({"width": 12, "heads": 4}, "even for rotary"),
        ({"heads": 8, "kv_heads": 3}, "multiple of kv_heads"),
        ({"experts": 2, "top_k": 3}, "top_k .3. must not exceed"),
    ],
)
def test_impossible_transformers_are_refused(tmp_path, model, says):
    with pytest.raises(UserError, match=says):
        plan(tmp_path, toy(model={"name": "transformer"} | model))


def test_the_published_ablation_has_its_nineteen_variants_of_which_two_are_one(tmp_path):
    files = [ROOT / "config.yaml", ROOT / "studies" / "ablation.yaml", tmp_path / "p.yaml"]
    files[-1].write_text("studies: {ablation: {protocols: [fair, published]}}")
    studies = load_plan(files).studies
    arms = studies["ablation_published"].arms
    assert len(arms) == 18
    assert {arm.settings["optimizer"]["scale"] for arm in arms.values()} == {"original"}
    assert {arm.settings["model"]["positions"] for arm in arms.values()} == {"none"}
    fair = studies["ablation"].arms
    assert set(arms) < set(fair)
    assert not [name for name, arm in fair.items() if arm.compound]


def test_muonclip_is_refused_for_models_without_logits_that_it_could_clip(tmp_path):
    arm = {"clip": {"base": "adamw", "optimizer": "clip"}}
    clip = toy(optimizers={"clip": {"name": "muonclip", "weight_decay": 0.01}}, arms=arm)
    with pytest.raises(UserError, match="toy.arms.clip: muonclip .* mlp has no logits"):
        plan(tmp_path, clip)
    text = {"data": {"python": {"source": "stdlib"}}}
    language = {"data": "python", "model": {"name": "transformer", "qk_norm": True}}
    with pytest.raises(UserError, match="toy.arms.clip: .* transformer normalises its logits"):
        plan(tmp_path, clip, text, toy(**language))
    assert plan(tmp_path, clip, text, toy(**language), toy(model={"qk_norm": False})).studies


def test_a_swapped_optimizer_takes_of_the_choice_what_it_has(tmp_path):
    arms = {
        "muon": {"grid": {"lr": [0.1], "momentum": [0.9]}},
        "adamw": {"grid": {"lr": [0.1]}, "unequal_search": True},
        "plain": {"base": "muon", "optimizer": "adamw", "tune": False, "compound": True},
    }
    plain = plan(tmp_path, toy(arms=arms)).studies["toy"].arms["plain"]
    chosen = plain.optimizer({"lr": 0.1, "momentum": 0.9})
    assert chosen["lr"] == 0.1 and "momentum" not in chosen


def test_every_variant_of_the_ablation_but_the_rates_has_a_twin_with_matched_steps():
    arms = load_plan([ROOT / "config.yaml"]).studies["ablation"].arms
    settings = {name: flatten(arm.settings) for name, arm in arms.items()}
    found = twins(settings)
    moved = [name for name, arm in arms.items() if name.startswith(("ns_", "momentum_", "no_"))]
    changed = [name for name in moved if not name.endswith("_rms")]
    assert len(changed) >= 10
    assert {name: f"{name}_rms" for name in changed}.items() <= found.items()


def test_the_spectra_of_the_ablation_differ_in_the_spectrum_alone():
    arms = load_plan([ROOT / "config.yaml"]).studies["ablation"].arms
    settings = {name: flatten(arm.settings) for name, arm in arms.items()}
    groups = alike(settings, ["optimizer.update_spectrum"])
    (group,) = [group for group in groups if "polar_exact_rms" in group]
    values = {str(settings[name]["optimizer.update_spectrum"]) for name in group}
    assert values == {"None", "-0.5", "0.0", "0.5", "1.0", "random"}
    assert all(settings[name]["optimizer.scale"] == "fixed_rms" for name in group)
    assert {arms[name].tuned_by for name in group} == {"muon_95"}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"measure": {"ranking": "muon", "unranked": ["ice"]}}, "measure.unranked: 'ice' is not"),
        ({"sensitivity": {"arm": "ice", "grid": {"lr": [0.1]}}}, "sensitivity.arm: 'ice' is not"),
        ({"sensitivity": {"arm": "muon", "grid": {"rl": [0.1]}}}, "grid.rl: is not a number"),
        ({"sensitivity": {"arm": "muon", "grid": {"nesterov": [True]}}}, "is not a number"),
        ({"sensitivity": {"arm": "muon", "grid": {"momentum": [1.5]}}}, "must be less than 1"),
        ({"sensitivity": {"arm": "muon", "grid": {"lr": [0.1, 0.1]}}}, "different values"),
    ],
)
def test_what_ranking_and_sensitivity_name_must_be_there(tmp_path, sections, said):
    with pytest.raises(UserError, match=said):
        plan(tmp_path, toy(**sections))


def test_an_unranked_arm_is_in_no_ranking_table(tmp_path):
    third = {"third": {"base": "muon", "set": {"optimizer.momentum": 0.9}, "tune": False}}
    asked = toy(arms=third, measure={"ranking": "muon", "unranked": ["third"]})

    class Known:
        study = plan(tmp_path, asked).studies["toy"]

    assert set(against_variables(Known())) == {"adamw", "muon"}


def test_tuning_runs_are_evaluated_on_the_way_only_where_that_decides():
    final = load_plan([ROOT / "config.yaml"]).studies["fashion"]
    assert final.tuning["score"] == "final"
    trials = {
        name: [dict(t.settings) for t in arm.trials] for name, arm in final.tuned_arms.items()
    }
    assert {run.config["training"]["eval_every"] for run in final.tuning_runs(trials)} == {NEVER}
    lowest = replace(final, tuning=final.tuning | {"score": "minimum"})
    own = {run.config["training"]["eval_every"] for run in lowest.tuning_runs(trials)}
    assert own == {final.arms["adamw"].settings["training"]["eval_every"]}
    reported = final.reporting_runs("adamw", trials["adamw"][0])
    assert {run.config["training"]["eval_every"] for run in reported} == own


@pytest.mark.parametrize("study, at_the_start", [("fashion", None), ("moe", FEW)])
def test_tuning_runs_read_a_few_examples_at_their_start(study, at_the_start):
    planned = load_plan([ROOT / "config.yaml"]).studies[study]
    settings = dict(planned.tuned_arms["muon"].trials[0].settings)
    tuning = planned.tuning_runs(dict.fromkeys(planned.tuned_arms, []) | {"muon": [settings]})
    assert {run.config["training"]["evaluation_examples"] for run in tuning} == {at_the_start}
    (reported, *_) = planned.reporting_runs("muon", settings)
    asked = planned.arms["muon"].settings["training"]["evaluation_examples"]
    assert reported.config["training"]["evaluation_examples"] == asked
