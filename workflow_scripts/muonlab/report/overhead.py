"""Where a step's time goes, what it costs for each shape, and whether it pays: tables, figure."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.report.style import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    arm_styles,
    finish,
    study_notes,
    use_style,
)
from muonlab.statistics.cost_benefit import CostBenefit, cost_benefit
from muonlab.statistics.speedup import time_to

# Parts that add up to a step; `orthogonalization` is taken out of `optimizer`.
PARTS = {
    "data": ("data", ORANGE),
    "forward": ("forward", SKY),
    "backward": ("backward", BLUE),
    "clip": ("clip", PURPLE),
    "newton_schulz": ("Newton–Schulz", VERMILION),
    "other_optimizer": ("rest of the optimizer", GREEN),
    "rest": ("rest", MUTED),
}
UNREACHED = "never"


def steps_to_target(curves: pd.DataFrame, arm: str, study: dict) -> pd.Series:
    """Steps at which each run of an arm came to the study's common loss, by seed; inf if never.

    `curves`: arm, seed, step, split, metric, value. Between two evaluations the loss is taken to
    fall in a line.
    """
    own = curves[(curves.arm == arm) & (curves.metric == "loss")]
    own = own[own.split == study["training"]["evaluate_on"]]
    return pd.Series(
        {
            seed: float(time_to(run.step.to_numpy(), run.value.to_numpy(), study["target_loss"]))
            for seed, run in own.sort_values("step").groupby("seed")
        }
    )


def judged(profile: dict, curves: pd.DataFrame, study: dict, alpha: float) -> CostBenefit:
    """The profile's first arm against its second, over the seeds of both."""
    arm, baseline = profile["arms"]
    steps, other = (steps_to_target(curves, p["arm"], study) for p in (arm, baseline))
    seconds = [p["seconds"]["step"] for p in (arm, baseline)]
    return cost_benefit(steps.to_numpy(), other.loc[steps.index].to_numpy(), *seconds, alpha)


def overhead_figure(profile: dict, curves: pd.DataFrame, study: dict, alpha: float) -> Figure:
    """Milliseconds of a step by part, and steps and seconds to the common loss of each seed."""
    use_style()
    figure, axes = plt.subplots(1, 4, figsize=(10.5, 3.5), width_ratios=(1.5, 0.7, 1.1, 1.1))
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    names = [record["arm"] for record in profile["arms"]]
    _stacked(axes[0], profile["arms"])
    handles, parts = axes[0].get_legend_handles_labels()
    axes[1].legend(handles[::-1], parts[::-1], loc="center")
    axes[1].set_axis_off()
    axes[0].set_xticks(range(len(names)), [labels[name] for name in names])
    axes[0].set(ylabel="milliseconds of a step", title="Where a step's time goes")
    steps = {name: steps_to_target(curves, name, study) for name in names}
    seconds = {
        record["arm"]: steps[record["arm"]] * np.median(record["seconds"]["step"])
        for record in profile["arms"]
    }
    styles = arm_styles(study["arms"])
    for axis, values, title in (
        (axes[2], steps, "Steps to the loss"),
        (axes[3], seconds, "Seconds to the loss"),
    ):
        _per_seed(axis, values, styles)
        axis.set_xticks(range(len(names)), [labels[name] for name in names])
        axis.set_title(title)
    result = judged(profile, curves, study, alpha)
    finish(figure, f"{study['title']}: what a step costs", _notes(profile, study, result, alpha))
    return figure


def step_parts(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Median seconds of parts that lie beside each other, from the profile's."""
    medians = {part: float(np.median(values)) for part, values in seconds.items()}
    medians["other_optimizer"] = medians["optimizer"] - medians["newton_schulz"]
    return {part: medians[part] for part in PARTS}


def sentence(result: CostBenefit) -> str:
    """The verdict in words."""
    cost = f"a step takes {result.cost:.2f} × as long"
    if result.verdict == "not estimable":
        return f"{cost}; whether that pays is not estimable"
    if not np.isfinite(result.break_even):
        return f"{cost}; {_WORDS[result.verdict]} (some runs never reach the loss)"
    return (
        f"{cost} and would pay up to {result.break_even:.2f} ×: {_WORDS[result.verdict]} "
        f"({result.saved:+.3g} s [{result.saved_low:.3g}, {result.saved_high:.3g}])"
    )


_WORDS = {"saves time": "it saves time", "costs time": "it costs time", "undecided": "undecided"}


def _stacked(axis: Axes, records: Sequence[dict]) -> None:
    columns = [step_parts(record["seconds"]) for record in records]
    bottom = np.zeros(len(records))
    for part, (label, colour) in PARTS.items():
        # What is in no part is a difference of medians, which may fall below 0.
        heights = 1e3 * np.array([max(column[part], 0.0) for column in columns])
        axis.bar(range(len(records)), heights, 0.55, bottom, color=colour, label=label)
        bottom += heights
    for i, record in enumerate(records):
        seconds = {part: np.median(values) for part, values in record["seconds"].items()}
        share_of_step = seconds["newton_schulz"] / seconds["step"]
        if share_of_step:
            text = f"Newton–Schulz\n{share_of_step:.0%} of the step"
            axis.annotate(text, (i, bottom[i]), ha="center", va="bottom", fontsize=7.5)
    axis.margins(y=0.18)
    axis.grid(axis="x", visible=False)


def _per_seed(axis: Axes, values: dict[str, pd.Series], styles: dict) -> None:
    """A dot for each seed, joined between arms, and the mean as a line where all came there; those
    that never did are counted."""
    joined = pd.DataFrame(values)
    for _, row in joined.iterrows():
        axis.plot(range(len(row)), row.where(np.isfinite(row)), color="#c8ced4", linewidth=0.8)
    for i, (arm, own) in enumerate(values.items()):
        there = own[np.isfinite(own)]
        axis.plot([i] * len(there), there, linestyle="none", marker=styles[arm]["marker"],
                  color=styles[arm].colour, markersize=4)  # fmt: skip
        if len(there) == len(own):
            axis.plot([i - 0.2, i + 0.2], [own.mean()] * 2, color=styles[arm].colour)
        else:
            text = f"{len(own) - len(there)} of {len(own)} {UNREACHED}"
            place = axis.get_xaxis_transform()
            axis.text(i, 0.98, text, transform=place, ha="center", va="top", fontsize=7)
    axis.set_xlim(-0.5, len(values) - 0.5)
    axis.margins(y=0.15)
    axis.set_ylim(bottom=0)
    axis.grid(axis="x", visible=False)


def _notes(profile: dict, study: dict, result: CostBenefit, alpha: float) -> list[str]:
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    arm, baseline = (labels[record["arm"]] for record in profile["arms"])
    rounds = len(profile["arms"][0]["seconds"]["step"])
    notes = study_notes(study, None)
    notes.insert(1, f"{arm} against {baseline}: {sentence(result)}")
    notes.insert(
        2,
        f"medians of {rounds} steps of each arm in turn · {profile['device']}, "
        f"{profile['threads']} thread{'s' if profile['threads'] != 1 else ''} · common loss "
        f"{study['target_loss']:.3g}, read between evaluations · interval: {1 - alpha:.0%}, "
        f"bootstrap over seeds and steps",
    )
    return notes
