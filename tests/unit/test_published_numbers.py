"""The sources' numbers as data, and the table that prints them beside ours."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muonlab.plan.published import published_numbers, read_sources
from muonlab.plan.runs import load_plan
from muonlab.report.end_values import SUMMARY, end_values
from muonlab.report.tables.published_numbers import numbers_table

ROOT = Path(__file__).parents[2]
PROTOCOLS = {name: {"protocols": ["fair", "published"]} for name in ("fashion", "moe", "ablation")}
PLAN = load_plan([ROOT / "config.yaml"], {"studies": PROTOCOLS})
SOURCES = read_sources()
OUTCOMES = {*SUMMARY, "step_seconds", "spectral_entropy_end", "sharpness_end"}


def all_sources():
    return [(claim, source) for claim in SOURCES["claims"] for source in claim["sources"]]


def test_there_is_every_claim_with_its_source():
    numbers = [claim["number"] for claim in SOURCES["claims"] if claim["number"] is not None]
    assert numbers == list(range(1, 19))
    for claim, source in all_sources():
        assert claim["words"].endswith(".") and source["write_up"] in SOURCES["write_ups"]
        assert all(fault.endswith(".") for fault in source["faults"])
    assert {s["write_up"] for _, s in all_sources()} == set(SOURCES["write_ups"])


def test_a_source_has_numbers_with_their_place_or_says_that_it_has_none():
    for _, source in all_sources():
        assert ("numbers" in source) != ("none" in source)
        for number in source.get("numbers", []):
            assert number["unit"] and number["where"] and len(number["printed"]) <= 2
            assert all(math.isfinite(value) for value in number["printed"])
            assert len(number["printed"]) > 0 or "ours" in number
        for asked in [*source.get("numbers", []), *source.get("ask", [])]:
            ours = asked.get("ours")
            if ours:
                assert ours["study"] in PLAN.studies
                known = ours["outcome"] in OUTCOMES
                assert known or ours["outcome"].startswith("accuracy_int")
                two = "b" in ours
                assert not asked.get("printed") or len(asked["printed"]) == 1 + two


def test_sums_that_the_sources_print_are_those_of_their_numbers():
    """A slip of the pen in a loss would show: two contributions and a synergy were printed too."""
    (source,) = [s for c, s in all_sources() if c["number"] == 2]
    costs = [a - b for a, b in (number["printed"] for number in source["numbers"])]
    without_ns, without_momentum, without_both = costs
    assert without_ns == pytest.approx(2.8989, abs=1e-4)
    assert without_momentum == pytest.approx(1.2926, abs=1e-4)
    assert without_ns + without_momentum - without_both == pytest.approx(1.4654, abs=2e-4)
    (table,) = [s for c, s in all_sources() if c["number"] == 3 and s["write_up"] == "ablation"]
    best = table["numbers"][0]["printed"][0]
    assert math.exp(best) == pytest.approx(13428.71, rel=1e-4)


@pytest.mark.parametrize("study", PLAN.studies)
def test_a_study_is_given_the_numbers_that_its_arms_can_give(study):
    plan = PLAN.studies[study]
    found = published_numbers(plan)
    # The research plan behind the comparison prints no results.
    assert bool(found) == (study != "comparison") and json.loads(json.dumps(found)) == found
    for record in found:
        assert record["study"] == study.removesuffix("_published")
        assert record["a"] in plan.arms and record["b"] in plan.arms
    twins = [record for record in found if str(record["a"]).endswith("_rms")]
    assert bool(twins) == (study == "ablation"), "the published ablation has no matched steps"


def record(**fields):
    base = {"claim": 1, "words": "A.", "source": "S", "faults": "", "quantity": "loss"}
    base |= {"unit": "nats", "relative": False, "printed": [2.0, 3.0], "where": "table"}
    return base | {"study": "moe", "outcome": "final_loss", "a": "x", "b": "y"} | fields


def values(**arms):
    return pd.DataFrame(
        {"arm": arm, "seed": seed, "outcome": "final_loss", "value": value}
        for arm, own in arms.items()
        for seed, value in enumerate(own)
    )


def study(paired=True):
    facts = {"data": "python", "protocol": "fair", "alpha": 0.05}
    return facts | {"training": {"paired": paired}}


X, Y = [2.0, 2.2, 2.1, 2.4], [2.9, 3.3, 3.0, 3.6]


def row(found, paired=True, **arms):
    return numbers_table([found], values(**(arms or {"x": X, "y": Y})), study(paired)).iloc[0]


@pytest.mark.parametrize("paired", [True, False])
def test_a_difference_has_its_interval_and_the_printed_one_beside_it(paired):
    found = row(record(), paired)
    test = (stats.ttest_rel if paired else lambda a, b: stats.ttest_ind(a, b, equal_var=False))(
        X, Y
    )
    interval = test.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.ours == pytest.approx(np.mean(X) - np.mean(Y)) and found.n == 4
    assert (found.published, found.published_a, found.published_b) == (-1.0, 2.0, 3.0)
    assert (found.ours_a, found.ours_b) == pytest.approx((np.mean(X), np.mean(Y)))


def test_swapped_arms_turn_both_signs():
    one, other = row(record()), row(record(a="y", b="x", printed=[3.0, 2.0]))
    for field, turned in (("published", "published"), ("ours", "ours"), ("low", "high")):
        assert one[field] == pytest.approx(-other[turned])


def test_a_relative_number_is_a_percentage_by_seed():
    found = row(record(relative=True, printed=[2.7, 2.4]))
    change = 100 * (np.array(X) / np.array(Y) - 1)
    interval = stats.ttest_1samp(change, 0).confidence_interval(0.95)
    assert found.published == pytest.approx(12.5)
    assert (found.ours, found.low, found.high) == pytest.approx((change.mean(), *interval))
    assert math.isnan(row(record(relative=True), paired=False).low)


def test_one_arm_has_a_level_and_one_seed_no_interval():
    found = row(record(b=None, printed=[2.5]))
    assert found.published == 2.5 and found.ours == pytest.approx(np.mean(X))
    assert math.isnan(found.ours_b) and math.isnan(found.published_a)
    single = row(record(), x=[2.0], y=[3.0])
    assert single.ours == -1.0 and single.n == 1 and math.isnan(single.low)


def test_what_a_source_does_not_print_is_empty_and_ours_is_shown():
    found = row(record(printed=[], where="The write-up prints no number.", claim=None))
    assert math.isnan(found.published) and math.isfinite(found.low) and pd.isna(found.claim)


def test_a_diverged_run_leaves_our_side_empty():
    found = row(record(), x=[2.0, np.nan, 2.1, 2.4], y=Y)
    assert np.isnan([found.ours, found.low, found.high]).all() and found.published == -1.0


def test_a_claim_without_records_is_left_out():
    assert numbers_table([record(outcome="sharpness_end")], values(x=X, y=Y), study()).empty
    assert numbers_table([record(a="z")], values(x=X, y=Y), study()).empty
    assert numbers_table([], values(x=X, y=Y), study()).empty


def test_values_at_the_end_are_those_of_the_records():
    runs = [{"arm": "x", "seed": 1}]
    summaries = [{"final_loss": 2.0, "final_accuracy": None, "test_loss": 2.5, "test_accuracy": 1}]
    summaries[0]["diverged"] = False
    common = {"arm": "x", "seed": 1, "step": 5, "reached": True}
    quantized = pd.DataFrame(
        common
        | {"point": point, "tensor": "all", "metric": "accuracy", "bits": bits}
        | {"scheme": scheme, "value": value}
        for point, bits, scheme, value in [
            ("end", 4, "tensor_quantile", 0.7),
            ("matched", 4, "tensor_quantile", 0.6),
            ("end", 32, "full", 0.9),
        ]
    )
    curvature = pd.DataFrame(
        common | {"point": "end", "metric": "sharpness", "index": i, "value": 9.0 - i}
        for i in range(3)
    )
    found = end_values(runs, summaries, [{}], None, curvature, quantized)
    by_name = found.set_index("outcome").value
    assert by_name.final_loss == 2.0 and math.isnan(by_name.final_accuracy)
    assert math.isnan(by_name.step_seconds) and by_name.sharpness_end == 9.0
    assert by_name.accuracy_int4_tensor_quantile_end == 0.7
    assert [name for name in by_name.index if "int" in name] == [
        "accuracy_int4_tensor_quantile_end"
    ]


def test_the_spectrum_at_the_end_is_the_mean_over_the_hidden_weights():
    common = {"arm": "x", "seed": 1, "step": 5, "loss": 2.0, "index": 0}
    rows = pd.DataFrame(
        common
        | {"tensor": tensor, "component": component, "object": kind, "point": point}
        | {"metric": "spectral_entropy", "value": value}
        for tensor, component, kind, point, value in [
            ("layers.0.up", "up", "weight", "end", 0.5),
            ("layers.1.up", "up", "weight", "end", 0.7),
            ("layers.0.up", "up", "displacement", "end", 0.1),
            ("layers.0.up", "up", "weight", "start", 0.9),
            ("embedding", "embedding", "weight", "end", 0.2),
        ]
    )
    runs, summary = [{"arm": "x", "seed": 1}], {"diverged": False, "final_loss": 2.0}
    found = end_values(runs, [summary], [{}], rows, None, None)
    (value,) = found[found.outcome == "spectral_entropy_end"].value
    assert value == pytest.approx(0.6)
