"""Tables, figures and sentences about layers, from records of small made-up runs."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from observed_layers import EVERY, STEPS, TOKENS, MadeUp
from scipy import stats

from muonlab.measure.nulls import alignment_nulls
from muonlab.report.dynamics import ALIGNMENT, COLUMNS, CONSISTENCY, ENTROPY, STRETCHING, claim_rows
from muonlab.report.dynamics_sentences import dynamics_sentences, judged
from muonlab.report.figures.entropy_depth import entropy_depth, entropy_map
from muonlab.report.figures.gap_evolution import spectral_gap
from muonlab.report.figures.gradient_distribution import gradient_distribution
from muonlab.report.figures.gradient_flow import gradient_flow
from muonlab.report.figures.initial_final import initial_final_spectra
from muonlab.report.figures.layer_activations import activations
from muonlab.report.figures.layer_sizes import layer_norms
from muonlab.report.figures.norm_depth import norm_depth
from muonlab.report.figures.norm_evolution import spectral_norms
from muonlab.report.figures.orthogonality import orthogonality_error
from muonlab.report.figures.rank_alignment import alignment_rank
from muonlab.report.figures.update_alignment import update_alignment
from muonlab.report.figures.update_ranks import update_rank
from muonlab.report.layers import MOST_STEPS, components_of, condensed, thinned_steps
from muonlab.report.records import write_csv
from muonlab.report.stretching import ALL, run_slopes, slope_contrasts, slope_table
from muonlab.report.tables.dynamics_claims import dynamics_claims
from muonlab.report.tables.gradient_flags import gradient_flags
from muonlab.report.tables.stretching import stretching

LAYERED = (
    *(spectral_norms, update_alignment, orthogonality_error, spectral_gap, update_rank),
    *(alignment_rank, entropy_depth, entropy_map),
)
OF_COMPONENTS = (gradient_flow, layer_norms, activations)
CASES = {
    "four seeds": {},
    "one seed": {"seeds": (1,)},
    "diverged": {"broken": [("muon", 1)]},
    "experts": {"seeds": (1, 2), "experts": 2},
}
WHOLE = ("four seeds", "experts")  # the cases in which every figure is drawn; else some are


def drawings(made):
    for draw in LAYERED:
        yield lambda draw=draw: draw(made.table, made.study)
    for draw in OF_COMPONENTS:
        own = made.components, made.summaries, made.provenances, made.study
        yield lambda draw=draw, own=own: draw(*own)
    yield lambda: norm_depth(made.table, made.slope_table, made.study)
    yield lambda: initial_final_spectra(made.geometry, made.study)
    yield lambda: gradient_distribution(made.gradients, made.study)


@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_drawn_without_a_warning(case):
    made = MadeUp(**CASES[case])
    for draw in list(drawings(made))[:: 1 if case in WHOLE else 4]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure = draw()
            figure.canvas.draw()
        text = " ".join(t.get_text() for t in figure.texts)
        assert "Made up" in text and "data: python" in text and "protocol: fair" in text
        plt.close(figure)


def test_a_figure_of_depth_has_a_panel_for_each_component_and_tokens_above():
    made = MadeUp()
    figure = spectral_norms(made.table, made.study)
    assert len(components_of(made.table)) == 6
    panels = [axis for axis in figure.axes if axis.get_ylabel() or axis.lines]
    assert len(panels) == 12, "a row for each component, a column for each arm"
    upper = panels[0].child_axes[0]
    low, high = panels[0].get_xlim()
    assert upper.get_xlim() == pytest.approx((low * TOKENS, high * TOKENS))
    layers = {int(n) for n in made.table.layer.unique()}
    assert len(panels[0].lines) == len(layers) + 1, "a line for each layer, and the random walk"
    plt.close(figure)


# ---------------------------------------------------------------- the table of layers


def raw(made, row, kind, metric):
    own = made.geometry[(made.geometry.object == kind) & (made.geometry.metric == metric)]
    for name in ("arm", "seed", "step", "tensor"):
        own = own[own[name] == row[name]]
    (value,) = own.value
    return value


def test_alignment_is_shown_beside_the_null_of_its_shape():
    made = MadeUp()
    table = made.table[made.table.step_excess.notna()]
    for row in table.sample(10, random_state=0).to_dict("records"):
        sides = [raw(made, row, "step", f"subspace_alignment_{s}") for s in ("left", "right")]
        null = np.mean(alignment_nulls(int(row["rows"]), int(row["columns"])))
        assert row["step_alignment"] == pytest.approx(np.mean(sides))
        assert row["step_null"] == pytest.approx(null)
        assert row["step_excess"] == pytest.approx(np.mean(sides) - null)


def test_random_updates_are_aligned_as_chance_has_it_and_make_a_random_walk():
    """Muon's made-up updates are random: what its nulls predict is what happens."""
    own = MadeUp().table
    own = own[own.arm == "muon"]
    excess = own.step_excess.dropna()
    assert abs(excess.mean()) < 5 * excess.std() / np.sqrt(len(excess))
    end = own[own.step == STEPS]
    assert end.norm_excess.mean() == pytest.approx(0, abs=0.08)
    assert (end.walk_norm.to_numpy() > own[own.step == 0].spectral_norm.to_numpy()).all()
    # A random walk of 30 steps is as far away as the root of the sum of squares.
    assert np.log(end.distance_null / end.walk_norm).mean() == pytest.approx(0, abs=0.05)


def test_at_the_start_nothing_has_grown():
    start = MadeUp().table
    start = start[start.step == 0]
    assert (start.entropy_gain == 0).all()
    assert start.norm_excess.to_numpy() == pytest.approx(0, abs=1e-12)


def test_experts_count_as_one_matrix_of_their_means():
    made = MadeUp(seeds=(1, 2), experts=2)
    row = made.table[(made.table.component == "expert_up") & (made.table.step == 0)].iloc[0]
    own = made.geometry[(made.geometry.metric == "spectral_norm")]
    own = own[(own.object == "weight") & (own.step == 0) & (own.tensor == row.tensor)]
    own = own[(own.arm == row.arm) & (own.seed == row.seed)]
    assert len(own) == 2 and row.spectral_norm == pytest.approx(own.value.mean())


def test_many_records_are_thinned_evenly_with_both_ends():
    kept = thinned_steps(range(0, 50_001, 50))
    assert len(kept) == MOST_STEPS and kept[0] == 0 and kept[-1] == 50_000
    gaps = np.diff(kept)
    assert gaps.max() <= gaps.min() + 50
    assert thinned_steps([3, 1, 2]) == [1, 2, 3]


# ---------------------------------------------------------------- stretching


def test_stretching_is_found_where_updates_grow_with_depth():
    made = MadeUp()
    own = made.slope_table.set_index(["arm", "quantity", "coefficient", "component"])
    muon = own.loc[("muon", "spectral_norm", "stretching", ALL)]
    assert muon.verdict == "higher" and muon.slope > 0
    # It is no more than what a random walk with these updates gives.
    beyond = own.loc[("muon", "norm_excess", "stretching", ALL)]
    assert beyond.verdict == "undecided" and abs(beyond.slope) < muon.slope / 4
    assert set(own.family_size) == {7}, "six components and their mean"


def test_contrasts_are_paired_t_tests_of_the_runs_slopes():
    made = MadeUp()
    chosen = (made.slopes.quantity == "spectral_norm") & (made.slopes.coefficient == "stretching")
    own = made.slopes[chosen & (made.slopes.component == "up")]
    wide = own.pivot(index="seed", columns="arm", values="value")
    test = stats.ttest_rel(wide.muon, wide.adamw)
    interval = test.confidence_interval(1 - 0.05 / 7)
    table = made.stretching
    (row,) = table[
        (table.quantity == "spectral_norm")
        & (table.coefficient == "stretching")
        & (table.component == "up")
    ].to_dict("records")
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert row["difference"] == pytest.approx((wide.muon - wide.adamw).mean())


def test_a_run_that_diverged_makes_its_arm_not_estimable():
    made = MadeUp(broken=[("muon", 1)])
    muon = made.slope_table[made.slope_table.arm == "muon"]
    assert set(muon.verdict) == {"not estimable"}
    assert set(made.stretching.verdict) == {"not estimable"}


def test_without_layers_there_is_no_slope():
    made = MadeUp()
    flat = made.table[made.table.layer == 0]
    slopes = run_slopes(flat, frozenset())
    assert slopes.value.isna().all()
    assert set(slope_table(slopes, made.study).verdict) == {"not estimable"}
    assert len(slope_contrasts(slopes, [("muon", "adamw")], made.study))


# ---------------------------------------------------------------- claims


def contrasts(word="undecided"):
    row = {"outcome": "spectral_entropy_end", "arm_a": "muon", "arm_b": "adamw", "point": "end"}
    row |= {"n_a": 4, "n_b": 4, "mean_a": 0.9, "mean_b": 0.8, "difference": 0.1}
    row |= {"low": 0.05, "high": 0.15, "verdict": word, "needs_n": 9.0, "family_size": 4}
    return pd.DataFrame([row])


def claims_of(made, word="higher"):
    pair = ("muon", "adamw")
    given = (made.stretching, made.slope_table, made.metrics(), made.runs, made.summaries)
    return pd.DataFrame(claim_rows(made.table, *given, contrasts(word), pair, made.study))


def sentences(made, claims):
    runs = pd.DataFrame(made.runs).assign(seconds_in_updates=9.0, seconds_in_watching=1.0)
    labels = {"adamw": "AdamW", "muon": "Muon"}
    return "\n".join(dynamics_sentences(claims, runs, labels, made.study))


def test_each_claim_is_judged_by_its_own_comparisons():
    made = MadeUp()
    claims = claims_of(made)
    assert list(dict.fromkeys(claims.claim)) == [STRETCHING, ALIGNMENT, ENTROPY, CONSISTENCY]
    told = sentences(made, claims)
    assert told.count("\n- *") == 4 and "10.0 % (Muon)" in told
    own = claims[claims.claim == ENTROPY]
    assert judged(own) == "holds" and "(Muon against AdamW): **holds**" in told
    for word, verdict in (("lower", "does not hold"), ("undecided", "undecided")):
        assert judged(claims_of(made, word).query("claim == 10")) == verdict
    aligned = claims[claims.claim == ALIGNMENT]
    assert list(aligned.point) == ["in the second half of training", "loss 1", "loss 2", "loss 3"]
    assert set(aligned.family_size) == {4}
    spread = claims[claims.claim == CONSISTENCY]
    losses = [s["final_loss"] for s in made.summaries]
    expected = np.log(np.std(losses[4:], ddof=1) / np.std(losses[:4], ddof=1))
    assert spread.iloc[0].difference == pytest.approx(expected)


def test_late_alignment_is_the_mean_of_the_second_half():
    made = MadeUp()
    row = claims_of(made).query("claim == 9").iloc[0]
    own = made.table[(made.table.arm == "muon") & made.table.step_excess.notna()]
    late = own[own.step >= own.step.max() / 2]
    assert set(late.step) == {EVERY, 2 * EVERY}
    by_step = late.groupby(["seed", "step"]).step_excess.mean()
    assert row.mean_a == pytest.approx(by_step.groupby("seed").mean().mean())


@pytest.mark.parametrize("case", ["one seed", "diverged"])
def test_what_cannot_be_estimated_is_said(case):
    made = MadeUp(**CASES[case])
    claims = claims_of(made)
    assert "not estimable" in sentences(made, claims)
    assert judged(claims[claims.claim == STRETCHING]) == "undecided"


def test_a_single_arm_has_tables_with_columns_that_are_read_back(tmp_path):
    """As one run of the published study has, by its overlay."""
    made = MadeUp(seeds=(1,))
    table = stretching(made.table, made.runs, made.summaries, [], made.study)
    write_csv(table["stretching"], tmp_path / "empty.csv")
    empty = pd.read_csv(tmp_path / "empty.csv")
    given = (made.table, empty, made.slope_table, made.metrics(), made.runs, made.summaries)
    claims = dynamics_claims(*given, contrasts(), [], made.study)
    write_csv(claims, tmp_path / "claims.csv")
    assert "no claim can be examined" in sentences(made, pd.read_csv(tmp_path / "claims.csv"))


def test_the_tables_of_claims_are_read_back_as_they_were_said(tmp_path):
    made = MadeUp()
    claims = claims_of(made)
    assert list(claims) == list(COLUMNS)
    write_csv(claims, tmp_path / "claims.csv")
    assert sentences(made, pd.read_csv(tmp_path / "claims.csv")) == sentences(made, claims)


def test_flags_are_counted_where_there_are_any():
    made = MadeUp()
    table = gradient_flags(made.components)
    whole = table[table.component == "all"]
    assert len(whole) == 8 * 4 and (whole.records == 0).all()
    flagged = made.components.copy()
    chosen = (flagged.metric == "vanishing_gradient") & (flagged.component == "all")
    flagged.loc[chosen & (flagged.arm == "muon") & (flagged.step == EVERY), "value"] = 1.0
    found = gradient_flags(flagged).query("arm == 'muon' and records > 0")
    assert set(found.flag) == {"vanishing"} and set(found.first_step) == {EVERY}


def test_the_table_of_layers_is_the_same_for_shuffled_records():
    made = MadeUp(seeds=(1, 2))
    shuffled = condensed(made.geometry.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(shuffled, made.table)
