"""Tables over all arms: means, analysis of variance, Tukey, against statsmodels and formulas."""

import numpy as np
import pandas as pd
import pytest

from muonlab.statistics.all_arms import anova, arm_means, tukey

# Dried weight of plants, control and two treatments (Dobson 1983; R's data set PlantGrowth).
PLANTS = {
    "ctrl": [4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14],
    "trt1": [4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69],
    "trt2": [6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26],
}


def runs(arms, outcome="weight"):
    rows = [(arm, seed, outcome, x) for arm, xs in arms.items() for seed, x in enumerate(xs)]
    return pd.DataFrame(rows, columns=["arm", "seed", "outcome", "value"])


def test_means_per_arm_with_diverged_and_single_runs():
    arms = PLANTS | {"bad": [1.0, np.inf, 2.0], "one": [3.0], "flat": [2.0, 2.0]}
    means = arm_means(runs(arms), ["weight"], alpha=0.1).set_index("arm")
    assert list(means.index) == list(arms)
    # numpy for mean and sd; 1.8331 is Student's t(9) at .95 from the printed tables.
    x = np.array(PLANTS["trt1"])
    half = 1.8331 * x.std(ddof=1) / np.sqrt(10)
    got = means.loc["trt1", ["n", "mean", "sd", "low", "high"]].to_list()
    want = [10, x.mean(), x.std(ddof=1), x.mean() - half, x.mean() + half]
    assert got == pytest.approx(want, rel=1e-5)
    assert list(means["estimable"]) == [True, True, True, False, False, False]
    assert list(means["diverged"]) == [0, 0, 0, 1, 0, 0]
    assert means.loc[["bad", "one"], ["mean", "sd", "low", "high"]].isna().all(axis=None)
    assert means.loc["flat", "mean"] == 2 and np.isnan(means.loc["flat", "low"])


def test_anova_is_the_published_one_and_statsmodels():
    from statsmodels.stats.oneway import anova_oneway, test_scale_oneway

    [row] = anova(runs(PLANTS), ["weight"]).itertuples()
    # R 4: anova(lm(weight ~ group, PlantGrowth)) and oneway.test(...), F 5.181 on 2 and 17.128.
    assert (row.arms, row.n, row.df_between, row.df_within) == (3, 30, 2, 27)
    assert (row.f, row.p, row.p_welch) == pytest.approx((4.8461, 0.01591, 0.01739), abs=5e-5)
    samples = list(PLANTS.values())
    assert row.p == pytest.approx(anova_oneway(samples, use_var="equal").pvalue)
    levene = test_scale_oneway(samples, method="equal", center="median", transform="abs")
    assert row.p_brown_forsythe == pytest.approx(levene.pvalue)
    assert (row.diverged, row.reason) == (0, "")


def test_tukey_is_the_published_one():
    # R 4: TukeyHSD(aov(weight ~ group, PlantGrowth)), signs turned to a − b.
    result = tukey(runs(PLANTS), ["weight"])
    assert list(zip(result["arm_a"], result["arm_b"], strict=True)) == [
        ("ctrl", "trt1"),
        ("ctrl", "trt2"),
        ("trt1", "trt2"),
    ]
    want = [
        (0.371, -0.3202161, 1.0622161, 0.3908711),
        (-0.494, -1.1852161, 0.1972161, 0.1979960),
        (-0.865, -1.5562161, -0.1737839, 0.0120064),
    ]
    np.testing.assert_allclose(result[["difference", "low", "high", "p"]], want, atol=1e-6)
    # At α = p the simultaneous interval ends at zero.
    edge = tukey(runs(PLANTS), ["weight"], alpha=result["p"][2])
    assert edge["high"][2] == pytest.approx(0, abs=1e-6)


def test_outcomes_are_separate_and_arms_shift_together():
    table = pd.concat([runs(PLANTS), runs({a: np.add(x, 9) for a, x in PLANTS.items()}, "more")])
    both = anova(table, ["more", "weight"])
    assert list(both["outcome"]) == ["more", "weight"]
    assert both["f"][0] == pytest.approx(both["f"][1])
    pairs = tukey(table, ["weight", "more"])
    np.testing.assert_allclose(pairs["p"][:3], pairs["p"][3:], rtol=1e-6)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"trt2": [1.0, np.nan]}, "Runs of trt2 diverged."),
        ({"trt1": [1.0]}, "Fewer than two runs of trt1."),
        ({"ctrl": [1, 1], "trt1": [2, 2], "trt2": [3, 3]}, "All runs of each arm have the same"),
    ],
)
def test_what_cannot_be_estimated_is_nan_with_a_reason(change, reason):
    table = runs(PLANTS | change)
    [row] = anova(table, ["weight"]).itertuples()
    assert np.isnan([row.f, row.p, row.p_welch]).all() and row.reason.startswith(reason)
    pairs = tukey(table, ["weight"])
    assert len(pairs) == 3 and pairs[["difference", "low", "high", "p"]].isna().all(axis=None)
    assert pairs["reason"].str.startswith(reason).all()
    assert pairs["diverged"].sum() == 2 * row.diverged  # trt2 is in two pairs


def test_two_arms_are_left_to_contrasts():
    table = runs({"ctrl": PLANTS["ctrl"], "trt1": PLANTS["trt1"]})
    assert anova(table, ["weight"])["reason"][0] == "2 arms; the analysis needs three."
    assert np.isnan(tukey(table, ["weight"])["p"][0])


def test_an_unknown_outcome_is_refused():
    for function in (arm_means, anova, tukey):
        with pytest.raises(ValueError, match="unknown outcome 'loss'"):
            function(runs(PLANTS), ["loss"])
