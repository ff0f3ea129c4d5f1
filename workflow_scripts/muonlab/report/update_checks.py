"""Anchor checks of Muon's updates, which `probes.direction` computes back from kept weights."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.report.anchors import Checked, judged, unanswered

RMS, RMS_OF_ADAMW = (0.18, 0.20), 0.2  # limits are compared at their own two digits
ROUNDING = 0.02  # of a singular value: updates are computed back from float32 weights


def update_sizes(direction: pd.DataFrame | None, anchors: Mapping) -> Checked:
    """Whether the update's root mean square, averaged over a run's matrices, lies in RMS for every
    run of Muon with its usual iteration and scale."""
    usual = [arm for arm, own in anchors["iterations"].items() if own["usual"] and own["matched"]]
    if not usual:
        return unanswered("no arm has Jordan's five steps and the scale match_rms_adamw")
    own = _metric(direction, "rms_singular_value", usual)
    if own is None:
        return unanswered("no update was kept; add direction to measure.also")
    # The update is 0.2·√max(m, n)·O, and O has the mean square rms(σ)²·min(m, n)/(mn).
    sizes = RMS_OF_ADAMW * own.groupby(["arm", "seed"]).value.mean()
    low, high, mean = float(sizes.min()), float(sizes.max()), float(sizes.mean())
    outside = sizes[~sizes.round(2).between(*RMS)]
    arms = ", ".join(sorted(set(outside.index.get_level_values("arm"))))
    lacking = _lacking(direction, anchors, outside.index)
    return judged(
        outside.empty,
        f"outside in {len(outside)} of {len(sizes)} runs ({arms}){lacking}",
        found=f"{mean:.3f} (from {low:.3f} to {high:.3f}) in {len(sizes)} runs",
        value=mean,
        low=low,
        high=high,
        n=len(sizes),
    )


def _lacking(direction: pd.DataFrame, anchors: Mapping, runs: pd.MultiIndex) -> str:
    """How many matrices of these runs (arm, seed) have a singular value below the band, which makes
    an update small without any fault: the momentum had no such direction. Empty if there are no
    such matrices."""
    own = _metric(direction, "min_singular_value", sorted(set(runs.get_level_values("arm"))))
    if own is None:
        return ""
    own = own[pd.MultiIndex.from_frame(own[["arm", "seed"]]).isin(runs)]
    floor = own.arm.map(lambda arm: anchors["iterations"][arm]["band"][0])
    low = own.value[own.value < floor * (1 - ROUNDING)]
    if low.empty:
        return ""
    return (
        f": in {len(low)} of their {len(own)} matrices the momentum lacks directions (singular "
        f"values down to {low.min():.2g} after the iteration), which makes an update smaller"
    )


def in_bands(direction: pd.DataFrame | None, anchors: Mapping) -> Checked:
    """Whether the largest singular value of every kept update lies in the band of its iteration,
    up to ROUNDING. The number is their mean, with their range."""
    bands = {arm: own["band"] for arm, own in anchors["iterations"].items() if own["matched"]}
    if not bands:
        return unanswered("no arm's iteration maps each singular value by itself at a known scale")
    own = _metric(direction, "max_singular_value", bands)
    if own is None:
        return unanswered("no update was kept; add direction to measure.also")
    low, high = (own.arm.map(lambda arm, end=end: bands[arm][end]) for end in (0, 1))
    beyond = np.maximum(low / own.value - 1, own.value / high - 1)
    bad = own[~(beyond <= ROUNDING)]
    worst = own.loc[beyond.fillna(np.inf).idxmax()]
    return judged(
        bad.empty,
        f"outside in {len(bad)} of {len(own)} matrices ({', '.join(sorted(set(bad.arm)))})",
        found=f"from {own.value.min():.3f} to {own.value.max():.3f} in {len(own)} matrices of "
        f"{own.arm.nunique()} arms; the nearest to its limit is {worst.value:.3f} of "
        f"{bands[worst.arm][0]:.3f}–{bands[worst.arm][1]:.3f} ({worst.arm})",
        value=float(own.value.mean()),
        low=float(own.value.min()),
        high=float(own.value.max()),
        n=len(own),
    )


def _metric(
    direction: pd.DataFrame | None, metric: str, arms: Sequence[str] | Mapping
) -> pd.DataFrame | None:
    """The rows of one metric for updates whose size is known; None if there are none."""
    if direction is None:
        return None
    own = direction[(direction.metric == metric) & direction.arm.isin(list(arms))]
    own = own[~own.normalised.astype(bool)].reset_index(drop=True)
    return own if len(own) else None
