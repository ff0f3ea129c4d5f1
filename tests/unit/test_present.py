"""Tables and figures from small made-up records, with what is missing or diverged."""

import json
import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from muonlab.plan.measure import Measure, outcomes
from muonlab.report import measured
from muonlab.report.achieved import NO_LEVEL, UNKNOWN
from muonlab.report.comparisons import on_all_outcomes
from muonlab.report.figures import hidden_geometry, over_loss
from muonlab.report.figures.effect_forest import effects
from muonlab.report.figures.fewer_bits import quantization, quantization_error
from muonlab.report.figures.loss_curvature import sharpness
from muonlab.report.figures.weight_spectra import spectra
from muonlab.report.outcomes import Outcomes
from muonlab.report.records import read_curves, write_csv
from muonlab.report.style import save
from muonlab.report.tables.contrasts import compare, compare_all
from muonlab.report.tables.curvature import curvature as curvature_table
from muonlab.report.tables.quantization import quantization as quantization_table
from muonlab.report.tables.spectra import spectra as spectra_table
from muonlab.statistics.verdicts import flipped

SCHEMES, BITS = ["tensor_quantile", "channel_mse"], [8, 2]
TENSORS = {
    "layers.0.weight": "input",
    "layers.1.weight": "hidden",
    "layers.2.weight": "hidden",
    "layers.3.weight": "output",
}
PLAN = Measure.model_validate({"quantization": {"schemes": SCHEMES, "bits": BITS}}).model_dump()
OUTCOMES = outcomes(PLAN)
LABELS = {"adamw": "AdamW", "muon": "Muon", "muon_hybrid": "Muon hybrid"}


class MadeUp:
    """Records of a study with these arms and seeds. `broken` are (arm, seed) of runs that diverged,
    `flat` of runs whose loss never fell."""

    def __init__(self, arms=("adamw", "muon"), seeds=(1, 2, 3), broken=(), flat=()):
        self.runs = [{"arm": a, "seed": s, "run": f"{a}/{s}"} for a in arms for s in seeds]
        self.flat, self.broken = set(flat), set(broken)
        self.rng = np.random.default_rng(0)
        self.study = {
            "title": "Made up",
            "data": "digits",
            "protocol": "fair",
            "alpha": 0.05,
            "interval": "95 %",
            "seeds": list(seeds),
            "training": {"paired": True, "geometry_every": 10, "evaluate_on": "validation"},
            "levels": 3,
            "arms": [
                {"name": a, "label": LABELS[a], "settings": {"lr": 0.1}, "edges": {}} for a in arms
            ],
        }
        self.pairs = [
            {"a": a, "b": b, "variables": ["optimizer"]}
            for i, a in enumerate(arms)
            for b in arms[:i]
        ]
        self.summaries = [
            {n: self.number(r) for n in ("final_loss", "test_loss", "test_accuracy")}
            | {"diverged": key(r) in self.broken, "evaluated_on": "validation", "steps": 100}
            for r in self.runs
        ]
        for summary in self.summaries:
            missing = {n: None for n, v in summary.items() if v != v}
            summary |= missing

    def number(self, run, low=0.5, high=1.5):
        return math.nan if key(run) in self.broken else float(self.rng.uniform(low, high))

    def loss(self, run, step):
        """Falls from 2 towards 0, a little differently in each run."""
        if key(run) in self.broken and step == 100:
            return math.nan
        if key(run) in self.flat:
            return 2.0
        return 2.0 * math.exp(-step / (40 + run["seed"] * len(run["arm"]) % 13))

    def metrics(self):
        return pd.DataFrame(
            {"arm": run["arm"], "seed": run["seed"], "step": step, "split": "validation"}
            | {"metric": metric, "value": self.loss(run, step)}
            for run in self.runs
            for step in range(0, 101, 10)
            for metric in ("loss", "accuracy")
        )

    def places(self):
        for run in self.runs:
            for step, point in ((0, "start"), (20, "rung"), (50, "rung"), (100, "end")):
                base = {"arm": run["arm"], "seed": run["seed"], "point": point, "step": step}
                yield run, base | {"rung": None, "loss": self.loss(run, step)}

    def spectra(self):
        rows = []
        for run, base in self.places():
            for tensor, component in TENSORS.items():
                base |= {"tensor": tensor, "component": component, "expert": None}
                for metric in ("spectral_entropy", "effective_rank", "condition_number", "alpha"):
                    value = math.nan if metric == "alpha" else self.number(run)
                    rows.append(base | {"object": "weight", "metric": metric, "value": value})
                for i in range(3):
                    value = self.number(run) / (i + 1)
                    row = {"object": "weight", "metric": "singular_values", "index": i}
                    rows.append(base | row | {"value": value})
        return pd.DataFrame(rows)

    def curvature(self):
        rows = []
        facts = {"examples": 64, "dtype": "float64", "backend": "lanczos"}
        for run, base in self.places():
            for metric in ("sharpness", "hessian_trace", "directional_sharpness"):
                rows.append(
                    base | facts | {"metric": metric, "index": 0, "value": self.number(run)}
                )
            for i in range(5):
                for metric in ("density_node", "density_weight"):
                    row = {"metric": metric, "index": i, "value": self.number(run)}
                    rows += [base | facts | row] * (base["point"] != "rung")
        # At the start there is no update.
        rows = [r for r in rows if r["step"] or r["metric"] != "directional_sharpness"]
        return pd.DataFrame(rows)

    def quantized(self):
        rows = []
        for run, base in self.places():
            kinds = [("full", 32), *((s, b) for s in SCHEMES for b in BITS)]
            for scheme, bits in kinds:
                base |= {"scheme": scheme, "bits": bits}
                whole = {"tensor": "all", "component": "all"}
                for metric in ("accuracy", "loss"):
                    value = self.number(run, 0.2, 0.9)
                    rows.append(base | whole | {"metric": metric, "value": value})
                for tensor, component in TENSORS.items():
                    if scheme != "full":
                        row = {"tensor": tensor, "component": component, "metric": "relative_error"}
                        rows.append(base | row | {"value": self.number(run)})
        return pd.DataFrame(rows)

    def geometry(self):
        rows = []
        for run in self.runs:
            for step in range(0, 30, 10):
                for kind, metric, *_ in hidden_geometry.PANELS:
                    for tensor, component in TENSORS.items():
                        row = {"step": step, "tensor": tensor, "component": component}
                        row |= {"object": kind, "metric": metric, "value": self.number(run)}
                        rows.append({"arm": run["arm"], "seed": run["seed"]} | row)
        return pd.DataFrame(rows)

    def values(self):
        records = {
            "spectra": self.spectra(),
            "curvature": self.curvature(),
            "quantization": self.quantized(),
        }
        return Outcomes(OUTCOMES, self.runs, self.summaries, self.metrics(), records)

    def contrasts(self):
        plan = PLAN["contrasts"]
        return compare(self.values(), OUTCOMES, self.pairs, self.study, plan)


def key(run):
    return run["arm"], run["seed"]


def one(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


# ---------------------------------------------------------------- tables


def test_a_mean_over_seeds_is_that_of_the_records():
    made = MadeUp()
    records = made.quantized()
    row = one(
        quantization_table(records, made.runs, made.summaries, made.study),
        arm="muon", point="end", scheme="channel_mse", bits=2, tensor="all", metric="accuracy_drop",
    )  # fmt: skip
    own = records[
        (records.arm == "muon") & (records.point == "end") & (records.metric == "accuracy")
    ]
    full = own[own.scheme == "full"].sort_values("seed").value.to_numpy()
    drop = full - own[(own.scheme == "channel_mse") & (own.bits == 2)].sort_values("seed").value
    assert row["mean"] == pytest.approx(drop.mean()) and row.n == 3
    assert row.low < row["mean"] < row.high


def test_at_a_level_a_mean_is_that_of_all_runs_between_their_snapshots():
    made = MadeUp()
    records = made.curvature()
    table = curvature_table(records, made.runs, made.summaries, made.study)
    assert set(table.point) == {"start", "loss 1", "loss 2", "loss 3", "end"}
    row = one(table, arm="adamw", point="loss 3", metric="sharpness")
    ends = [made.loss(run, 100) for run in made.runs]
    assert row.level == max(ends) and row.n == 3
    values = []
    for _, own in records[(records.arm == "adamw") & (records.metric == "sharpness")].groupby(
        "seed"
    ):
        (_, above), (_, below) = list(own.sort_values("step").iloc[-2:].iterrows())
        share = (above.loss - row.level) / (above.loss - below.loss)
        values.append(above.value + share * (below.value - above.value))
    assert row["mean"] == pytest.approx(np.mean(values))


def test_a_diverged_run_leaves_its_mean_empty():
    made = MadeUp(broken=[("muon", 1)])
    table = spectra_table(made.spectra(), made.runs, made.summaries, made.study)
    row = one(table, arm="muon", point="end", tensor=measured.HIDDEN, metric="effective_rank")
    assert row.not_finite == 1 and math.isnan(row["mean"]) and math.isnan(row.low)
    level = one(table, arm="muon", point="loss 3", tensor=measured.HIDDEN, metric="effective_rank")
    assert level.not_finite == 1 and math.isnan(level["mean"])
    other = one(table, arm="adamw", point="loss 3", tensor=measured.HIDDEN, metric="effective_rank")
    assert other.n == 3 and math.isfinite(other["mean"]), "the levels are those of the others"


def test_the_hidden_mean_is_the_mean_of_the_hidden_layers_and_empty_metrics_are_left_out():
    records = MadeUp().spectra()
    table = measured.with_hidden_mean(records)
    assert "alpha" not in set(table.metric) and "singular_values" not in set(table.metric)
    where = {"arm": "muon", "seed": 2, "point": "end", "metric": "effective_rank"}
    own = records[records.component == "hidden"]
    for column, value in where.items():
        own = own[own[column] == value]
    assert len(own) == 2
    assert one(table, tensor=measured.HIDDEN, **where).value == pytest.approx(own.value.mean())


def test_one_seed_gives_no_interval():
    made = MadeUp(seeds=(1,))
    table = curvature_table(made.curvature(), made.runs, made.summaries, made.study)
    assert table.low.isna().all() and (table.n == 1).all()


# ---------------------------------------------------------------- contrasts


def test_every_pair_is_compared_on_every_outcome():
    made = MadeUp(arms=tuple(LABELS))
    table = made.contrasts()
    assert len(table) == 3 * len(OUTCOMES)
    assert (table.verdict != "not estimable").all()


def test_a_contrast_is_the_mean_of_the_paired_differences():
    made = MadeUp()
    values = made.values()
    table = compare(values, OUTCOMES, made.pairs, made.study, PLAN["contrasts"])
    own = values.of()
    own = own[own.outcome == "sharpness_end"].pivot(index="seed", columns="arm", values="value")
    row = one(table, outcome="sharpness_end")
    assert row.difference == pytest.approx((own.muon - own.adamw).mean())


def test_at_a_level_no_seed_is_left_out_and_the_losses_that_were_achieved_are_told():
    made = MadeUp(seeds=(1, 2, 3, 4))
    table = made.contrasts()
    row = one(table, outcome="sharpness_loss_3")
    assert (row.n, row.point) == (4, "loss 3")
    assert row.level == max(made.loss(run, 100) for run in made.runs)
    nearest = [
        min((made.loss(run, s) for s in (0, 20, 50, 100)), key=lambda loss: abs(loss - row.level))
        for run in made.runs
        if run["arm"] == "muon"
    ]
    assert row.loss_a == pytest.approx(np.mean(nearest))
    assert row.loss_difference == pytest.approx(row.loss_a - row.loss_b)
    end = one(table, outcome="sharpness_end")
    assert math.isnan(end.level)
    assert end.loss_a == pytest.approx(
        np.mean([made.loss({"seed": s, "arm": "muon"}, 100) for s in (1, 2, 3, 4)])
    )


def test_levels_are_those_of_the_two_arms_that_are_compared():
    """A third arm that never falls takes no loss from the others."""
    made = MadeUp(arms=tuple(LABELS), flat=[("muon_hybrid", s) for s in (1, 2, 3)])
    table = made.contrasts()
    pair = one(table, outcome="sharpness_loss_3", arm_a="muon", arm_b="adamw")
    assert math.isfinite(pair.level) and math.isfinite(pair.difference)
    with_flat = one(table, outcome="sharpness_loss_3", arm_a="muon_hybrid", arm_b="adamw")
    assert with_flat.verdict == "not estimable" and with_flat.reason == NO_LEVEL


def test_what_is_unknown_above_a_level_is_not_called_diverged():
    made = MadeUp()
    records = made.curvature()
    unknown = (records.metric == "directional_sharpness") & (records.step <= 20)
    values = Outcomes(
        OUTCOMES, made.runs, made.summaries, made.metrics(), {"curvature": records[~unknown]}
    )
    wanted = [o for o in OUTCOMES if o["quantity"] in ("sharpness", "directional_sharpness")]
    table = compare(values, wanted, made.pairs, made.study, PLAN["contrasts"])
    row = one(table, outcome="directional_sharpness_loss_1")
    assert row.verdict == "not estimable" and row.reason == UNKNOWN
    assert math.isfinite(one(table, outcome="sharpness_loss_1").difference)
    assert math.isfinite(one(table, outcome="directional_sharpness_loss_3").difference)


def test_steps_to_a_level_are_infinite_for_a_run_that_diverged():
    row = one(MadeUp(broken=[("muon", 1)]).contrasts(), outcome="step_at_loss_2")
    assert row.verdict == "not estimable" and "diverged" in row.reason


def test_a_diverged_run_makes_its_contrasts_not_estimable():
    row = one(MadeUp(broken=[("muon", 1)]).contrasts(), outcome="final_loss")
    assert row.verdict == "not estimable" and "diverged" in row.reason


def test_one_seed_is_not_estimable():
    table = MadeUp(seeds=(1,)).contrasts()
    assert (table.verdict == "not estimable").all() and table.p.isna().all()


def test_declared_families_share_alpha_and_the_rest_of_an_outcome_is_exploratory():
    made = MadeUp(arms=tuple(LABELS), seeds=(1, 2, 3, 4, 5))
    claim = {"name": "claim", "outcomes": ["final_loss", "test_loss"], "pairs": [["muon", "adamw"]]}
    plan = PLAN["contrasts"] | {"families": [claim]}
    table = compare(made.values(), OUTCOMES, made.pairs, made.study, plan)
    claimed = table[table.family == "claim"]
    assert set(claimed.outcome) == {"final_loss", "test_loss"} and (claimed.family_size == 2).all()
    sizes = table[table.family == "exploratory"].groupby("outcome").family_size.agg(set)
    assert sizes.test_loss == {2} and sizes.sharpness_end == {3}
    known = table[table.p.notna()]
    assert list(known.p_adjusted) == pytest.approx(np.minimum(1, known.family_size * known.p))


def test_pairs_may_be_compared_on_some_outcomes_alone():
    made = MadeUp(arms=tuple(LABELS))
    made.pairs[-1]["outcomes"] = ["final_loss"]
    table = made.contrasts()
    assert len(table) == 2 * len(OUTCOMES) + 1
    assert list(table.outcome) == sorted(table.outcome, key=[o["name"] for o in OUTCOMES].index)
    assert (table[table.outcome == "final_loss"].family_size == 3).all()
    assert (table[table.outcome == "test_loss"].family_size == 2).all()
    whole = on_all_outcomes(table)
    assert len(whole) == 2 * len(OUTCOMES)
    plt.close(effects(table, OUTCOMES, made.study))


def test_outcomes_say_which_side_is_better():
    table = MadeUp(seeds=(1, 2, 3, 4)).contrasts()
    judged = table[table.outcome.isin(["final_loss", "test_accuracy"])].verdict
    assert set(judged) <= {"better", "worse", "undecided"}
    assert set(table[table.outcome == "sharpness_end"].verdict) <= {"lower", "higher", "undecided"}


class Shifted:
    """The outcomes of made-up runs, with arms that are far from each other."""

    def __init__(self, made):
        self.values = made.values()

    def of(self, arms=None):
        found = self.values.of(arms)
        shift = 9 * (found.arm == "muon") - 9 * (found.arm == "adamw")
        return found.assign(value=found.value.astype(float) + shift)


@pytest.mark.parametrize("seeds", [(1, 2, 3), (1, 2, 3, 4)])
def test_swapping_the_sides_flips_every_verdict_of_a_table(seeds):
    made = MadeUp(arms=tuple(LABELS), seeds=seeds)
    values = Shifted(made)
    plan = PLAN["contrasts"] | {"smallest_difference": {"final_loss": 90.0, "test_loss": 1e-9}}
    swapped = [pair | {"a": pair["b"], "b": pair["a"]} for pair in made.pairs]
    one, other = (compare(values, OUTCOMES, p, made.study, plan) for p in (made.pairs, swapped))
    words = {"better", "worse", "higher", "equivalent"} if len(seeds) > 3 else {"no verdict"}
    assert words <= set(one.verdict)
    assert list(other.verdict) == [flipped(word) for word in one.verdict]
    assert list(other.difference) == pytest.approx(list(-one.difference), nan_ok=True)
    assert list(other.needs_n) == pytest.approx(list(one.needs_n), nan_ok=True)
    assert list(other.low) == pytest.approx(list(-one.high), nan_ok=True)


def test_compound_pairs_and_edges_are_marked():
    made = MadeUp()
    made.pairs[0]["variables"] = ["optimizer", "optimizer.weight_decay"]
    made.study["arms"][0]["edges"] = {"lr": "high"}
    table = made.contrasts()
    assert table.compound.all() and table.edge.all()


def test_an_arm_alone_gives_tables_without_rows_that_can_be_read_back(tmp_path):
    made = MadeUp(arms=("adamw",))
    anova, tukey = compare_all(made.values(), OUTCOMES, PLAN["contrasts"])
    assert anova.p.isna().all() and len(tukey) == 0
    write_csv(made.contrasts(), tmp_path / "contrasts.csv")
    back = pd.read_csv(tmp_path / "contrasts.csv")
    assert len(back) == 0 and {"arm_a", "d_z", "verdict", "level"} <= set(back)
    plt.close(effects(back, OUTCOMES, made.study))


def test_all_arms_at_once():
    made = MadeUp(arms=tuple(LABELS))
    anova, tukey = compare_all(made.values(), OUTCOMES, PLAN["contrasts"])
    assert len(anova) == len(OUTCOMES) and len(tukey) == 3 * len(OUTCOMES)
    assert one(anova, outcome="sharpness_loss_3").n == 9
    level = max(made.loss(run, 100) for run in made.runs)
    assert one(anova, outcome="sharpness_loss_3").level == level


def test_tukeys_differences_have_the_sign_of_the_contrasts():
    made = MadeUp(arms=tuple(LABELS))
    values = made.values()
    _, tukey = compare_all(values, OUTCOMES, PLAN["contrasts"], ["adamw", "muon", "muon_hybrid"])
    pairs = set(zip(tukey.arm_a, tukey.arm_b, strict=True))
    assert pairs == {("muon", "adamw"), ("muon_hybrid", "adamw"), ("muon_hybrid", "muon")}
    row = one(tukey, outcome="test_loss", arm_a="muon", arm_b="adamw")
    table = values.of()
    means = table[table.outcome == "test_loss"].groupby("arm").value.mean()
    assert row.difference == pytest.approx(means.muon - means.adamw)


# ---------------------------------------------------------------- figures

CASES = {
    "one seed": {"seeds": (1,)},
    "one arm": {"arms": ("adamw",)},
    "diverged": {"broken": [("muon", 1)]},
    "all diverged": {"broken": [("muon", s) for s in (1, 2, 3)]},
    "no common loss": {"flat": [("adamw", s) for s in (1, 2, 3)]},
}


def figure_of(made, name):
    own = made.runs, made.summaries, made.study
    if name == "geometry":
        return hidden_geometry.geometry(made.geometry(), made.study)
    if name == "geometry_over_loss":
        return over_loss.geometry_over_loss(made.geometry(), made.metrics(), *own)
    if name == "effects":
        return effects(made.contrasts(), OUTCOMES, made.study)
    if name == "quantization_error":
        return quantization_error(made.quantized(), made.study)
    draw, records = {
        "spectra": (spectra, made.spectra),
        "sharpness": (sharpness, made.curvature),
        "quantization": (quantization, made.quantized),
        "spectra_over_loss": (over_loss.spectra_over_loss, made.spectra),
        "curvature_over_loss": (over_loss.curvature_over_loss, made.curvature),
        "quantization_over_loss": (over_loss.quantization_over_loss, made.quantized),
    }[name]
    return draw(records(), *own)


OVER_LOSS = [f"{name}_over_loss" for name in ("geometry", "spectra", "curvature", "quantization")]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "name",
    [
        "geometry",
        "spectra",
        "sharpness",
        "quantization",
        "quantization_error",
        "effects",
        *OVER_LOSS,
    ],
)
def test_a_figure_is_drawn_without_a_warning(name, case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figure_of(MadeUp(**CASES[case]), name)
        figure.canvas.draw()
    text = " ".join(t.get_text() for t in figure.texts)
    assert "Made up" in text and "data: digits" in text and "protocol: fair" in text
    plt.close(figure)


def band_heights(figure):
    paths = [c.get_paths()[0] for axis in figure.axes for c in axis.collections]
    return np.array([np.ptp(path.vertices[:, 1]) for path in paths])


@pytest.mark.parametrize("name", ["geometry", "sharpness", "quantization", "effects", *OVER_LOSS])
def test_intervals_have_the_level_of_the_study_and_say_so(name):
    made, other = MadeUp(seeds=(1, 2, 3, 4)), MadeUp(seeds=(1, 2, 3, 4))
    other.study |= {"alpha": 0.5, "interval": "50 %"}
    wide, narrow = figure_of(made, name), figure_of(other, name)
    text = " ".join(t.get_text() for t in narrow.texts)
    assert "50 %" in text and "95 %" not in text
    if name != "effects":  # whose intervals are those of the table
        wide_bands, narrow_bands = band_heights(wide), band_heights(narrow)
        assert len(wide_bands) and (narrow_bands < wide_bands).all()
    plt.close(wide)
    plt.close(narrow)


def test_singular_values_are_shown_relative_to_the_largest_layers_by_shade():
    made = MadeUp(broken=[("muon", 1)])
    figure = figure_of(made, "spectra")
    panels = {axis.get_title(loc="left"): axis for axis in figure.axes[:3]}
    assert list(panels) == ["input", "hidden", "output"], "one panel for each component"
    made.spectra()
    for component, axis in panels.items():
        assert axis.get_yscale() == "log"
        tensors = [t for t, c in TENSORS.items() if c == component]
        lines = [line for line in axis.lines if line.get_linestyle() == "-"]
        assert len(lines) == 2 * len(tensors), "a line for each arm and layer"
        assert all(0 < line.get_ydata().max() <= 1 for line in lines)
        assert len({line.get_color() for line in lines}) == len(lines)
    plt.close(figure)


def test_over_the_loss_a_line_ends_where_the_first_of_its_runs_does():
    made = MadeUp()
    figure = figure_of(made, "curvature_over_loss")
    axis = figure.axes[0]
    lines = {line.get_label(): line for line in axis.lines}
    worst = max(made.loss(run, 100) for run in made.runs)
    for arm in ("adamw", "muon"):
        x = lines[LABELS[arm]].get_xdata()
        own = max(made.loss(run, 100) for run in made.runs if run["arm"] == arm)
        assert (min(x), max(x)) == pytest.approx((own, 2.0))
    marks = [line for line in axis.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in marks] == [3, 3], "the ends of all runs are shown"
    drawn = [set(line.get_xdata()) for line in axis.lines]
    levels = sorted(x for points in drawn if len(points) == 1 for x in points)
    assert len(levels) == 3 and levels[0] == pytest.approx(worst)
    low, high = axis.get_xlim()
    assert low > high, "the loss falls to the right"
    plt.close(figure)


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        figure = figure_of(MadeUp(), "geometry")
        save(figure, *(tmp_path / f"{name}.{suffix}" for suffix in ("svg", "png", "pdf")))
    for suffix in ("svg", "png", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


# ---------------------------------------------------------------- records and config


def test_texts_stored_once_each_come_back_as_texts(tmp_path):
    from muonlab.io.columns import write_records

    files = []
    for i, metric in enumerate(("loss", "accuracy")):
        files.append(tmp_path / f"{i}.parquet")
        write_records(
            files[-1], [{"metric": metric, "value": 1.0}], {"metric": str, "value": float}
        )
    table = read_curves([{"arm": "a", "seed": 1}, {"arm": "b", "seed": 1}], files)
    assert list(table.metric) == ["loss", "accuracy"]
    assert not isinstance(table.metric.dtype, pd.CategoricalDtype)


def test_of_each_run_only_the_records_that_are_asked_for_are_read(tmp_path):
    files = [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    for file in files:
        pd.DataFrame({"step": [1, 2], "value": [0.1, 0.2]}).to_parquet(file)
    runs = [{"arm": "a", "seed": 1}, {"arm": "b", "seed": 1}]
    table = read_curves(runs, files, lambda own: own[own.step == 2])
    assert list(table.arm) == ["a", "b"] and list(table.value) == [0.2, 0.2]


def test_outcomes_have_names_of_their_own_and_are_plain_values():
    names = [outcome["name"] for outcome in outcomes(Measure().model_dump())]
    assert len(set(names)) == len(names)
    assert json.loads(json.dumps(OUTCOMES)) == OUTCOMES


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"along": 0}, "along"),
        ({"levels": 2}, "levels"),
        ({"curvature": {"backend": "power"}}, "backend"),
        ({"quantization": {"bits": [16]}}, "bits"),
        ({"quantization": {"bits": [4, 4]}}, "twice"),
        ({"quantization": {"schemes": ["per_tensor"]}}, "schemes"),
        ({"contrasts": {"smallest_difference": {"sharpnes_end": 1.0}}}, "not an outcome"),
        ({"contrasts": {"smallest_difference": {"sharpness_end": 0.0}}}, "greater than 0"),
        ({"contrasts": {"alpha": 1.0}}, "alpha"),
    ],
)
def test_a_wrong_measurement_is_refused(section, complaint):
    with pytest.raises(ValueError, match=complaint):
        Measure.model_validate(section)
