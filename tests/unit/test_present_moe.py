"""Tables, figures and sentences of a language study's experiments, from small made-up records."""

import math
import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muonlab.plan.runs import load_plan
from muonlab.plan.sweeps import arm_sweeps, varied_numbers, varies_settings
from muonlab.report import sweeps
from muonlab.report.crowd import COLOURED, MANY, PALE, legend_styles, line_styles, main_arms
from muonlab.report.figures import expert_load, tuning_grids
from muonlab.report.figures.component_curves import components
from muonlab.report.figures.component_worth import contributions
from muonlab.report.figures.effect_forest import effects
from muonlab.report.figures.single_settings import one_at_a_time
from muonlab.report.figures.training_curves import learning_curves
from muonlab.report.measured import over_experts
from muonlab.report.numbers import interval, number
from muonlab.report.outcomes import Outcomes
from muonlab.report.sentences import factorial_sentences, sweep_sentences
from muonlab.report.tables.contrasts import compare
from muonlab.report.tables.factorials import ASKED, factorials_table
from muonlab.report.tables.one_at_a_time import one_at_a_time as one_at_a_time_rows
from muonlab.report.tables.one_at_a_time import one_at_a_time_table
from muonlab.report.tables.runs import summary_table
from muonlab.report.tables.spectra import spectra as spectra_table
from muonlab.report.texts.findings import findings
from muonlab.statistics.contrasts import contrasts
from muonlab.statistics.families import Families

ROOT = Path(__file__).parents[2]
ROLES = ("muon", "no_ns", "no_momentum", "neither")
FACTORIAL = dict(zip(("both", "without_first", "without_second", "neither"), ROLES, strict=True))
FACTORIAL |= {"label": "same rate", "first": "Newton–Schulz", "second": "momentum"}
SWEEPS = [{"arm": "muon", "field": "ns_steps", "reference": 5, "arms": [[3, "ns_3"], [5, "muon"]]}]
LRS, MOMENTA = (0.001, 0.01, 0.1), (0.9, 0.95)


def study(arms=("adamw", *ROLES, "ns_3"), seeds=(1, 2, 3, 4, 5), title="Made up"):
    tuned = {"adamw": {"lr": 0.01}, "muon": {"lr": 0.01, "momentum": 0.9}}
    return {
        "title": title,
        "data": "python",
        "protocol": "fair",
        "kind": "text",
        "alpha": 0.05,
        "interval": "95 %",
        "seeds": list(seeds),
        "training": {"paired": True, "evaluate_on": "validation"},
        "levels": 3,
        "arms": [
            {
                "name": arm,
                "label": arm.replace("_", " "),
                "tuned": arm in tuned,
                "settings": tuned.get(arm, tuned["muon"]),
                "edges": {"momentum": "low"} if arm == "muon" else {},
            }
            for arm in arms
        ],
    }


def run_list(context):
    return [{"arm": a["name"], "seed": s} for a in context["arms"] for s in context["seeds"]]


def losses_of(means, seeds=(1, 2, 3, 4, 5), noise=0.01, rng=None):
    """Final losses around each arm's mean."""
    rng = rng or np.random.default_rng(0)
    rows = [
        {"arm": arm, "seed": seed, "outcome": "final_loss", "value": mean + noise * rng.normal()}
        for arm, mean in means.items()
        for seed in seeds
    ]
    return pd.DataFrame(rows)


def effects_of(means, **kwargs):
    losses = losses_of(dict(zip(ROLES, means, strict=True)), **kwargs)
    return factorials_table(losses, [FACTORIAL], study())


def one(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


# ---------------------------------------------------------------- contributions


def test_a_contribution_is_what_removing_the_component_costs():
    losses = losses_of(dict(zip(ROLES, (3.0, 5.0, 3.5, 5.2), strict=True)), noise=0.3)
    table = factorials_table(losses, [FACTORIAL], study())
    by_arm = losses.pivot(index="seed", columns="arm", values="value")
    for component, arm in (("Newton–Schulz", "no_ns"), ("momentum", "no_momentum")):
        row = one(table, effect="contribution", component=component)
        expected = stats.ttest_rel(by_arm[arm], by_arm.muon)
        limits = expected.confidence_interval(1 - 0.05 / 4)
        assert row.value == pytest.approx((by_arm[arm] - by_arm.muon).mean())
        assert (row.p, row.low, row.high) == pytest.approx((expected.pvalue, *limits))
    assert one(table, effect="contribution", component="Newton–Schulz").value > 1


def test_every_value_is_the_statistics_rooms_own():
    """The weights that give values to a single seed say what `two_by_two` says of several."""
    from muonlab.statistics.interaction import two_by_two

    table = effects_of((3.0, 5.0, 3.5, 5.2), noise=0.5)
    losses = losses_of(dict(zip(ROLES, (3.0, 5.0, 3.5, 5.2), strict=True)), noise=0.5)
    own = [losses[losses.arm == arm].value.to_numpy() for arm in ROLES]
    rows = two_by_two(*own, names=("Newton–Schulz", "momentum"))
    assert list(table.value[: len(rows)]) == pytest.approx([row["value"] for row in rows])


def test_the_four_questions_are_one_family():
    table = effects_of((3.0, 3.02, 3.01, 3.05), noise=0.02)
    asked = table[table.effect.isin(ASKED)]
    assert len(asked) == 4
    assert list(asked.p_adjusted) == pytest.approx(np.minimum(1.0, 4 * asked.p))
    outside = (asked.low > 0) | (asked.high < 0)
    assert (outside == (asked.p_adjusted < 0.05)).all()
    assert (outside == asked.verdict.isin(["lower", "higher"])).all()
    assert table[~table.effect.isin(ASKED)].p_adjusted.isna().all()


def test_a_contribution_has_the_verdict_that_the_contrasts_have():
    losses = losses_of(dict(zip(ROLES, (3.0, 3.03, 3.01, 3.05), strict=True)), noise=0.01)
    table = factorials_table(losses, [FACTORIAL], study(), 0.001)
    pairs = [("no_ns", "muon"), ("no_momentum", "muon"), ("no_ns", "no_momentum")]
    family = {"name": "factorial", "outcomes": ["final_loss"], "pairs": pairs, "size": 4}
    rows = contrasts(
        losses, pairs, ["final_loss"], sesoi={"final_loss": 0.001},
        families=Families([family], []),
    )  # fmt: skip
    asked = table[table.effect.isin(["contribution", "difference of contributions"])]
    for column, own in (("difference", "value"), ("low", "low"), ("high", "high")):
        assert list(rows[column]) == pytest.approx(list(asked[own]))
    assert list(rows.verdict) == list(asked.verdict)
    assert list(rows.needs_n) == pytest.approx(list(asked.needs_n), nan_ok=True)


def test_one_seed_gives_values_without_intervals():
    table = effects_of((3.0, 5.0, 3.5, 5.2), seeds=(42,), noise=0)
    row = one(table, effect="synergy")
    assert row.value == pytest.approx(5.0 + 3.5 - 3.0 - 5.2)
    assert math.isnan(row.low) and row.verdict == "not estimable" and "One seed" in row.reason
    text = "\n".join(factorial_sentences(table, study()))
    assert text.count("cannot be estimated") == 4 and "its value is +2" in text


def test_a_diverged_run_leaves_what_it_enters_not_estimable():
    losses = losses_of(dict(zip(ROLES, (3.0, 5.0, 3.5, 5.2), strict=True)))
    losses.loc[(losses.arm == "no_ns") & (losses.seed == 2), "value"] = math.nan
    table = factorials_table(losses, [FACTORIAL], study())
    lost = one(table, effect="contribution", component="Newton–Schulz")
    assert lost.verdict == "not estimable" and "diverged" in lost.reason and math.isnan(lost.value)
    assert one(table, effect="contribution", component="momentum").verdict == "higher"


def test_the_sentences_flip_with_the_numbers():
    def said(*means):
        return "\n".join(factorial_sentences(effects_of(means), study()))

    assert "Newton–Schulz contributes more" in said(3.0, 5.0, 3.5, 5.5)
    assert "momentum contributes more" in said(3.0, 3.5, 5.0, 5.5)
    assert "Which contributes more (Newton–Schulz − momentum): undecided (needs n" in said(
        3.0, 4.0, 4.0, 5.0
    )
    assert "Removing momentum lowers the loss by 0.5" in said(3.0, 5.0, 2.5, 5.2)
    assert "What removing momentum costs: undecided (needs n" in said(3.0, 5.0, 3.0, 5.0)
    # Removing each costs 2 and 1; removing both costs 2, 6 and 3.
    assert "nats less than the sum of removing each" in said(3.0, 5.0, 4.0, 5.0)
    assert "nats more than the sum of removing each" in said(3.0, 5.0, 4.0, 9.0)
    assert "The sum of removing each minus removing both: undecided" in said(3.0, 5.0, 4.0, 6.0)


def test_factorials_that_disagree_are_said_to():
    def agreement(*tables):
        labelled = [t.assign(factorial=f"case {i}") for i, t in enumerate(tables)]
        return list(factorial_sentences(pd.concat(labelled), study()))[-1]

    ns, momentum = effects_of((3.0, 5.0, 3.5, 5.5)), effects_of((3.0, 3.5, 5.0, 5.5))
    neither = effects_of((3.0, 4.0, 4.0, 5.0), noise=0.2)
    assert agreement(ns, ns) == "Newton–Schulz contributes more in all of these: case 0, case 1."
    assert "depends on the comparison: Newton–Schulz (case 0), momentum" in agreement(ns, momentum)
    assert "neither is shown to contribute more in: case 1" in agreement(ns, neither)
    assert "Neither component is shown to contribute more" in agreement(neither, neither)


# ---------------------------------------------------------------- one setting at a time


def selection(rng=None, diverged=(), third=None):
    """A grid for muon, a line for adamw; `diverged` has (arm, lr) of trials with a lost seed."""
    rng = rng or np.random.default_rng(1)
    trials = []
    for arm, momenta in (("adamw", (None,)), ("muon", MOMENTA)):
        for lr in LRS:
            for momentum in momenta:
                settings = {"lr": lr} | ({} if momentum is None else {"momentum": momentum})
                settings |= {} if third is None else {"ns_steps": third}
                for seed in (1001, 1002):
                    lost = (arm, lr) in diverged and seed == 1002
                    loss = None if lost else 3 + abs(math.log10(lr) + 2) + 0.1 * rng.normal()
                    trials.append(
                        {"arm": arm, "settings": settings, "seed": seed, "diverged": lost}
                        | {"final_loss": loss, "best_loss": loss}
                    )
    return {"score": "final", "seeds": [1001, 1002], "trials": trials}


def sweep_inputs(chosen, context):
    runs = run_list(context)
    rng = np.random.default_rng(2)
    summaries = [{"final_loss": 3 + 0.1 * rng.normal(), "diverged": False} for _ in runs]
    return chosen, SWEEPS, runs, summaries, context


def points_of(chosen, context=None):
    return sweeps.sweep_points(*sweep_inputs(chosen, context or study()))


def test_a_sweep_varies_one_number_beside_the_choice():
    points = points_of(selection())
    assert set(zip(points.arm, points.field, points.seeds, strict=True)) == {
        ("adamw", "lr", "tuning"),
        ("muon", "lr", "tuning"),
        ("muon", "momentum", "tuning"),
        ("muon", "ns_steps", "reporting"),
    }
    momentum = points[points.field == "momentum"]
    assert len(momentum) == 4 and set(momentum.value[momentum.reference]) == {0.9}
    beside = [t for t in selection()["trials"] if t["settings"] == {"lr": 0.01, "momentum": 0.95}]
    assert set(momentum.loss[momentum.value == 0.95]) == {t["final_loss"] for t in beside}
    steps = points[points.field == "ns_steps"]
    assert len(steps) == 10 and set(steps.value[steps.reference]) == {5}


def test_a_row_compares_with_the_reference_by_seed():
    points = points_of(selection())
    table = one_at_a_time_table(points, study())
    own = points[points.field == "ns_steps"].pivot(index="seed", columns="value", values="loss")
    row = one(table, field="ns_steps", value=3)
    expected = stats.ttest_rel(own[3], own[5])
    assert row.difference == pytest.approx((own[3] - own[5]).mean())
    assert (row.p, row.p_adjusted) == pytest.approx((expected.pvalue, expected.pvalue))
    assert row.n == 5 and row.beside == "lr=0.01, momentum=0.9"
    assert one(table, field="ns_steps", value=5).verdict == "reference"
    assert one(table, field="momentum", value=0.9).edge == "low"


def test_a_diverged_value_is_counted_and_said():
    table = one_at_a_time_table(points_of(selection(diverged=[("muon", 0.1)])), study())
    row = one(table, arm="muon", field="lr", value=0.1)
    assert row.verdict == "not estimable" and row.diverged == 1 and math.isnan(row["mean"])
    text = "\n".join(sweep_sentences(table, study()))
    assert "0.1: — (1 of 2 diverged)" in text


def test_what_can_be_told_apart_is_said():
    context = study()
    runs = run_list(context)

    def said(shift):
        rng = np.random.default_rng(3)
        losses = [
            {
                "final_loss": 3 + shift * (r["arm"] == "ns_3") + 0.01 * rng.normal(),
                "diverged": False,
            }
            for r in runs
        ]
        points = sweeps.sweep_points(selection(), SWEEPS, runs, losses, context)
        table = one_at_a_time_table(points, context)
        return next(line for line in sweep_sentences(table, context) if "ns_steps" in line)

    assert said(0.5).endswith("Worse than 5: 3.") and "the base has 5" in said(0.5)
    assert said(-0.5).endswith("Better than 5: 3.")
    assert said(0.0).endswith("No value is shown to be better or worse than 5.")


def test_a_sweep_over_reporting_seeds_takes_the_verdict_of_the_contrasts():
    chosen, _, runs, summaries, context = sweep_inputs(selection(), study())
    compared = pd.DataFrame(
        [{"outcome": "final_loss", "arm_a": "ns_3", "arm_b": "muon", "difference": 0.25}
         | {"low": 0.2, "high": 0.3, "p": 0.01, "p_adjusted": 0.02, "family": "steps"}
         | {"verdict": "worse", "needs_n": math.nan}]
    )  # fmt: skip
    table = one_at_a_time_rows(chosen, SWEEPS, runs, summaries, context, compared)
    row = one(table, field="ns_steps", value=3)
    assert (row.verdict, row.family, row.difference_low) == ("worse", "steps", 0.2)
    assert set(table[table.seeds == "tuning"].verdict) <= {"no verdict", "reference"}
    # A tuning by the lowest loss does not look at the final loss, which the contrasts compare.
    chosen |= {"score": "minimum"}
    lowest = [summary | {"best_loss": summary["final_loss"]} for summary in summaries]
    table = one_at_a_time_rows(chosen, SWEEPS, runs, lowest, context, compared)
    assert one(table, field="ns_steps", value=3).family == "sweep"


def test_a_map_holds_the_means_of_two_varied_numbers_alone():
    chosen = selection(third=5)
    arms = {arm["name"]: arm | {"settings": arm["settings"] | {"ns_steps": 5}}
            for arm in study()["arms"]}  # fmt: skip
    assert tuning_grids._grid(chosen, arms["adamw"]) is None
    grid = tuning_grids._grid(chosen, arms["muon"])
    assert grid.shape == (len(MOMENTA), len(LRS))
    own = [t["final_loss"] for t in chosen["trials"] if t["arm"] == "muon"
           and t["settings"] == {"lr": 0.1, "momentum": 0.95, "ns_steps": 5}]  # fmt: skip
    assert grid.loc[0.95, 0.1] == pytest.approx(np.mean(own))
    lost = tuning_grids._grid(selection(diverged=[("muon", 0.1)]), study()["arms"][1])
    assert lost[0.1].isna().all() and lost[0.01].notna().all()


def test_the_default_study_has_the_sweeps_of_its_config():
    studies = load_plan([ROOT / "config.yaml"]).studies
    moe = studies["moe"]
    assert varied_numbers(moe) == {}, "a search over a box varies no setting alone"
    assert set(moe.sensitivity["grid"]) == {"lr", "momentum"}
    steps = {"arm": "muon", "field": "ns_steps", "reference": 5}
    assert arm_sweeps(moe) == [steps | {"arms": [[3, "ns_3"], [5, "muon"], [7, "ns_7"]]}]
    assert varies_settings(moe) and not varies_settings(studies["fashion"])
    runs = moe.sensitivity_runs({"lr": 0.02, "embedding_ratio": 5.0, "momentum": 0.9})
    # Two rates and two momenta with the chosen ones beside them, on two seeds.
    assert len(runs) == 3 * 3 * 2 and len({run.name for run in runs}) == len(runs)
    for run in runs:
        optimizer = run.config["optimizer"]
        assert optimizer["lr"] == run.settings["lr"]
        assert optimizer["lr"] * optimizer["embedding_ratio"] == pytest.approx(0.1, rel=1e-4)


# ---------------------------------------------------------------- components and experts


def records(context, layers=2, count=4, broken=(), seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for run in run_list(context):
        base = {"arm": run["arm"], "seed": run["seed"]}

        def number(scale=1.0, key=(run["arm"], run["seed"])):
            return math.nan if key in broken else scale * float(rng.uniform(0.5, 1.5))

        for step in range(0, 100, 20):
            for component in ("all", "embedding", "query", "expert_up"):
                for metric in ("gradient_norm", "weight_norm", "relative_update"):
                    where = {"component": component, "layer": None, "index": None}
                    rows.append(base | {"step": step, "metric": metric, "value": number()} | where)
            rows.append(
                base | {"step": step, "component": "all", "layer": None, "index": None}
                | {"metric": "gradient_flow_ratio", "value": number()}
            )  # fmt: skip
            for layer in range(layers):
                forward = base | {"step": step, "component": "forward", "layer": layer}
                for metric in ("activation_rms", "attention_logit_max", *expert_load.ENTROPIES):
                    rows.append(forward | {"index": None, "metric": metric, "value": number(0.6)})
                load = rng.dirichlet(np.ones(count))
                rows += [
                    forward | {"index": i, "metric": "expert_load", "value": value}
                    for i, value in enumerate(load)
                ]
    return pd.DataFrame(rows)


def test_experts_are_ranked_before_they_are_averaged():
    rows = [
        {"arm": "a", "seed": seed, "step": step, "layer": 0, "index": i, "metric": "expert_load",
         "value": value}
        for seed, load in ((1, (0.9, 0.1)), (2, (0.1, 0.9)))
        for step, own in ((0, (0.5, 0.5)), (100, load))
        for i, value in enumerate(own)
    ]  # fmt: skip
    ranked = expert_load.ranked_load(pd.DataFrame(rows))
    assert list(ranked.sort_values("rank").value) == pytest.approx([0.9, 0.1])


def test_the_end_of_a_run_is_that_of_its_own_training():
    rows = [
        {"arm": arm, "seed": 1, "step": step, "layer": 0, "index": i, "metric": "expert_load",
         "value": share}
        for arm, steps in (("short", (0, 50)), ("long", (0, 50, 100)))
        for step in steps
        for i, share in enumerate((0.6, 0.4) if step == max(steps) else (0.5, 0.5))
    ]  # fmt: skip
    ranked = expert_load.ranked_load(pd.DataFrame(rows))
    assert ranked.groupby("arm").value.max().to_dict() == {"short": 0.6, "long": 0.6}


def test_experts_of_a_run_are_not_seeds():
    rng = np.random.default_rng(0)
    rows = [
        {"arm": "muon", "seed": seed, "point": "end", "step": 9, "loss": 1.0, "rung": None,
         "object": "weight", "tensor": "layers.0.experts.up", "component": "expert_up",
         "expert": float(expert), "metric": "stable_rank", "index": None, "value": rng.normal()}
        for seed in (1, 2, 3)
        for expert in range(4)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    runs = [{"arm": "muon", "seed": seed} for seed in (1, 2, 3)]
    summaries = [{"diverged": False}] * 3
    table = spectra_table(frame, runs, summaries, study())
    row = one(table[table.point == "end"], tensor="layers.0.experts.up")
    means = frame.groupby("seed").value.mean()
    assert row.n == 3
    assert (row["mean"], row.sd) == pytest.approx((means.mean(), means.std()))
    assert len(over_experts(frame)) == 3


# ---------------------------------------------------------------- many arms


def test_in_a_crowd_four_arms_are_in_colour_and_the_others_share_an_entry():
    few, many = study()["arms"], study([f"arm_{i}" for i in range(MANY + 3)] + ["muon"])["arms"]
    assert len({style.colour for style in line_styles(few).values()}) == len(few)
    styles = legend_styles(many)
    coloured = [arm for arm, style in styles.items() if style.colour != PALE]
    assert set(main_arms(many)) == set(coloured) and len(coloured) <= COLOURED
    assert "muon" in coloured
    grey = [style["label"] for style in styles.values() if style.colour == PALE]
    shown = [label for label in grey if not label.startswith("_")]
    assert shown == [f"{len(grey)} other arms"]


def curve_records(context, broken=()):
    rng = np.random.default_rng(4)
    return pd.DataFrame(
        {"arm": run["arm"], "seed": run["seed"], "step": step, "split": "validation"}
        | {"metric": metric}
        | {"value": math.nan if (run["arm"], run["seed"]) in broken and step else rng.uniform(1, 2)}
        for run in run_list(context)
        for step in (0, 10, 20)
        for metric in ("loss", "accuracy")
    )


# ---------------------------------------------------------------- findings


def compared(context, shift):
    rng = np.random.default_rng(5)
    rows, runs = [], []
    for run in run_list(context):
        loss = 3 + shift.get(run["arm"], 0) + 0.01 * rng.normal()
        for outcome in ("final_loss", "test_loss", "test_accuracy", "step_at_loss_3"):
            rows.append({"arm": run["arm"], "seed": run["seed"], "outcome": outcome, "value": loss})
        names = ("final_loss", "final_accuracy", "test_loss", "test_accuracy", "best_loss")
        names += ("step_at_loss_3", "seconds_per_epoch", "cpu_seconds_per_epoch")
        runs.append(run | dict.fromkeys(names, loss) | {"diverged": False})
    names = [arm["name"] for arm in context["arms"]]
    outcomes = ["final_loss", "test_loss", "test_accuracy", "step_at_loss_3"]
    table = contrasts(pd.DataFrame(rows), [(a, names[0]) for a in names[1:]], outcomes)
    table = table.assign(label=table.outcome, point="", level=3.5, variables="", compound=False)
    runs = pd.DataFrame(runs).assign(level_at_loss_3=3.5, code_digest="a1", observer_digest="b1")
    return table, summary_table(runs, context), runs


def test_perplexities_are_the_exponentials_of_losses():
    context = study(("adamw", "muon"))
    table, summary, runs = compared(context, {"muon": -0.5})
    text = findings(table, summary, runs, context)
    mean = one(summary, arm="muon", outcome="test_loss")["mean"]
    difference = one(table, outcome="test_loss").difference
    assert f"{number(math.exp(mean), 4)} [" in text
    assert re.search(rf"\*\*×{math.exp(difference):.3f} \[", text)
    assert "Warning" in text
    assert (
        "the setting that tuning chose for muon lies at the edge of what was tried (momentum=low)"
        in text
    )


def test_many_pairs_are_rows_and_untuned_arms_are_not_called_chosen():
    context = study()
    table, summary, runs = compared(context, {})
    text = findings(table, summary, runs, context)
    assert "| ns 3 − adamw |" in text
    assert "Chosen by tuning: adamw lr=0.01; muon lr=0.01, momentum=0.9." in text


def test_experiments_are_in_the_findings_where_there_are_any():
    context = study()
    table, summary, runs = compared(context, {})
    found = findings(
        table, summary, runs, context,
        factorials_table=effects_of((3.0, 5.0, 3.5, 5.5)),
        one_at_a_time=one_at_a_time_table(points_of(selection()), context),
    )  # fmt: skip
    assert "**What each component is worth**" in found and "**One setting at a time**" in found
    assert "What each component" not in findings(table, summary, runs, context)


def test_an_interval_is_written_with_as_many_digits_as_it_takes():
    assert interval(1.2134, 1.2112, 1.2156, sign=True) == "+1.213 [1.211, 1.216]"
    assert interval(0.5, 0.25, 0.75) == "0.500 [0.250, 0.750]"
    assert interval(0.0, 0.0, 0.0) == "0 [0, 0]"


# ---------------------------------------------------------------- figures

CASES = {
    "five seeds": {},
    "one seed": {"seeds": (42,)},
    "a diverged seed": {"broken": [("muon", 1)]},
    "all diverged": {"broken": [(arm, s) for arm in ROLES for s in (1, 2, 3, 4, 5)]},
    "a crowd": {"arms": ("adamw", *ROLES, *(f"arm_{i}" for i in range(24)))},
}


def figure_of(name, seeds=(1, 2, 3, 4, 5), broken=(), arms=("adamw", *ROLES, "ns_3")):
    context = study(arms, seeds)
    if name == "contributions":
        losses = losses_of(dict.fromkeys(ROLES, 3.0), seeds=seeds, noise=0.1)
        lost = [(arm, seed) in broken for arm, seed in zip(losses.arm, losses.seed, strict=True)]
        losses["value"] = losses.value.mask(lost)
        table = factorials_table(losses, [FACTORIAL], context)
        return contributions(table, [FACTORIAL], context)
    if name == "one_at_a_time":
        lost = [(arm, lr) for arm in ("adamw", "muon") for lr in LRS] if broken else []
        chosen = selection(diverged=lost)
        return one_at_a_time(*sweep_inputs(chosen, context))
    if name == "tuning_heatmap":
        lost = [("muon", lr) for lr in (LRS if len(broken) > 1 else LRS[:1])] if broken else []
        return tuning_grids.tuning_heatmap(selection(diverged=lost), context, tuned_pairs=None)
    if name == "components":
        shown = records(study(("adamw", "muon"), seeds), broken=broken)
        return components(shown, context)
    if name == "experts":
        return expert_load.experts(records(context, broken=broken), context)
    if name == "learning_curves":
        summaries = [{"diverged": (r["arm"], r["seed"]) in broken} for r in run_list(context)]
        curves = curve_records(context, broken)
        return learning_curves(curves, run_list(context), summaries, context, {})
    table, *_ = compared(context, {})
    outcomes = [{"name": n, "quantity": n, "point": "", "label": n} for n in table.outcome.unique()]
    return effects(table, outcomes, context)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "name",
    [
        "contributions", "one_at_a_time", "tuning_heatmap", "components", "experts",
        "learning_curves", "effects",
    ],
)  # fmt: skip
def test_a_figure_is_drawn_without_a_warning(name, case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figure_of(name, **CASES[case])
        figure.canvas.draw()
    text = " ".join(t.get_text() for t in figure.texts)
    assert "Made up" in text and "data: python" in text and "protocol: fair" in text
    assert "momentum low" in text
    plt.close(figure)


def test_one_seed_says_so_and_not_that_it_diverged():
    context = study(("adamw", "muon"), seeds=(42,))
    losses = {"adamw": 3.0, "muon": 2.5}
    runs = [{"arm": arm, "seed": 42} for arm in losses]
    facts = {"test_loss": 1.0, "test_accuracy": 0.5, "diverged": False}
    facts["evaluated_on"] = "validation"
    summaries = [{"final_loss": loss} | facts for loss in losses.values()]
    outcomes = [
        {"name": "final_loss", "quantity": "final_loss", "point": "", "label": "final loss"}
    ]
    curves = curve_records(context)
    values = Outcomes(outcomes, runs, summaries, curves, {})
    pairs = [{"a": "muon", "b": "adamw", "variables": ["optimizer"]}]
    plan = {"alpha": 0.05, "smallest_difference": {}}
    row = compare(values, outcomes, pairs, context, plan).iloc[0]
    assert row.verdict == "not estimable" and "a test needs two runs" in row.reason
    table, summary, runs = compared(context, {"muon": -0.5})
    text = findings(table, summary, runs, context)
    assert "No comparison can be estimated" in text and "diverged" not in text
    assert number(one(summary, arm="muon", outcome="final_loss")["mean"], 4) in text
