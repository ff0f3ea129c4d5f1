"""Gains over levels and their trends, against scipy and by hand; diverged runs, no doses."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muonlab.report.figures.gain_panels import gains as draw
from muonlab.report.style import save
from muonlab.report.tables.gains import gains as tabulate
from muonlab.report.texts.where_it_gains import where_it_gains
from muonlab.statistics.bracket import cross_fitted
from muonlab.statistics.gain_trend import gain_trend

SEEDS = (1, 2, 3, 4, 5)
STUDY = {
    **{"title": "Made up", "data": "text", "protocol": "fair", "alpha": 0.05, "interval": "95 %"},
    **{"seeds": list(SEEDS), "training": {"evaluate_on": "validation"}, "arms": []},
}
COMPARISON = {"smallest_difference": {"final_loss": 0.01}}
CONTRASTS = pd.DataFrame(
    {
        **{"outcome": ["final_loss"], "arm_a": ["muon"], "arm_b": ["adamw"], "n_a": [5]},
        **{"n_b": [5], "difference": [-0.3], "low": [-0.4], "high": [-0.2]},
        **{"verdict": ["better"], "needs_n": [np.nan]},
    }
)


def levels(*names, doses=None):
    return {
        name: {"dose": doses[i] if doses else None, "label": name, "data": "text", "own": i == 0}
        for i, name in enumerate(names)
    }


def factor(own, **more):
    facts = {"label": "batch", "arms": ["muon", "adamw"], "levels": own, "dose": "given"}
    return facts | {"lr_factors": [1.0]} | more


def made_up(factors, loss, broken=()):
    """Runs of all factors; `loss(factor, level, arm, rate, seed)` is the final loss."""
    runs, summaries = [], []
    for name, facts in factors.items():
        for place, level in enumerate(facts["levels"]):
            for arm in facts["arms"]:
                for rate in facts["lr_factors"]:
                    for seed in SEEDS:
                        key = {"factor": name, "level": level, "arm": arm, "lr_factor": rate}
                        runs.append(key | {"seed": seed, "run": "x"})
                        lost = (level, arm, seed) in broken
                        value = None if lost else loss(place, arm, rate, seed)
                        summaries.append(
                            {"final_loss": value, "diverged": lost, "steps": 40}
                            | {"best_step": None if lost else (30 if seed == 1 else 40)}
                            | {"parameters": 1000 * 4**place}
                        )
    return runs, summaries


def noise(place, arm, seed):
    return float(np.random.default_rng([place, len(arm), seed]).normal())


def test_gains_and_trends_are_those_of_scipy():
    rng = np.random.default_rng(3)
    losses = rng.normal(4.0, 0.1, size=(2, 4, len(SEEDS)))
    losses[0] -= 0.6 * np.arange(4)[:, None]  # Muon's lead grows
    facts = {"b": factor(levels(*"wxyz", doses=[4, 8, 16, 64]))}

    def loss(place, arm, rate, seed):
        return losses[0 if arm == "muon" else 1, place, SEEDS.index(seed)]

    made = tabulate(*made_up(facts, loss), facts, STUDY, COMPARISON, CONTRASTS)
    table, [trend] = made["gains"], made["gain_trends"].itertuples()
    # The study itself has the difference of contrasts.csv, and three others are a family.
    assert list(table.family) == ["contrasts"] + ["gains"] * 3
    assert set(table.family_size[1:]) == {3}
    assert list(table.loc[0, ["gain", "gain_low", "gain_high"]]) == [-0.3, -0.4, -0.2]
    for place, row in enumerate(table.itertuples()):
        if place:
            test = stats.ttest_rel(losses[0, place], losses[1, place])
            ends = test.confidence_interval(1 - 0.05 / 3)
            want = (np.mean(losses[0, place] - losses[1, place]), ends.low, ends.high)
            assert (row.gain, row.gain_low, row.gain_high) == pytest.approx(want)
    gains = (losses[0] - losses[1]).T
    x = np.log2([4, 8, 16, 64])
    slopes = [stats.linregress(x, own).slope for own in gains]
    one = stats.ttest_1samp(slopes, 0)
    ends = one.confidence_interval(0.95)
    assert trend.slope == pytest.approx(np.mean(slopes))
    assert (trend.slope_low, trend.slope_high) == pytest.approx((ends.low, ends.high))
    assert trend.p_slope == pytest.approx(one.pvalue)
    falling = stats.page_trend_test(-gains).pvalue, stats.page_trend_test(gains).pvalue
    assert trend.p_page == pytest.approx(min(1.0, 2 * min(falling)), rel=1e-6)
    assert trend.verdict == "grows"


def test_the_trends_of_a_table_hold_together():
    rng = np.random.default_rng(5)
    draws = {}

    def loss(place, arm, rate, seed):
        return draws.setdefault((place, arm, seed), rng.normal(4, 0.1))

    own = levels(*"xyz", doses=[1, 2, 4])
    alone = {"a": factor(own)}
    both = {"a": factor(own), "b": factor(own)}
    one = tabulate(*made_up(alone, loss), alone, STUDY, COMPARISON, CONTRASTS)["gain_trends"]
    two = tabulate(*made_up(both, loss), both, STUDY, COMPARISON, CONTRASTS)["gain_trends"]
    widths = [t.slope_high[0] - t.slope_low[0] for t in (one, two)]
    ratio = stats.t.isf(0.0125, 4) / stats.t.isf(0.025, 4)
    assert widths[1] == pytest.approx(ratio * widths[0])


@pytest.mark.parametrize(
    ("slope", "spread", "word"),
    [(-0.1, 0.01, "grows"), (0.1, 0.01, "shrinks"), (0.0, 1e-4, "flat"), (0.0, 1.0, "undecided")],
)
def test_what_a_trend_is_called(slope, spread, word):
    rng = np.random.default_rng(0)
    gains = slope * np.arange(4) + spread * rng.normal(size=(6, 4))
    gains = gains - gains.mean(axis=0) + slope * np.arange(4) if word == "undecided" else gains
    found = gain_trend([1, 2, 4, 8], gains, smallest=0.01)
    assert found.verdict == word
    shuffled = [2, 0, 3, 1]
    again = gain_trend(np.array([1, 2, 4, 8])[shuffled], gains[:, shuffled], smallest=0.01)
    assert again.response.slope == pytest.approx(found.response.slope) and again.verdict == word


def test_a_trend_that_one_level_makes_is_said_to_rest_on_it():
    gains = np.array([0.02, 0.01, 0.0, -1.0]) + 0.001 * np.arange(6)[:, None] * [1, -1, 1, -1]
    gains[:, :3] = [0.0, 0.01, 0.02]
    gains += 1e-4 * np.random.default_rng(1).normal(size=gains.shape)
    assert gain_trend([1, 2, 4, 8], gains).verdict == "rests on one level"


def test_few_seeds_give_no_trend_and_a_dose_must_be_positive():
    assert gain_trend([1, 2, 4], np.random.default_rng(0).normal(size=(2, 3))).verdict == (
        "no verdict"
    )
    with pytest.raises(ValueError, match="positive"):
        gain_trend([0, 1, 2], np.zeros((4, 3)))


def test_a_seed_is_read_at_the_setting_that_the_others_choose():
    losses = np.array([[1.0, 3.0, 9.0], [3.0, 1.0, 9.0], [3.0, 1.1, 9.0], [3.0, 1.2, 9.0]])
    found = cross_fitted(losses)
    assert list(found.values) == [3.0, 1.0, 1.1, 1.2] and found.best == 1
    # By brute force, on fresh draws.
    draws = np.random.default_rng(7).normal(size=(9, 4))
    for i, value in enumerate(cross_fitted(draws).values):
        others = [row for j, row in enumerate(draws) if j != i]
        assert value == draws[i][int(np.argmin(np.mean(others, axis=0)))]


def test_the_best_of_equal_settings_is_not_better_than_one_of_them():
    """The plain minimum over settings would be; the cross-fitted mean is unbiased."""
    draws = np.random.default_rng(11).normal(size=(4000, 5, 3))
    found = [cross_fitted(own).values.mean() for own in draws]
    least = [own.mean(axis=0).min() for own in draws]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error and np.mean(least) < -20 * error


def test_diverged_settings_are_never_chosen_and_one_seed_chooses_nothing():
    losses = [[1.0, np.nan], [1.0, 0.1], [1.0, 0.1]]
    assert list(cross_fitted(losses).values) == [0.1, 1.0, 1.0] or np.isnan(
        cross_fitted(losses).values[0]
    )
    assert cross_fitted([[2.0, 1.0]]).best == 1
    assert np.isnan(cross_fitted([[2.0, 1.0]]).values).all()
    assert cross_fitted([[2.0]]).values.tolist() == [2.0]
    assert cross_fitted([[np.nan, np.inf]] * 3).best is None
    with pytest.raises(ValueError, match="seeds, settings"):
        cross_fitted([1.0, 2.0])


def test_tables_figure_and_text_with_brackets_without_dose_and_with_a_diverged_run(tmp_path):
    facts = {
        "size": factor(
            levels("small", "medium", "large"), dose="parameters", lr_factors=[2.0, 0.5, 1.0]
        ),
        "data": factor(levels("text", "prose")),
    }

    def loss(place, arm, rate, seed):
        lead = 0.3 if arm == "muon" else 0.0
        return 4 - lead - 0.05 * place + 0.2 * np.log2(rate) + 0.01 * noise(place, arm, seed)

    runs = made_up(facts, loss, broken={("prose", "adamw", 3)})
    made = tabulate(*runs, facts, STUDY, COMPARISON, CONTRASTS)
    table = made["gains"]
    bracketed = table[table.rate == "bracketed"]
    assert len(bracketed) == 3 and set(bracketed.edge) == {"muon × 0.5, adamw × 0.5"}
    lost = table[table.level == "prose"].iloc[0]
    assert np.isnan(lost.gain) and lost.gain_verdict == "not estimable"
    assert list(made["gain_trends"].factor) == ["size"]  # the other factor has no doses
    cells = made["level_losses"].set_index(["level", "arm", "lr_factor"])
    assert cells.loc[("prose", "adamw", 1.0), "diverged"] == 1
    assert cells.loc[("medium", "muon", 0.5), "parameters"] == 4000
    assert cells.loc[("medium", "muon", 0.5), "stopped_early"] == pytest.approx(1 / 5)
    told = where_it_gains(table, made["gain_trends"], STUDY)
    assert "outermost" in told and "not estimable" in told
    drawn = draw(table, made["gain_trends"], facts, COMPARISON, STUDY)
    save(drawn, tmp_path / "g.svg", tmp_path / "g.png", tmp_path / "g.pdf")
    assert (tmp_path / "g.png").stat().st_size > 10_000


def test_swapping_the_numbers_swaps_the_sentence():
    own = levels(*"xyz", doses=[1, 2, 4])
    facts = {"a": factor(own)}

    def text(sign):
        def loss(place, arm, rate, seed):
            lead = sign * 0.2 * place if arm == "muon" else 0.0
            return 4 + lead + 0.01 * noise(place, arm, seed)

        made = tabulate(*made_up(facts, loss), facts, STUDY, COMPARISON, CONTRASTS)
        return where_it_gains(made["gains"], made["gain_trends"], STUDY)

    assert "lead **grows**" in text(-1) and "Muon is better" in text(-1)
    assert "lead **shrinks**" in text(1) and "Muon is worse" in text(1)


def test_few_seeds_take_no_share_of_the_level():
    rng = np.random.default_rng(4)
    draws = rng.normal(4, 0.1, size=(2, 3, 5))
    facts = {"a": factor(levels(*"xyz")), "b": factor(levels(*"xyz"))}

    def loss(place, arm, rate, seed):
        return draws[int(arm == "muon"), place, SEEDS.index(seed)]

    runs, summaries = made_up(facts, loss)
    kept = [i for i, run in enumerate(runs) if run["factor"] == "a" or run["seed"] < 3]
    runs, summaries = [runs[i] for i in kept], [summaries[i] for i in kept]
    table = tabulate(runs, summaries, facts, STUDY, COMPARISON, CONTRASTS)["gains"]
    table = table.set_index(["factor", "level"])
    assert (table.loc["a"].family[1:] == "gains").all() and (
        table.loc["a"].family_size[1:] == 2
    ).all()
    two = table.loc[("b", "y")]
    assert (two.family, two.family_size, two.gain_verdict) == ("alone", 1, "no verdict")
    ends = stats.ttest_rel(draws[1, 1, :2], draws[0, 1, :2]).confidence_interval(0.95)
    assert (two.gain_low, two.gain_high) == pytest.approx((ends.low, ends.high))
