"""What the records of layers say about the published claims on training dynamics."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.report.comparisons import compared
from muonlab.report.layers import hidden_mean
from muonlab.report.levels import along, evaluated, joined
from muonlab.report.measured import HIDDEN_COMPONENTS
from muonlab.report.records import loss_of
from muonlab.report.stretching import ALL
from muonlab.statistics.paired import paired
from muonlab.statistics.spread_ratio import spread_ratio
from muonlab.statistics.verdicts import BETTER, HIGHER, LOWER, in_words

STRETCHING, ALIGNMENT, ENTROPY, CONSISTENCY = 8, 9, 10, 13
# Columns of the tables of claims.
COLUMNS = (
    *("claim", "quantity", "point", "arm_a", "arm_b", "n", "mean_a", "mean_b", "difference"),
    *("low", "high", "verdict", "said", "family_size", "expected"),
)
LATE = "in the second half of training"
SPREADS = {"final_loss": "final loss", "test_loss": "test loss"}


def claim_rows(
    table: pd.DataFrame,
    stretching: pd.DataFrame,
    slopes: pd.DataFrame,
    metrics: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    contrasts: pd.DataFrame,
    pair: tuple[str, str],
    study: Mapping,
) -> Iterator[dict]:
    """The comparisons behind each claim, for one pair of arms a − b."""
    yield from _stretching(stretching, slopes, pair)
    yield from _alignment(table, metrics, runs, summaries, pair, study)
    yield from _entropy(contrasts, pair)
    yield from _consistency(table, runs, summaries, pair, study)


def _row(claim: int, quantity: str, point: str, pair: tuple, found: Mapping, expected: str) -> dict:
    """One row; `expected` is the verdict on a − b under which the claim holds."""
    a, b = pair
    names = ("n", "mean_a", "mean_b", "difference", "low", "high", "verdict", "said")
    return {
        "claim": claim,
        "quantity": quantity,
        "point": point,
        "arm_a": a,
        "arm_b": b,
        **{name: found[name] for name in names},
        "family_size": found["family_size"],
        "expected": expected,
    }


def _stretching(stretching: pd.DataFrame, slopes: pd.DataFrame, pair: tuple) -> Iterator[dict]:
    """That σ₁ grows with depth under a, and that it does so more than under b."""
    a, b = pair
    for quantity, name in (
        ("spectral_norm", "stretching of σ₁"),
        ("norm_excess", "stretching of σ₁ beyond a random walk"),
    ):
        chosen = {"quantity": quantity, "coefficient": "stretching", "component": ALL}
        for row in _where(slopes, chosen | {"arm": a}).to_dict("records"):
            own = {"mean_a": row["slope"], "mean_b": np.nan, "difference": row["slope"]}
            own["said"] = _said(row)
            yield _row(STRETCHING, name, "", (a, ""), row | own, HIGHER)
        for row in _where(stretching, chosen | {"arm_a": a, "arm_b": b}).to_dict("records"):
            yield _row(STRETCHING, name, "", pair, row, HIGHER)


def _where(table: pd.DataFrame, values: Mapping) -> pd.DataFrame:
    if table.empty:
        return table
    return table[np.logical_and.reduce([table[name] == value for name, value in values.items()])]


def _said(row: Mapping) -> str:
    reason = row["reason"] if isinstance(row["reason"], str) and row["reason"] else ""
    words = in_words(row["verdict"], row["n"], row["needs_n"])
    return f"{words}: {reason}" if reason else words


def _alignment(
    table: pd.DataFrame,
    metrics: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    pair: tuple,
    study: Mapping,
) -> Iterator[dict]:
    """The excess of the alignment of updates with weights, late in training and at equal loss."""
    means = hidden_mean(table[table.step_excess.notna()], "step_excess")
    means = means[means.arm.isin(pair)]
    late = means[means.step >= means.step.max() / 2]
    late = late.groupby(["arm", "seed"], sort=False).value.mean().reset_index()
    parts = {LATE: late}
    parts |= _at_levels(means, metrics, runs, summaries, pair, study["levels"])
    name = "alignment of updates beyond the null"
    yield from compared_rows(ALIGNMENT, name, parts, pair, study, LOWER)


def compared_rows(
    claim: int,
    quantity: str,
    points: Mapping[str, pd.DataFrame],
    pair: tuple[str, str],
    study: Mapping,
    expected: str,
) -> Iterator[dict]:
    """A row for each point (arm, seed, value of both arms); all points are one family."""
    for point, own in points.items():
        found = _difference(own, pair, study["alpha"], len(points))
        yield _row(claim, quantity, point, pair, found, expected)


def _at_levels(
    means: pd.DataFrame,
    metrics: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    pair: tuple,
    count: int,
) -> dict[str, pd.DataFrame]:
    """The values of both arms at losses that all of their runs passed."""
    lost = frozenset(
        (run["arm"], run["seed"])
        for run, summary in zip(runs, summaries, strict=True)
        if summary["diverged"]
    )
    losses = evaluated(metrics, summaries[0]["evaluated_on"], lost)
    records = joined(means, losses).assign(quantity="value")
    found = along(records[records.loss.notna()], lost)
    levels = found.at(found.levels(count, pair), pair)
    return {point: own for point, own in levels.groupby("point", sort=False)}


def _difference(own: pd.DataFrame, pair: tuple, alpha: float, family: int) -> dict:
    wide = own.pivot(index="seed", columns="arm", values="value").reindex(columns=list(pair))
    a, b = (wide[arm] for arm in pair)
    found = paired(a, b, alpha, family)
    return {
        "mean_a": a.mean(skipna=False),
        "mean_b": b.mean(skipna=False),
        "family_size": family,
        **{n: getattr(found, n) for n in ("n", "difference", "low", "high", "verdict", "said")},
    }


def _entropy(contrasts: pd.DataFrame, pair: tuple) -> Iterator[dict]:
    """The rows of contrasts.csv on the spectral entropy of the hidden weights. With paired runs, a
    difference of entropies is one of gains since the start, which all arms share."""
    own = contrasts[contrasts.outcome.str.startswith("spectral_entropy")]
    own = own[(own.arm_a == pair[0]) & (own.arm_b == pair[1])]
    for row in own.to_dict("records"):
        found = compared(contrasts, row["outcome"], *pair)
        yield _row(
            ENTROPY,
            "spectral entropy of the hidden weights",
            row["point"],
            pair,
            row | {"n": found.n, "said": found.said},
            HIGHER,
        )


def _consistency(
    table: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    pair: tuple,
    study: Mapping,
) -> Iterator[dict]:
    """Ratios of the standard deviations over seeds, as ln(sd_a/sd_b)."""
    samples = {}
    for name, label in SPREADS.items():
        rows = [
            {"arm": run["arm"], "seed": run["seed"], "value": loss_of(summary, name)}
            for run, summary in zip(runs, summaries, strict=True)
        ]
        samples[label] = pd.DataFrame(rows)
    end = table[table.step == table.groupby(["arm", "seed"]).step.transform("max")]
    end = end[end.component.isin(HIDDEN_COMPONENTS)]
    for column, label in (
        ("norm_excess", "σ₁ beyond a random walk, mean over layers"),
        ("entropy_gain", "gain of spectral entropy, mean over layers"),
    ):
        means = end.groupby(["arm", "seed"], sort=False)[column].mean().rename("value")
        samples[label] = means.reset_index()
    for label, own in samples.items():
        wide = own[own.arm.isin(pair)].pivot(index="seed", columns="arm", values="value")
        wide = wide.reindex(columns=list(pair))
        found = spread_ratio(
            wide[pair[0]], wide[pair[1]], study["alpha"], len(samples), study["training"]["paired"]
        )
        row = {
            "n": found.n,
            "mean_a": found.sd_a,
            "mean_b": found.sd_b,
            "difference": found.log_ratio,
            "low": found.low,
            "high": found.high,
            "verdict": found.verdict.word,
            "said": f"{found.verdict}: {found.verdict.reason}".removesuffix(": "),
            "family_size": len(samples),
        }
        yield _row(CONSISTENCY, f"ln ratio of deviations: {label}", "", pair, row, BETTER)
