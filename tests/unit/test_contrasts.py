"""Contrasts of arms: columns against references, verdicts, pairing, diverged runs, refusals."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.statistics.contrasts import contrasts
from muonlab.statistics.effect_sizes import cohens_d_z, hedges_g
from muonlab.statistics.families import Families, Family
from muonlab.statistics.hypothesis_tests import minimum_detectable_difference, paired_t, welch_t
from muonlab.statistics.verdicts import flipped

NOISE = np.random.default_rng(7).normal(0, 0.02, (8, 4))
SEED_EFFECT = np.random.default_rng(8).normal(0, 0.1, 8)


def runs(n=8, outcome="val_loss", **shift):
    """A table of runs: one arm per keyword, the noise paired by seed, the mean 1 + the shift."""
    rows = [
        (arm, seed, outcome, 1 + by + SEED_EFFECT[seed] + NOISE[seed, i])
        for i, (arm, by) in enumerate(shift.items())
        for seed in range(n)
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "outcome", "value"])


def values(table, arm):
    return table[table["arm"] == arm].sort_values("seed")["value"].to_numpy()


def only(table, pair=("muon", "adamw"), **options):
    [row] = contrasts(table, [pair], list(table["outcome"].unique()), **options).itertuples()
    return row


def without(table, arm, seed, value=None):
    """The table with one run's value replaced, or with the run left out."""
    this = (table["arm"] == arm) & (table["seed"] == seed)
    return table[~this] if value is None else table.assign(value=table["value"].mask(this, value))


def test_every_column_against_statsmodels():
    from statsmodels.stats.weightstats import DescrStatsW, ttest_ind, ttost_paired

    table = runs(muon=-0.03, adamw=0.0)
    a, b = values(table, "muon"), values(table, "adamw")
    row = only(table, sesoi={"val_loss": 0.05})
    d = DescrStatsW(a - b)
    assert (row.n, row.n_a, row.n_b, row.diverged_a, row.diverged_b) == (8, 8, 8, 0, 0)
    assert [row.mean_a, row.mean_b] == pytest.approx([a.mean(), b.mean()])
    assert [row.sd_a, row.sd_b] == pytest.approx([a.std(ddof=1), b.std(ddof=1)])
    assert row.difference == pytest.approx(d.mean)
    assert (row.low, row.high) == pytest.approx(d.tconfint_mean())
    assert (row.t, row.p, row.df) == pytest.approx(d.ttest_mean())
    assert row.p_adjusted == row.p  # a family of one
    assert (row.family, row.family_size) == ("exploratory", 1)
    assert row.sd_difference == pytest.approx((a - b).std(ddof=1))
    assert row.p_welch == pytest.approx(ttest_ind(a, b, usevar="unequal")[1])
    assert row.p_tost == pytest.approx(ttost_paired(a, b, -0.05, 0.05)[0])
    assert row.d_z == pytest.approx(d.mean / d.std_mean / np.sqrt(8))
    assert row.d_z_low < row.d_z < row.d_z_high < 0
    pooled = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    assert row.hedges_g == pytest.approx(d.mean / pooled * (1 - 3 / (4 * 14 - 1)), rel=1e-3)
    assert row.hedges_g_low < row.hedges_g < row.hedges_g_high
    assert row.mdd_80 == pytest.approx(1.1533 * (a - b).std(ddof=1), rel=1e-2)
    assert 0 < row.p_brown_forsythe < 1 and 0 < row.p_wilcoxon < 1


@pytest.mark.parametrize(
    "shift, sesoi, expected",
    [
        (-0.2, None, "lower"),
        (0.2, None, "higher"),
        (0.0, None, "undecided"),
        (0.0, 0.1, "equivalent"),
        (0.0, 0.001, "undecided"),
        (-0.2, 0.01, "lower"),
        (-0.2, 1.0, "equivalent"),  # proven nonzero, and proven too small to matter
    ],
)
def test_verdict_follows_the_runs(shift, sesoi, expected):
    row = only(runs(muon=shift, adamw=0.0), sesoi={"val_loss": sesoi} if sesoi else None)
    assert row.verdict == expected and row.reason == ""


def declared(name, outcomes, pairs, **size):
    return {"name": name, "outcomes": outcomes, "pairs": pairs} | size


def test_a_family_shares_alpha_and_the_rest_of_an_outcome_is_exploratory():
    loss = runs(muon=-0.05, adamw=0.0, sgd=0.01)
    both = pd.concat([loss, runs(outcome="accuracy", muon=0.01, adamw=0.02, sgd=0.0)])
    pairs = [("muon", "adamw"), ("muon", "sgd"), ("adamw", "sgd")]
    outcomes = ["val_loss", "accuracy"]
    claim = declared("claim", outcomes, [("adamw", "muon")])  # in either direction
    families = Families([claim], [(outcome, *pair) for outcome in outcomes for pair in pairs])
    result = contrasts(both, pairs, outcomes, families=families)
    assert list(result.family) == ["claim", "exploratory", "exploratory"] * 2
    assert (result.family_size == 2).all()
    for row in result.itertuples():
        own = both[both.outcome == row.outcome]
        test = paired_t(values(own, row.arm_a), values(own, row.arm_b), 0.05 / 2)
        assert (row.low, row.high) == (test.low, test.high)
        assert row.p_adjusted == pytest.approx(min(1, 2 * row.p))
    default = contrasts(both, pairs, outcomes)
    assert (default.family == "exploratory").all() and (default.family_size == 3).all()
    alone = contrasts(loss, pairs, ["val_loss"])
    pd.testing.assert_frame_equal(alone, default.iloc[:3], check_dtype=False)


def test_a_family_may_count_questions_that_compare_no_pair():
    made = [("x", "a", "b"), ("x", "a", "c")]
    four = Families([declared("factorial", ["x"], [("a", "b")], size=4)], made)
    assert four.of("x", "b", "a").size == 4 and four.of("x", "b", "a").level(0.05) == 0.0125
    assert four.of("x", "a", "c") == Family("exploratory", 1)
    with pytest.raises(ValueError, match="b and c on x are not among the comparisons made"):
        four.of("x", "b", "c")


def test_a_comparison_has_one_family():
    twice = [declared(name, ["x"], [pair]) for name, pair in (("p", "ab"), ("q", "ba"))]
    with pytest.raises(ValueError, match="a and b on x are in the families p and q"):
        Families(twice, [])


def test_a_larger_family_can_turn_a_finding_into_undecided():
    table = runs(n=5, muon=-0.05, adamw=0.0, sgd=0.0, lion=0.0)
    row = only(table[table["arm"].isin(["muon", "adamw"])])
    assert row.verdict == "lower"
    pairs = [("muon", "adamw"), ("adamw", "sgd"), ("adamw", "lion"), ("sgd", "lion")]
    family = contrasts(table, pairs, ["val_loss"], alpha=2 * row.p).iloc[0]
    assert family.p == row.p and family.p_adjusted == pytest.approx(4 * row.p)
    assert family.verdict == "undecided" and family.low < 0 < family.high
    assert family.needs_n > 5


@pytest.mark.parametrize("paired", [True, False])
def test_alpha_reaches_every_interval_and_decision(paired):
    table = runs(muon=-0.03, adamw=0.0)
    a, b = values(table, "muon"), values(table, "adamw")
    row = only(table, alpha=0.4, sesoi={"val_loss": 0.05}, paired=paired)
    test = (paired_t if paired else welch_t)(a, b, alpha=0.4)
    assert (row.low, row.high) == (test.low, test.high)
    g = hedges_g(a, b, alpha=0.4)
    assert (row.hedges_g_low, row.hedges_g_high) == (g.low, g.high)
    if paired:
        d_z = cohens_d_z(a, b, alpha=0.4)
        assert (row.d_z_low, row.d_z_high) == (d_z.low, d_z.high)
        sd = np.std(a - b, ddof=1)
        assert row.mdd_80 == pytest.approx(minimum_detectable_difference(sd, 8, alpha=0.4))
    # Just outside and just inside the interval's farther limit.
    farther = max(abs(row.low), abs(row.high))
    for smallest, expected in ((farther * 1.01, True), (farther * 0.99, False)):
        got = only(table, alpha=0.4, sesoi={"val_loss": smallest}, paired=paired)
        assert (got.verdict == "equivalent") is expected
        assert got.p_tost < 0.4 or not expected, "the verdict is the stricter of the two"


@settings(max_examples=25, deadline=None)
@given(
    data_seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 8),
    shift=st.floats(-10, 10),
    scale=st.floats(0.1, 10),
    paired=st.booleans(),
)
def test_contrasts_swap_shift_scale_and_row_order(data_seed, n, shift, scale, paired):
    rng = np.random.default_rng(data_seed)
    table = runs(n=n, muon=0.0, adamw=0.0)
    table["value"] += rng.normal(0, 0.1, len(table))
    options = {"sesoi": {"val_loss": 0.1}, "paired": paired}
    row = only(table, **options)
    shuffled = table.sample(frac=1, random_state=int(data_seed))
    pd.testing.assert_frame_equal(
        contrasts(shuffled, [("muon", "adamw")], ["val_loss"], **options),
        contrasts(table, [("muon", "adamw")], ["val_loss"], **options),
        rtol=1e-9,
    )
    swapped = only(table, pair=("adamw", "muon"), **options)
    for name in ("difference", "t", "d_z", "hedges_g"):
        assert getattr(swapped, name) == pytest.approx(-getattr(row, name), nan_ok=True, abs=1e-12)
    assert (swapped.low, swapped.high) == pytest.approx((-row.high, -row.low))
    assert swapped.verdict == flipped(row.verdict)
    for better in ("lower", "higher"):
        one = only(table, better={"val_loss": better}, **options)
        other = only(table, pair=("adamw", "muon"), better={"val_loss": better}, **options)
        assert other.verdict == flipped(one.verdict) and one.verdict not in ("lower", "higher")
    moved = table.assign(value=scale * (table["value"] + shift))
    moved = only(moved, sesoi={"val_loss": 0.1 * scale}, paired=paired)
    for name in (
        "t",
        "df",
        "p",
        "p_adjusted",
        "p_welch",
        "p_tost",
        "d_z",
        "hedges_g",
        "p_wilcoxon",
    ):
        want = getattr(row, name)
        assert getattr(moved, name) == pytest.approx(want, rel=1e-6, abs=1e-9, nan_ok=True)
    for name in ("difference", "low", "high", "sd_a", "mdd_80"):
        want = scale * getattr(row, name)
        assert getattr(moved, name) == pytest.approx(want, rel=1e-6, abs=1e-9, nan_ok=True)
    assert moved.verdict == row.verdict


def test_pairing_by_seed_removes_what_the_seeds_share():
    table = runs(muon=-0.03, adamw=0.0)  # the seeds' spread is five times the arms' noise
    paired, welch = only(table), only(table, paired=False)
    assert paired.verdict == "lower" and welch.verdict == "undecided"
    assert welch.p == welch.p_welch == paired.p_welch
    assert welch.difference == pytest.approx(paired.difference)


def test_unpaired_leaves_the_paired_columns_empty_and_needs_no_common_seeds():
    table = without(runs(muon=-0.5, adamw=0.0), "muon", 3)
    row = only(table, paired=False, sesoi={"val_loss": 0.01})
    assert (row.n_a, row.n_b, row.paired) == (7, 8, False) and pd.isna(row.n)
    empty = [row.p_wilcoxon, row.d_z, row.d_z_low, row.d_z_high, row.mdd_80]
    assert np.isnan(empty).all()
    assert row.verdict == "lower" and row.p_tost > 0.5 and row.hedges_g < 0


def test_unmatched_seeds_are_refused_by_name():
    table = without(runs(muon=0.0, adamw=0.0), "muon", 3)
    with pytest.raises(ValueError, match="'muon' and 'adamw' do not pair by seed.*only: 3"):
        only(table)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("paired", [True, False])
def test_a_diverged_run_is_reported_and_never_dropped(bad, paired):
    table = without(runs(muon=-0.2, adamw=0.0, sgd=0.1), "adamw", 2, bad)
    pairs = [("muon", "adamw"), ("muon", "sgd")]
    options = {"sesoi": {"val_loss": 0.01}, "paired": paired}
    hit, clean = contrasts(table, pairs, ["val_loss"], **options).itertuples()
    assert hit.verdict == "not estimable" and np.isnan([hit.needs_n, hit.sesoi_n]).all()
    assert (hit.n_b, hit.diverged_a, hit.diverged_b) == (8, 0, 1)
    assert hit.reason == "1 of 8 runs of adamw diverged."
    numbers = [hit.mean_b, hit.difference, hit.low, hit.t, hit.p, hit.p_adjusted, hit.p_tost]
    numbers += [hit.d_z, hit.hedges_g, hit.mdd_80, hit.p_brown_forsythe, hit.p_welch]
    assert np.isnan(numbers).all() and np.isfinite(hit.mean_a)
    # The other contrast stands, and is no easier for what diverged.
    assert clean.verdict == "lower" and clean.p_adjusted == pytest.approx(2 * clean.p)


def test_a_run_ranked_last_still_enters_the_rank_test():
    table = runs(muon=-0.2, adamw=0.0)
    finite = only(table)
    infinite = only(without(table, "adamw", 2, np.inf))
    assert infinite.p_wilcoxon == finite.p_wilcoxon == pytest.approx(2 / 2**8)
    assert np.isnan(only(without(table, "adamw", 2, np.nan)).p_wilcoxon)


def test_one_seed_is_not_estimable_and_gives_no_number():
    row = only(runs(n=1, muon=-0.2, adamw=0.0), sesoi={"val_loss": 0.1})
    assert row.verdict == "not estimable" and row.n == 1
    assert row.reason == "n is 1 and 1; a test needs two runs of each arm."
    numbers = [row.mean_a, row.sd_a, row.difference, row.low, row.p, row.d_z, row.hedges_g]
    assert np.isnan(numbers).all()


@pytest.mark.parametrize("paired", [True, False])
def test_fewer_than_four_seeds_have_an_interval_and_no_verdict(paired):
    for n in (2, 3, 4):
        row = only(runs(n=n, muon=-9.0, adamw=0.0), sesoi={"val_loss": 99.0}, paired=paired)
        assert np.isfinite([row.low, row.high]).all()
        assert row.verdict == ("no verdict" if n < 4 else "equivalent")
        assert row.reason == ("Fewer than 4 seeds give no verdict." if n < 4 else "")


def test_two_seeds_are_estimable():
    row = only(runs(n=2, muon=-0.2, adamw=0.0))
    assert (
        row.df == 1 and np.isfinite([row.p, row.low, row.d_z_low, row.hedges_g, row.mdd_80]).all()
    )
    assert np.isnan([row.p_wilcoxon, row.p_brown_forsythe]).all()


def test_identical_arms_and_constant_differences_say_why_there_is_no_test():
    table = runs(muon=0.0, adamw=0.0)
    for by, word, reason in (
        (0.0, "no detectable difference", "The arms have the same value"),
        (0.5, "not estimable", "The difference between"),
    ):
        copy = table[table["arm"] == "muon"].assign(arm="twin", value=lambda x, by=by: x.value + by)
        row = only(pd.concat([table, copy]), pair=("twin", "muon"), sesoi={"val_loss": 0.1})
        assert row.difference == pytest.approx(by) and row.verdict == word
        assert row.reason.startswith(reason) and np.isnan([row.p, row.d_z, row.p_tost]).all()
        assert np.isfinite(row.p_welch)


def test_compound_arms_mark_their_contrasts():
    table = runs(muon=0.0, adamw=0.0, sgd=0.0)
    pairs = [("muon", "adamw"), ("sgd", "muon")]
    result = contrasts(table, pairs, ["val_loss"], compound={"sgd"})
    assert list(result["compound"]) == [False, True]
    turned = contrasts(table, [pair[::-1] for pair in pairs], ["val_loss"], compound={"sgd"})
    assert list(turned["compound"]) == [False, True]


def test_an_arm_without_the_outcome_is_refused_or_empty():
    table = pd.concat([runs(muon=0.0, adamw=0.0), runs(outcome="accuracy", sgd=0.0)])
    with pytest.raises(ValueError, match="do not pair by seed"):
        contrasts(table, [("muon", "sgd")], ["val_loss"])
    [row] = contrasts(table, [("muon", "adamw")], ["accuracy"]).itertuples()
    assert row.n == 0 and row.verdict == "not estimable" and row.reason.startswith("n is 0 and 0")


def test_no_pairs_give_an_empty_table_with_all_columns():
    empty = contrasts(runs(muon=0.0), [], ["val_loss"])
    assert len(empty) == 0 and {"family", "p_adjusted", "verdict", "reason"} <= set(empty.columns)


@pytest.mark.parametrize(
    "change, options, message",
    [
        ({}, {"pairs": [("muon", "sdg")]}, "unknown arm 'sdg'; the table has .*adamw"),
        ({}, {"pairs": [("muon", "muon")]}, "compares arm 'muon' with itself"),
        ({}, {"pairs": [("muon", "adamw"), ("adamw", "muon")]}, "'adamw' and 'muon' twice"),
        ({}, {"outcomes": ["loss"]}, "unknown outcome 'loss'; the table has .*val_loss"),
        ({}, {"sesoi": {"val_los": 0.1}}, "unknown outcome in sesoi 'val_los'"),
        ({}, {"sesoi": {"val_loss": 0}}, "smallest difference of interest must be positive"),
        ({}, {"alpha": 5}, "alpha must lie strictly between 0 and 1"),
        ({"drop": "seed"}, {}, "lacks the column 'seed'"),
        ({"twice": True}, {}, "more than one value for arm muon, seed 0, outcome val_loss"),
        ({"text": True}, {}, "'value' of the table of runs must be numbers"),
    ],
)
def test_mistakes_are_refused_with_a_sentence(change, options, message):
    table = runs(muon=0.0, adamw=0.0)
    if "drop" in change:
        table = table.drop(columns=change["drop"])
    if "twice" in change:
        table = pd.concat([table, table.iloc[:1]])
    if "text" in change:
        table["value"] = table["value"].astype(object).mask(table["seed"] == 1, "low")
    arguments = {"pairs": [("muon", "adamw")], "outcomes": ["val_loss"]} | options
    with pytest.raises(ValueError, match=message):
        contrasts(table, **arguments)


def test_the_table_is_left_alone_and_missing_values_are_diverged_runs():
    table = runs(muon=0.0, adamw=0.0)
    table["value"] = table["value"].astype("Float64").mask(table["seed"] == 1)
    before = table.copy()
    assert only(table).diverged_a == only(table).diverged_b == 1
    pd.testing.assert_frame_equal(table, before)


def test_import_loads_nothing_heavy():
    code = (
        "import sys; from muonlab.statistics import contrasts, all_arms;"
        "sys.exit(bool({'torch', 'statsmodels', 'pandas'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0
