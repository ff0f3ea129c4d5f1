"""How the time of a step divides into parts, and whether its cost is paid back."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.overhead import Race, judged, race
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
from muonlab.statistics.cost_benefit import CostBenefit

# Parts that add up to a step; `orthogonalization` is subtracted from `optimizer`.
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


@figure(
    title="what a step costs",
    section="overhead",
    caption="How the time of a step divides into parts in **{title}** on *{data}*: medians of each "
    "part over steps of both arms in turn, and, for each seed, steps and seconds to the lowest "
    "loss that every run of both arms came to, interpolated between evaluations. Seconds are steps "
    "times the median time of a step, without evaluations. The line below the figure weighs the "
    "cost of a step against the steps that it saves; its interval is a bootstrap over the n = {n} "
    "paired seeds and over the timed steps, which is too narrow with few seeds. No other job of "
    "the workflow ran during the profile, but other programs may have. Protocol: {protocol}.",
)
def overhead(
    profile: dict,
    overhead_metrics: pd.DataFrame,
    overhead_runs: Sequence[dict],
    overhead_summaries: Sequence[dict],
    study: dict,
) -> Figure:
    """Milliseconds of a step by part, and steps and seconds to one loss for each seed."""
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
    to_loss = race(overhead_metrics, overhead_runs, overhead_summaries, study)
    seconds = {
        record["arm"]: to_loss.steps[record["arm"]] * np.median(record["seconds"]["step"])
        for record in profile["arms"]
    }
    styles = arm_styles(study["arms"])
    for axis, values, title in (
        (axes[2], {name: to_loss.steps[name] for name in names}, "Steps to the loss"),
        (axes[3], seconds, "Seconds to the loss"),
    ):
        _per_seed(axis, values, styles)
        axis.set_xticks(range(len(names)), [labels[name] for name in names])
        axis.set_title(title)
    notes = _notes(profile, study, to_loss)
    finish(figure, f"{study['title']}: what a step costs", notes)
    return figure


def step_parts(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Median seconds of the parts of a step, which do not overlap, from the profile's sections."""
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
        # The rest of a step is a difference of medians, which may be below 0.
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
    """A dot for each seed, joined between arms. The mean is a line if all seeds reached the loss;
    otherwise those that never did are counted."""
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


def _notes(profile: dict, study: dict, to_loss: Race) -> list[str]:
    result = judged(profile, to_loss, study["alpha"])
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    arm, baseline = (labels[record["arm"]] for record in profile["arms"])
    rounds = len(profile["arms"][0]["seconds"]["step"])
    notes = study_notes(study, None)
    notes.insert(1, f"{arm} against {baseline}: {sentence(result)}")
    notes.insert(
        2,
        f"medians of {rounds} steps of each arm in turn · {profile['device']}, "
        f"{profile['threads']} thread{'s' if profile['threads'] != 1 else ''} · loss "
        f"{to_loss.loss:.3g}, interpolated between evaluations · interval: "
        f"{study['interval']}, bootstrap over seeds and steps",
    )
    return notes
