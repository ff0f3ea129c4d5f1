"""Tables and figures from small made-up records, with what is missing, unreached or diverged."""

import json
import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from muonlab.plan.measure import Measure, outcomes
from muonlab.report import measured
from muonlab.report.comparisons import on_all_outcomes
from muonlab.report.figures import hidden_geometry
from muonlab.report.figures.effect_forest import effects
from muonlab.report.figures.fewer_bits import quantization, quantization_error
from muonlab.report.figures.loss_curvature import sharpness
from muonlab.report.figures.weight_spectra import spectra
from muonlab.report.outcomes import outcome_values
from muonlab.report.records import read_curves, write_csv
from muonlab.report.style import save
from muonlab.report.tables.contrasts import NOT_REACHED, compare, compare_all
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
    """Records of a study with these arms and seeds; `unreached` and `broken` are (arm, seed)."""

    def __init__(self, arms=("adamw", "muon"), seeds=(1, 2, 3), unreached=(), broken=()):
        self.runs = [{"arm": a, "seed": s, "run": f"{a}/{s}"} for a in arms for s in seeds]
        self.unreached, self.broken = set(unreached), set(broken)
        self.rng = np.random.default_rng(0)
        self.study = {
            "title": "Made up",
            "data": "digits",
            "protocol": "fair",
            "alpha": 0.05,
            "interval": "95 %",
            "seeds": list(seeds),
            "training": {"paired": True, "geometry_every": 10, "evaluate_on": "validation"},
            "target_loss": 0.2,
            "arms": [
                {"name": a, "label": LABELS[a], "settings": {"lr": 0.1}, "edges": {}} for a in arms
            ],
        }
        self.pairs = [
            {"a": a, "b": b, "variables": ["optimizer"]}
            for i, a in enumerate(arms)
            for b in arms[:i]
        ]

    def number(self, run, low=0.5, high=1.5):
        return math.nan if key(run) in self.broken else float(self.rng.uniform(low, high))

    def places(self, points):
        for run in self.runs:
            for point in points:
                reached = point != "matched" or key(run) not in self.unreached
                base = {"arm": run["arm"], "seed": run["seed"], "point": point, "reached": reached}
                yield run, base | {"step": {"start": 0, "matched": 50, "end": 100}[point]}

    def spectra(self):
        rows = []
        for run, base in self.places(["start", "matched", "end"]):
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
        for run, base in self.places(["start", "matched", "end"]):
            for metric in ("sharpness", "hessian_trace", "directional_sharpness"):
                rows.append(
                    base | facts | {"metric": metric, "index": 0, "value": self.number(run)}
                )
            for i in range(5):
                for metric in ("density_node", "density_weight"):
                    row = {"metric": metric, "index": i, "value": self.number(run)}
                    rows.append(base | facts | row)
        trajectory = [r | {"point": "trajectory"} for r in rows if r["point"] != "matched"]
        rows += [r for r in trajectory if not r["metric"].startswith("density")]
        return pd.DataFrame(rows)

    def quantized(self):
        rows = []
        for run, base in self.places(["matched", "end"]):
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
        summaries = [
            {n: self.number(r) for n in ("final_loss", "test_loss", "test_accuracy")}
            for r in self.runs
        ]
        summaries = [
            {n: None if math.isnan(v) else v for n, v in summary.items()} for summary in summaries
        ]
        matched = [
            {"step": int(50 + 10 * self.rng.integers(5)), "reached": key(r) not in self.unreached}
            for r in self.runs
        ]
        records = {
            "spectra": self.spectra(),
            "curvature": self.curvature(),
            "quantization": self.quantized(),
        }
        return outcome_values(OUTCOMES, self.runs, summaries, matched, records)

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
        quantization_table(records, made.study),
        arm="muon", point="end", scheme="channel_mse", bits=2, tensor="all", metric="accuracy_drop",
    )  # fmt: skip
    own = records[
        (records.arm == "muon") & (records.point == "end") & (records.metric == "accuracy")
    ]
    full = own[own.scheme == "full"].sort_values("seed").value.to_numpy()
    drop = full - own[(own.scheme == "channel_mse") & (own.bits == 2)].sort_values("seed").value
    assert row["mean"] == pytest.approx(drop.mean()) and row.n == 3
    assert row.low < row["mean"] < row.high


def test_an_unreached_run_is_counted_and_left_out_at_matched_loss_alone():
    made = MadeUp(unreached=[("adamw", 2)])
    table = curvature_table(made.curvature(), made.study)
    matched = one(table, arm="adamw", point="matched", metric="sharpness")
    assert (matched.n, matched.not_reached) == (2, 1)
    end = one(table, arm="adamw", point="end", metric="sharpness")
    assert (end.n, end.not_reached) == (3, 0)


def test_a_diverged_run_leaves_its_mean_empty():
    made = MadeUp(broken=[("muon", 1)])
    table = spectra_table(made.spectra(), made.study)
    row = one(table, arm="muon", point="end", tensor=measured.HIDDEN, metric="effective_rank")
    assert row.not_finite == 1 and math.isnan(row["mean"]) and math.isnan(row.low)


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
    table = curvature_table(made.curvature(), made.study)
    assert table.low.isna().all() and (table.n == 1).all()


# ---------------------------------------------------------------- contrasts


def test_every_pair_is_compared_on_every_outcome():
    made = MadeUp(arms=tuple(LABELS))
    table = made.contrasts()
    assert len(table) == 3 * len(OUTCOMES)
    assert (table[table.outcome != "matched_step"].verdict != "not estimable").all()


def test_a_contrast_is_the_mean_of_the_paired_differences():
    made = MadeUp()
    values = made.values()
    table = compare(values, OUTCOMES, made.pairs, made.study, PLAN["contrasts"])
    own = values[values.outcome == "sharpness_end"].pivot(
        index="seed", columns="arm", values="value"
    )
    row = one(table, outcome="sharpness_end")
    assert row.difference == pytest.approx((own.muon - own.adamw).mean())


def test_unreached_seeds_leave_matched_pairs_and_only_them():
    table = MadeUp(seeds=(1, 2, 3, 4), unreached=[("adamw", 2)]).contrasts()
    matched = one(table, outcome="sharpness_matched")
    assert (matched.n, matched.left_out) == (3, 1)
    assert (
        one(table, outcome="sharpness_end").n,
        one(table, outcome="sharpness_end").left_out,
    ) == (4, 0)
    steps = one(table, outcome="matched_step")
    assert steps.verdict == "not estimable" and "infinite" in steps.reason


def test_an_arm_that_never_reaches_is_not_estimable_and_says_why():
    table = MadeUp(unreached=[("adamw", s) for s in (1, 2, 3)]).contrasts()
    row = one(table, outcome="spectral_entropy_matched")
    assert row.verdict == "not estimable" and row.reason == NOT_REACHED
    assert math.isnan(row.p)


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


def test_swapping_the_sides_flips_every_verdict_of_a_table():
    made = MadeUp(arms=tuple(LABELS), seeds=(1, 2, 3, 4), unreached=[("muon", 2)])
    values = made.values()
    values["value"] += 3 * (values.arm == "muon") - 5 * (values.arm == "adamw")
    plan = PLAN["contrasts"] | {"smallest_difference": {"final_loss": 90.0, "test_loss": 1e-9}}
    swapped = [pair | {"a": pair["b"], "b": pair["a"]} for pair in made.pairs]
    one, other = (compare(values, OUTCOMES, p, made.study, plan) for p in (made.pairs, swapped))
    assert {"better", "worse", "lower", "higher", "equivalent", "no verdict"} <= set(one.verdict)
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
    assert len(back) == 0 and {"arm_a", "d_z", "verdict", "left_out"} <= set(back)
    plt.close(effects(back, OUTCOMES, made.study))


def test_all_arms_at_once():
    made = MadeUp(arms=tuple(LABELS), unreached=[("muon", 1)])
    anova, tukey = compare_all(made.values(), OUTCOMES, PLAN["contrasts"])
    assert len(anova) == len(OUTCOMES) and len(tukey) == 3 * len(OUTCOMES)
    assert one(anova, outcome="sharpness_matched").n == 8
    assert one(anova, outcome="sharpness_end").n == 9


def test_tukeys_differences_have_the_sign_of_the_contrasts():
    made = MadeUp(arms=tuple(LABELS))
    values = made.values()
    _, tukey = compare_all(values, OUTCOMES, PLAN["contrasts"], ["adamw", "muon", "muon_hybrid"])
    pairs = set(zip(tukey.arm_a, tukey.arm_b, strict=True))
    assert pairs == {("muon", "adamw"), ("muon_hybrid", "adamw"), ("muon_hybrid", "muon")}
    row = one(tukey, outcome="test_loss", arm_a="muon", arm_b="adamw")
    means = values[values.outcome == "test_loss"].groupby("arm").value.mean()
    assert row.difference == pytest.approx(means.muon - means.adamw)


# ---------------------------------------------------------------- figures

CASES = {
    "one seed": {"seeds": (1,)},
    "one arm": {"arms": ("adamw",)},
    "diverged": {"broken": [("muon", 1)]},
    "all diverged": {"broken": [("muon", s) for s in (1, 2, 3)]},
    "unreached": {"unreached": [("adamw", s) for s in (1, 2, 3)]},
}


def figure_of(made, name):
    if name == "geometry":
        return hidden_geometry.geometry(made.geometry(), made.study)
    if name == "spectra":
        return spectra(made.spectra(), made.study)
    if name == "sharpness":
        return sharpness(made.curvature(), made.study)
    if name == "quantization":
        return quantization(made.quantized(), made.study)
    if name == "quantization_error":
        return quantization_error(made.quantized(), made.study)
    return effects(made.contrasts(), OUTCOMES, made.study)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "name", ["geometry", "spectra", "sharpness", "quantization", "quantization_error", "effects"]
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


@pytest.mark.parametrize("name", ["geometry", "spectra", "sharpness", "quantization", "effects"])
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


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        figure = figure_of(MadeUp(), "geometry")
        save(figure, tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
    for suffix in ("svg", "png"):
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


def test_outcomes_have_names_of_their_own_and_are_plain_values():
    names = [outcome["name"] for outcome in outcomes(Measure().model_dump())]
    assert len(set(names)) == len(names)
    assert json.loads(json.dumps(OUTCOMES)) == OUTCOMES


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"curvature": {"snapshots": 1}}, "snapshots"),
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
