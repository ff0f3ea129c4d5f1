"""Studies, arms and runs: names, the one-variable rule, overlays, the schema and its file."""

import json
import re
from pathlib import Path

import pytest
import yaml

from muonlab.io.errors import UserError
from muonlab.plan.arms import variables
from muonlab.plan.naming import LONGEST, RUN_PATTERN, section_name
from muonlab.plan.runs import load_plan
from muonlab.plan.schema import json_schema

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


def test_every_run_is_named_by_its_settings_and_names_are_safe_paths(tmp_path):
    runs = plan(tmp_path).runs
    assert len(runs) == 2 * 2 * (1 + 2)
    for name, config in runs.items():
        assert re.fullmatch(RUN_PATTERN, name)
        assert re.fullmatch(r"[A-Za-z0-9_.,=+/-]+", name)
        assert f"lr={config['optimizer']['lr']}" in name
        assert name.endswith(f"seed-{config['seed']}")
        assert ("tuning-seed" in name) == (config["phase"] == "tuning")


def test_two_studies_share_equal_runs(tmp_path):
    twin = {"studies": {"twin": SMALL["studies"]["toy"]}}
    assert set(plan(tmp_path, twin).runs) == set(plan(tmp_path).runs)


def test_names_do_not_depend_on_the_order_of_keys(tmp_path):
    reordered = yaml.safe_load(yaml.safe_dump(SMALL, sort_keys=True))
    assert list(load_runs(tmp_path, reordered)) == list(load_runs(tmp_path, SMALL))


def load_runs(tmp_path, content):
    file = tmp_path / "one.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_plan([file]).runs


def test_swapped_settings_of_one_type_are_another_run():
    defaults = {"width": 15, "depth": 3}
    assert section_name("mlp", {"width": 8, "depth": 4}, defaults) != section_name(
        "mlp", {"width": 4, "depth": 8}, defaults
    )


def test_long_names_are_cut_and_stay_different():
    first = section_name("muon", {"x": ["a" * 100, "b" * 200]}, {})
    second = section_name("muon", {"x": ["a" * 100, "b" * 199 + "c"]}, {})
    assert first != second
    assert len(first) <= LONGEST


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

    for config in plan(tmp_path).runs.values():
        check(config)


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
    assert load_plan(files).runs


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
