"""Ranking, dose and response, robustness and insights from small made-up records: flip the numbers
and what is said flips."""

import math
import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muonlab.report import variants
from muonlab.report.factorials import OUTCOME
from muonlab.report.figures import ranked_arms, setting_maps
from muonlab.report.figures.polar_dose import dose_response
from muonlab.report.figures.rate_sensitivity import lr_sensitivity
from muonlab.report.figures.tuning_budget import best_of_k as draw_best_of_k
from muonlab.report.records import write_csv
from muonlab.report.tables import dose_response as dose
from muonlab.report.tables import ranking, robustness
from muonlab.report.tables.best_of_k import best_of_k
from muonlab.report.tables.contrasts import compare
from muonlab.report.texts import insights

MUON = {
    "optimizer.name": "muon",
    "optimizer.lr": 0.01,
    "optimizer.momentum": 0.95,
    "optimizer.nesterov": True,
    "optimizer.ns_steps": 5,
    "optimizer.ns_coefficients": "jordan",
    "optimizer.scale": "match_rms_adamw",
    "model.width": 8,
}
RMS = {"optimizer.scale": "fixed_rms"}
TEN = {"optimizer.ns_steps": 10}
CALM = {"optimizer.ns_coefficients": "conservative"}
PLAIN = {"optimizer.nesterov": False}
# Names say nothing: what belongs together is read from the settings.
SETTINGS = {
    "alpha": MUON,
    "bravo": MUON | TEN,
    "charlie": MUON | CALM,
    "delta": MUON | PLAIN,
    "echo": MUON | RMS,
    "foxtrot": MUON | RMS | TEN,
    "golf": MUON | RMS | CALM,
    "adamw": {"optimizer.name": "adamw", "optimizer.lr": 0.01, "model.width": 8},
}
LOSSES = dict(zip(SETTINGS, [3.0, 2.9, 3.3, 3.1, 3.0, 2.95, 3.25, 3.2], strict=True))
PLAN = {"alpha": 0.05, "smallest_difference": {"final_loss": 0.001}, "families": []}
LOSS = [{"name": "final_loss", "label": "final loss", "point": "", "better": "lower"}]
TWINS = {"foxtrot", "golf"}  # which start from echo, as bravo and charlie start from alpha


def study(arms=SETTINGS, seeds=(1, 2, 3, 4), edges=None):
    return {
        "title": "Made up",
        "data": "python",
        "kind": "text",
        "protocol": "fair",
        "alpha": 0.05,
        "interval": "95 %",
        "seeds": list(seeds),
        "levels": 3,
        "training": {"paired": True, "evaluate_on": "validation"},
        "arms": [
            {
                "name": arm,
                "label": arm.upper(),
                "base": None if arm == "alpha" else "echo" if arm in TWINS else "alpha",
                "compound": False,
                "tuned": arm in ("alpha", "adamw"),
                "settings": {"lr": 0.01},
                "edges": (edges or {}).get(arm, {}),
            }
            for arm in arms
        ],
    }


def made_up_runs(losses=LOSSES, seeds=(1, 2, 3, 4), noise=0.01, broken=()):
    """Runs with these mean losses; `broken` (arm, seed) diverged."""
    rng = np.random.default_rng(3)
    runs, summaries, provenances = [], [], []
    for arm, loss in losses.items():
        for seed in seeds:
            lost = (arm, seed) in broken
            value = None if lost else loss + 0.05 * seed + float(rng.normal(0, noise))
            runs.append({"arm": arm, "seed": seed, "run": f"{arm}/{seed}"})
            summaries.append(
                {"final_loss": value, "final_accuracy": None if lost else 0.3}
                | {"diverged": lost, "evaluated_on": "validation"}
            )
            step = 0.002 + 0.001 * (arm == "adamw") + float(rng.uniform(0, 1e-5))
            provenances.append(
                {"device_type": "cpu", "seconds": 9.0, "step_seconds": 2 * step}
                | {"step_cpu_seconds": step}
            )
    return ranking.ranked_runs(runs, summaries, provenances)


class Losses:
    """The final losses of runs, as the table of contrasts reads them."""

    def __init__(self, runs):
        self.table = runs[["arm", "seed"]].assign(
            outcome="final_loss", value=runs.final_loss.astype(float),
            level=math.nan, nearest=math.nan, unknown=False,
        )  # fmt: skip

    def of(self, arms=None):
        return self.table if arms is None else self.table[self.table.arm.isin(arms)]


def compared(runs, settings=SETTINGS, seeds=(1, 2, 3, 4), against="alpha"):
    """contrasts.csv: every arm with its base and with `against`, and adamw always subtracted."""
    arms = study(settings)["arms"]
    pairs = [(arm["name"], arm["base"]) for arm in arms if arm["base"] in settings]
    known = {frozenset(pair) for pair in pairs}
    others = [arm for arm in settings if arm != against]
    pairs += [(arm, against) for arm in others if {arm, against} not in known]
    pairs = [(b, a) if a == "adamw" else (a, b) for a, b in pairs]
    pairs = [{"a": a, "b": b, "variables": ["optimizer.ns_steps"]} for a, b in pairs]
    return compare(Losses(runs), LOSS, pairs, study(settings, seeds), PLAN)


def rank(runs, settings=SETTINGS, against="alpha", seeds=(1, 2, 3, 4)):
    different = {arm: ["optimizer.ns_steps"] for arm in settings}
    different |= {against: [], "adamw": ["optimizer", "optimizer.weight_decay"]}
    rows = compared(runs, settings, seeds, against)
    return ranking.ranking_table(runs, rows, study(settings, seeds), settings, different, against)


def single_settings(runs):
    return ranking.field_effects(runs, compared(runs), study(), SETTINGS, "alpha")


def test_twins_differ_in_the_scale_of_the_update_alone():
    assert variants.twins(SETTINGS) == {"alpha": "echo", "bravo": "foxtrot", "charlie": "golf"}
    changed = SETTINGS | {"echo": MUON | RMS | {"model.width": 9}}
    assert "alpha" not in variants.twins(changed)


def test_groups_are_alike_but_for_the_named_fields():
    assert variants.alike(SETTINGS, ["optimizer.ns_steps"]) == [
        ["alpha", "bravo"],
        ["echo", "foxtrot"],
    ]
    assert set(variants.varied(SETTINGS)) == {
        "optimizer.ns_steps",
        "optimizer.ns_coefficients",
        "optimizer.nesterov",
    }
    assert variants.reference(["bravo", "alpha"], "alpha", {}) == "alpha"
    bases = {"x": "y", "z": "y", "y": "alpha"}
    assert variants.reference(["x", "y", "z"], "alpha", bases) == "y"


def test_a_ranking_orders_by_loss_and_compares_by_seed():
    runs = made_up_runs()
    table = rank(runs)
    assert list(table.loc[table["rank"].argsort(), "loss"]) == sorted(table.loss)
    by_arm = table.set_index("arm")
    wide = runs.pivot(index="seed", columns="arm", values="final_loss")
    for arm, (a, b) in {"bravo": ("bravo", "alpha"), "adamw": ("alpha", "adamw")}.items():
        test = stats.ttest_rel(wide[a], wide[b])
        interval = test.confidence_interval(1 - 0.05 / 9)
        row = by_arm.loc[arm]
        assert (row.arm_a, row.arm_b) == (a, b), "AdamW is subtracted"
        assert row.difference == pytest.approx((wide[a] - wide[b]).mean())
        assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
        assert row.p == pytest.approx(test.pvalue)
        assert row.p_adjusted == pytest.approx(min(1, 9 * row.p))
    assert by_arm.verdict.bravo == "better" and by_arm.verdict.charlie == "worse"
    assert by_arm.improvement_percent.bravo == pytest.approx(
        100 * (1 - by_arm.loss.bravo / by_arm.loss.alpha)
    )
    assert by_arm.perplexity.bravo == pytest.approx(math.exp(by_arm.loss.bravo))
    assert by_arm.compound.adamw and not by_arm.compound.bravo
    assert by_arm.step_change_difference.adamw < 0, "alpha's updates take less time than adamw's"
    assert by_arm.step_change_verdict.adamw == "better"


def test_a_ranking_has_the_rows_of_the_contrasts():
    runs = made_up_runs(LOSSES | {"bravo": 2.995, "delta": 3.01}, noise=0.02)
    rows = compared(runs).set_index(["arm_a", "arm_b"])
    table, effects = rank(runs), single_settings(runs)
    own = ["difference", "low", "high", "p", "p_adjusted", "family", "verdict", "needs_n"]
    seen = 0
    for row in [*table[table.arm != "alpha"].itertuples(), *effects.itertuples()]:
        theirs = rows.loc[(row.arm_a, row.arm_b)]
        for name in own:
            here, there = getattr(row, name), theirs[name]
            assert here == there or (pd.isna(here) and pd.isna(there)), name
        seen += 1
    assert seen == 7 + 5
    twins = table[table.twin.notna()]
    for row in twins.itertuples():
        theirs = rows.loc[(row.matched_arm_a, row.matched_arm_b)]
        assert (row.matched_low, row.matched_verdict) == (theirs.low, theirs.verdict)
    assert {"undecided", "better", "worse"} <= set(table.verdict)


def test_a_pair_that_nothing_compares_says_so():
    runs = made_up_runs()
    rows = compared(runs)
    rows = rows[rows.arm_a != "bravo"]
    table = ranking.field_effects(runs, rows, study(), SETTINGS, "alpha")
    row = table[table.arm == "bravo"].iloc[0]
    assert row.verdict == "not estimable" and "not compared" in row.reason
    assert np.isfinite(row.loss) and pd.isna(row.difference)


def test_matched_columns_compare_the_twins():
    runs = made_up_runs()
    table = rank(runs).set_index("arm")
    wide = runs.pivot(index="seed", columns="arm", values="final_loss")
    assert table.twin.bravo == "foxtrot"
    assert table.matched_difference.bravo == pytest.approx((wide.foxtrot - wide.echo).mean())
    assert pd.isna(table.twin.delta) and pd.isna(table.matched_verdict.delta)
    assert pd.isna(table.twin.alpha), "the arm ranked against is not compared with itself"


def test_a_diverged_run_ranks_its_arm_last_and_is_counted():
    table = rank(made_up_runs(broken={("bravo", 2)}))
    last = table.iloc[-1]
    assert (last.arm, last.diverged) == ("bravo", 1)
    assert math.isnan(last.loss) and last.verdict == "not estimable"
    assert table["rank"].to_list() == list(range(1, len(table) + 1))


def test_a_single_seed_has_a_rank_and_no_interval():
    table = rank(made_up_runs(seeds=(42,)), seeds=(42,))
    assert np.isfinite(table.loss).all() and table.loss_low.isna().all()
    assert set(table.verdict[table.arm != "alpha"]) == {"not estimable"}
    assert table.arm.iloc[0] == "bravo"
    means = table.set_index("arm").loss
    assert table.difference.iloc[0] == pytest.approx(means.bravo - means.alpha)


def test_single_fields_are_compared_inside_their_groups():
    runs = made_up_runs()
    found = single_settings(runs)
    rows = found[found.field == "optimizer.ns_steps"].set_index("reference")
    assert (rows.reference_value == "5").all() and (rows.value == "10").all()
    assert rows.arm.alpha == "bravo" and rows.arm.echo == "foxtrot"
    assert not rows.matched_step.alpha and rows.matched_step.echo
    assert rows.difference.echo == pytest.approx(
        runs[runs.arm == "foxtrot"].final_loss.mean() - runs[runs.arm == "echo"].final_loss.mean()
    )


def text(losses=LOSSES, responses=None, basins=None, **options):
    runs = made_up_runs(losses, **options)
    table = rank(runs)
    effects = single_settings(runs)
    if responses is None:
        responses = pd.DataFrame(columns=["metric"])
    return insights.insights(table, effects, responses, study(), basins)


def claim(found, start):
    (line,) = [line for line in found.splitlines() if line.startswith(f"| {start}")]
    return line.rsplit("**", 2)[1]


def test_insights_flip_with_the_numbers():
    found = text()
    assert "BRAVO has the lowest mean loss" in found
    assert claim(found, "10 Newton–Schulz") == "holds"
    assert claim(found, "No Nesterov") == "holds"
    assert claim(found, "“conservative”") == "holds"
    flipped = text(LOSSES | {"bravo": 3.2, "delta": 2.8, "golf": 2.9})
    assert "DELTA has the lowest mean loss" in flipped
    assert claim(flipped, "10 Newton–Schulz") == "does not hold"
    assert claim(flipped, "No Nesterov") == "does not hold"
    assert claim(flipped, "“conservative”") == "does not hold", "worse as run, by its step alone"


def test_insights_say_what_cannot_be_told_apart():
    found = text({arm: 3.0 for arm in LOSSES}, noise=0.2)
    assert claim(found, "10 Newton–Schulz") == "undecided"
    assert "No arm is shown to be better than ALPHA." in found
    assert re.search(r"made no detectable difference against 5 \(\d seeds\)", found)
    assert "is undecided against" not in found
    assert "0 of 7 arms are better or worse than ALPHA" in found
    assert "undecided (needs n" in found


def test_insights_name_the_fastest_and_the_diverged():
    found = text(broken={("charlie", 1)})
    assert "Diverged runs: CHARLIE (1 of 4)" in found
    (fastest,) = [line for line in found.splitlines() if "Fastest" in line]
    assert "ADAMW" not in fastest.split(",")[0]


def made_up_direction(doses, seeds=(1, 2, 3, 4)):
    rows = []
    for arm, value in doses.items():
        for seed in seeds:
            for place, tensor in enumerate(("a", "b")):
                for metric in dose.DOSES:
                    rows.append(
                        {"arm": arm, "seed": seed, "step": 10, "lr": 0.1, "tensor": tensor}
                        | {"component": "up", "matrix": 0, "metric": metric}
                        | {"normalised": False, "value": value + 0.01 * place + 0.001 * seed}
                    )
    return pd.DataFrame(rows)


def losses_of(runs):
    return runs.rename(columns={"final_loss": "value"}).assign(outcome=OUTCOME)


IN_A_ROW = {
    name: MUON | {"optimizer.ns_steps": steps}
    for name, steps in {"alpha": 5, "bravo": 6, "charlie": 7, "delta": 8}.items()
}


@pytest.mark.parametrize("sign", [1, -1])
def test_the_loss_over_its_dose(sign):
    doses = dict(zip(IN_A_ROW, [0.1, 0.2, 0.3, 0.4], strict=True))
    runs = made_up_runs({arm: 3 + sign * d for arm, d in doses.items()}, noise=0.001)
    records = made_up_direction(doses)
    points, found = dose.response_tables(losses_of(runs), records, study(IN_A_ROW), IN_A_ROW)
    row = found[found.metric == "direction_error"].iloc[0]
    assert row.doses == 4 and row.slope == pytest.approx(sign, rel=0.05) and row.rho == sign
    own = points[points.metric == "direction_error"].set_index("arm")
    assert own.dose.alpha == pytest.approx(0.1 + 0.005 + 0.0025)
    assert own.dose_low.alpha < own.dose.alpha < own.dose_high.alpha
    said = insights.dose_sentences(found)
    assert any(("rises" if sign > 0 else "falls") in sentence for _, sentence in said)
    plt.close(dose_response(points, found, study(IN_A_ROW)))


SPECTRA = {
    name: MUON | RMS | {"optimizer.update_spectrum": value}
    for name, value in zip(
        ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot"],
        [None, 0.0, -0.5, 0.5, 1.0, "random"],
        strict=True,
    )
}


def spectrum_tables(losses, settings=SPECTRA, smallest=None):
    runs = made_up_runs(dict(zip(settings, losses, strict=True)), noise=0.001)
    records = made_up_direction(dict(zip(settings, [0.1, 0, 0.5, 0.3, 0.6, 0.4], strict=True)))
    return dose.response_tables(losses_of(runs), records, study(settings), settings, smallest)


def test_the_loss_over_the_power_of_the_spectrum(tmp_path):
    points, found = spectrum_tables([3.0, 3.1, 2.85, 3.35, 3.6, 3.2])
    assert set(found.metric) == {"direction_error", "spectrum_power"}
    row = found[found.metric == "spectrum_power"].iloc[0]
    assert (row.doses, row.verdict) == (4, "holds") and row.slope == pytest.approx(0.5, rel=0.02)
    own = points[points.metric == "spectrum_power"].set_index("arm")
    assert own.dose.to_dict() == {"charlie": -0.5, "bravo": 0, "delta": 0.5, "echo": 1}
    whole = found[found.metric == "direction_error"].iloc[0]
    assert whole.doses == 6, "random spectra and the iteration's have a direction, but no power"
    write_csv(found, tmp_path / "found.csv")
    said = dict(insights.dose_sentences(pd.read_csv(tmp_path / "found.csv")))
    (topic,) = [topic for topic in said if "power of the update" in topic]
    assert "the loss rises" in said[topic] and "left out" in said[topic]
    plt.close(dose_response(points, found, study(SPECTRA)))


def test_a_spectrum_whose_shape_does_not_matter_is_flat():
    _, found = spectrum_tables([3.0] * 6, smallest=0.1)
    row = found[found.metric == "spectrum_power"].iloc[0]
    assert row.verdict == "flat"
    (sentence,) = [s for t, s in insights.dose_sentences(found) if "power" in t]
    assert "hardly changes" in sentence


def test_spectra_are_compared_at_one_size_alone():
    free = {name: fields | {"optimizer.scale": "original"} for name, fields in SPECTRA.items()}
    assert "spectrum_power" not in set(spectrum_tables([3.0] * 6, free)[1].metric)


def test_one_correction_covers_all_relations_of_the_table():
    settings = dict(zip("abcdefghij", [*IN_A_ROW.values(), *SPECTRA.values()], strict=True))
    runs = made_up_runs(dict.fromkeys(settings, 3.0), noise=0.05)
    doses = {arm: 0.1 + 0.05 * i for i, arm in enumerate(settings)}
    records = made_up_direction(doses)
    _, found = dose.response_tables(losses_of(runs), records, study(settings), settings)
    m = len(found)
    assert m == 5 and (found.relations == m).all()
    assert found.level.to_numpy() == pytest.approx(1 - 0.05 / m)
    wide = runs.pivot(index="seed", columns="arm", values="final_loss")
    for row in found[found.varied == "spectrum of the update"].itertuples():
        if row.metric == "spectrum_power":
            arms, powers = ["f", "g", "h", "i"], [0.0, -0.5, 0.5, 1.0]
            slopes = [stats.linregress(powers, values).slope for values in wide[arms].to_numpy()]
            test = stats.ttest_1samp(slopes, 0)
            interval = test.confidence_interval(1 - 0.05 / m)
            assert (row.slope_low, row.slope_high) == pytest.approx((interval.low, interval.high))
            assert row.p_slope == pytest.approx(min(1, m * test.pvalue))


def test_a_relation_that_one_arm_makes_is_said_to_rest_on_it():
    doses = dict(zip(IN_A_ROW, [0.1, 0.11, 0.12, 3.0], strict=True))
    runs = made_up_runs(dict(zip(IN_A_ROW, [3.0, 3.02, 2.98, 4.0], strict=True)), noise=0.001)
    records = made_up_direction(doses)
    _, found = dose.response_tables(losses_of(runs), records, study(IN_A_ROW), IN_A_ROW)
    row = found[found.metric == "direction_error"].iloc[0]
    assert row.verdict == "rests on one arm" and "delta" in row.rests_on.split(", ")
    assert row.slope_moved_by == "delta"
    (first, *_) = insights.dose_sentences(found)
    assert "but that rests on one arm" in first[1] and "`delta`" in first[1]


def test_a_field_that_is_not_set_has_a_name_in_sentences(tmp_path):
    runs = made_up_runs(dict(zip(SPECTRA, [3.0, 3.1, 3.3, 3.2, 3.4, 3.5], strict=True)))
    rows = compared(runs, SPECTRA, against="bravo")
    effects = ranking.field_effects(runs, rows, study(SPECTRA), SPECTRA, "bravo")
    write_csv(effects, tmp_path / "effects.csv")
    table = rank(runs, SPECTRA, "bravo")
    ((topic, sentence),) = insights.field_sentences(pd.read_csv(tmp_path / "effects.csv"), table)
    assert topic == "Spectrum of the update, steps of one size"
    assert "none" in sentence and "nan" not in sentence


def test_two_arms_make_no_dose_response(tmp_path):
    few = dict(list(IN_A_ROW.items())[:2])
    runs = made_up_runs({arm: 3.0 for arm in few})
    records = made_up_direction(dict.fromkeys(few, 0.1))
    points, found = dose.response_tables(losses_of(runs), records, study(few), few)
    assert points.empty and found.empty
    write_csv(points, tmp_path / "points.csv")
    points = pd.read_csv(tmp_path / "points.csv")
    plt.close(dose_response(points, found, study(few)))


def test_the_mean_over_matrices_is_one_value_for_each_run():
    table = dose.direction_table(made_up_direction({"alpha": 0.1}), study(["alpha"]))
    whole = table[(table.tensor == dose.MEAN) & (table.metric == "direction_error")].iloc[0]
    assert whole["mean"] == pytest.approx(0.1 + 0.005 + 0.0025) and whole.n == 4


def changed_rows(curve, arms=("alpha", "adamw"), seeds=(1, 2, 3)):
    """Runs at factors of the learning rate, and of momentum; `curve` gives the loss of a factor."""
    rng = np.random.default_rng(5)
    rows, summaries = [], []
    for arm in arms:
        changes = [("", 1.0), *(("lr", f) for f in (0.25, 0.5, 2.0, 4.0)), ("momentum", 0.8)]
        for field, factor in changes:
            for seed in seeds:
                loss = curve(arm, field, factor) + float(rng.normal(0, 1e-3))
                rows.append({"arm": arm, "field": field, "factor": factor, "seed": seed, "run": ""})
                lost = not math.isfinite(loss)
                summaries.append({"final_loss": None if lost else loss, "diverged": lost})
    return robustness.changed_runs(rows, summaries)


def parabola(arm, field, factor):
    width = {"alpha": 0.005, "adamw": 0.2}[arm]
    return 3 + (width * math.log2(factor) ** 2 if field != "momentum" else 0.5)


def test_changed_settings_are_compared_by_seed():
    table = robustness.robustness_table(changed_rows(parabola, seeds=(1, 2, 3, 4)), study())
    rows = table[table.arm == "adamw"].set_index(["field", "factor"])
    assert rows.change["lr", 2.0] == pytest.approx(0.2, abs=0.01)
    assert rows.change["momentum", 0.8] == pytest.approx(0.5, abs=0.01)
    assert rows.verdict["momentum", 0.8] == "worse" and len(rows) == 5
    assert (rows.p_adjusted >= rows.p).all()


def test_a_basin_that_the_rates_cut_off_is_at_least_so_wide():
    changed = changed_rows(parabola, seeds=(1, 2, 3, 4))
    table = robustness.basins(changed, study())
    widths = table[table.against == ""].set_index("arm")
    assert widths.at_least.alpha and widths.octaves.alpha == pytest.approx(4.0)
    assert not widths.at_least.adamw and widths.octaves.adamw < 1
    contrast = table[table.against != ""].iloc[0]
    # Four octaves are the whole range on every seed, yet the other arm's widths vary.
    assert contrast.verdict == "wider"
    (_, sentence), *_ = insights.basin_sentences(table, rank(made_up_runs()))
    assert "at least 4 octaves for ALPHA" in sentence
    assert "The range of ALPHA is wider than that of ADAMW." in sentence
    few = robustness.basins(changed_rows(parabola), study() | {"order": ["adamw", "alpha"]})
    assert few.verdict.iloc[-1] == "no verdict"
    turned = robustness.basins(changed, study() | {"order": ["alpha", "adamw"]}).iloc[-1]
    assert (turned.arm, turned.against, turned.verdict) == ("adamw", "alpha", "narrower")
    curves = robustness.lr_curves(changed, study())
    assert sorted(set(curves.factor)) == [0.25, 0.5, 1, 2, 4]
    assert curves.lr[curves.factor == 4].eq(0.04).all()
    plt.close(lr_sensitivity(curves, table, study()))


def test_a_diverged_change_is_not_estimable_and_still_drawn():
    def curve(arm, field, factor):
        return math.inf if (arm, factor) == ("adamw", 4.0) else parabola(arm, field, factor)

    changed = changed_rows(curve)
    table = robustness.robustness_table(changed, study())
    row = table[(table.arm == "adamw") & (table.factor == 4)].iloc[0]
    assert row.diverged == 3 and row.verdict == "not estimable"
    curves = robustness.lr_curves(changed, study())
    plt.close(lr_sensitivity(curves, robustness.basins(changed, study()), study()))


def selection(scores):
    trials = [
        {"arm": arm, "settings": {"lr": lr}, "seed": seed, "diverged": math.isinf(score)}
        | {"final_loss": None if math.isinf(score) else score, "best_loss": 2.0}
        for arm, of in scores.items()
        for lr, score in enumerate(of, start=1)
        for seed in (1001, 1002)
    ]
    return {"score": "final", "seeds": [1001, 1002], "trials": trials}


def test_more_trials_never_find_worse():
    chosen = selection({"alpha": [3.0, 4.0, 5.0], "adamw": [3.5, math.inf, 4.5]})
    table = best_of_k(chosen, study(), {"alpha": 3, "adamw": 3})
    own = table[table.arm == "alpha"]
    assert list(own.k) == [1, 2, 3]
    first = best_of_k(chosen, study(), {"alpha": 2, "adamw": 3})
    assert list(first[first.arm == "alpha"].k) == [1, 2], "later trials depend on earlier ones"
    assert own.expected.to_list() == pytest.approx([4.0, 10 / 3, 3.0])
    other = table[table.arm == "adamw"].expected.to_numpy()
    assert math.isinf(other[0]) and other[-1] == 3.5
    plt.close(draw_best_of_k(table, study()))


def test_figures_of_a_ranking(tmp_path):
    runs = made_up_runs(broken={("charlie", 2)})
    write_csv(rank(runs), tmp_path / "ranking.csv")
    table = pd.read_csv(tmp_path / "ranking.csv")
    figure = ranked_arms.performance(table, study())
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[0].startswith("BRAVO") and "(1 diverged)" in names[-1]
    curves = pd.DataFrame(
        {"arm": run.arm, "seed": run.seed, "step": step, "split": "validation"}
        | {"metric": "loss", "value": run.final_loss + 1 / (1 + step)}
        for run in runs.itertuples()
        for step in (0, 10, 20, 30)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        second = ranked_arms.ranking_curves(curves, table, study())
    shown = [text.get_text() for text in second.axes[0].get_legend().get_texts()]
    assert {"ALPHA (base)", "BRAVO (best)", "DELTA"} & set(shown) >= {
        "ALPHA (base)",
        "BRAVO (best)",
    }
    third = setting_maps.ranking_heatmap(table, study(), SETTINGS)
    for drawn in (figure, second, third):
        plt.close(drawn)


def test_a_map_takes_the_largest_group_that_spans_both_settings():
    grid = {
        f"m{m}n{n}": MUON | {"optimizer.momentum": m, "optimizer.ns_steps": n}
        for m in (0.9, 0.95)
        for n in (5, 10)
    }
    pair = ("optimizer.ns_steps", "optimizer.momentum")
    assert setting_maps.largest_group(SETTINGS | grid, pair) == ["alpha", "bravo", *grid]
    assert setting_maps.largest_group(SETTINGS, pair) == []
