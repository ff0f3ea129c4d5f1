"""Accuracy over bits, and where in the model the error arises."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.achieved import at_loss
from muonlab.report.bands import arm_legend
from muonlab.report.levels import diverged_runs, points, with_levels
from muonlab.report.measured import FULL
from muonlab.report.style import ArmStyle, arm_styles, finish, study_notes, use_style
from muonlab.statistics.intervals import mean_interval


@figure(
    title="accuracy over bits",
    section="quantization",
    caption="Test accuracy on *{data}* with the weight matrices in fewer bits, by scheme, at "
    "the lowest test loss that every run passed (interpolated between snapshots) and at the end; "
    "*fp* is full precision. Means over n = {n} seeds per arm, bars {interval} t intervals; "
    "diverged runs do not count for that loss and are left out of its row. Activations stay in "
    "full precision. *tensor, quantile* is the source's scheme, whose scale clips a thousandth of "
    "the weights; *mse* takes the scale of least squared error. Rows of at most 128 weights are "
    "quantized alike by channel and by group. Protocol: {protocol}.",
)
def quantization(
    quantization_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> Figure:
    """Test accuracy over bits, a column for each scheme, a row for each point of the run.

    `quantization_records`: arm, seed, point, step, loss, scheme, bits, tensor, metric, value. Full
    precision is the leftmost place of each panel. Bars are intervals over seeds.
    """
    use_style()
    rows = quantization_records[quantization_records.tensor == "all"]
    rows = rows[rows.metric == "accuracy"]
    lost = diverged_runs(runs, summaries)
    rows = with_levels(rows, ["scheme", "bits"], lost, study["levels"])
    lowest = points(study["levels"])[-1]
    level = rows.level[rows.point == lowest].iloc[0]
    shown = {lowest: at_loss(level), "end": "end"}
    schemes = [s for s in dict.fromkeys(rows.scheme) if s != FULL]
    bits = sorted(set(rows.bits), reverse=True)
    styles = arm_styles(study["arms"])
    figure, axes = plt.subplots(
        len(shown),
        max(1, len(schemes)),
        figsize=(max(6.4, 2.0 * len(schemes)), 5.2),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for line, (point, title) in zip(axes, shown.items(), strict=True):
        own = rows[(rows.point == point) & (rows.value.notna() | (point == "end"))]
        for axis, scheme in zip(line, schemes, strict=True):
            _accuracy(axis, own[own.scheme.isin([scheme, FULL])], bits, styles, study["alpha"])
        line[0].set_ylabel(f"{title}\ntest accuracy")
    for axis, scheme in zip(axes[0], schemes, strict=True):
        axis.set_title(scheme.replace("_", ", "))
    for axis in axes[-1]:
        axis.set_xlabel("bits")
    arm_legend(figure, axes[0][0])
    notes = study_notes(study, "bars: {} t interval of the mean")
    notes.insert(1, "weights only; activations in full precision · fp: full precision")
    finish(figure, f"{study['title']}: accuracy in fewer bits", notes)
    return figure


@figure(
    title="quantization error by layer",
    section="quantization",
    caption="Relative error ‖W − Ŵ‖ / ‖W‖ that quantization makes in each weight matrix at the "
    "end of training on *{data}*, by arm, scheme and bits: means over n = {n} seeds per arm. "
    "Intervals are in the table *quantization*. Protocol: {protocol}.",
)
def quantization_error(quantization_records: pd.DataFrame, study: dict) -> Figure:
    """Expected relative error ‖W − Ŵ‖/‖W‖ at the end, a map of layer × bits for each arm (across)
    and scheme (down); means over seeds."""
    use_style()
    rows = quantization_records[quantization_records.metric == "relative_error"]
    rows = rows[rows.point == "end"]
    schemes, tensors = list(dict.fromkeys(rows.scheme)), list(dict.fromkeys(rows.tensor))
    arms, bits = study["arms"], sorted(set(rows.bits), reverse=True)
    figure, axes = plt.subplots(
        max(1, len(schemes)),
        len(arms),
        figsize=(1.9 + 2.1 * len(arms), 1.3 + (0.45 + 0.24 * len(tensors)) * len(schemes)),
        squeeze=False,
    )
    top = rows.value.max() if len(rows) else 1.0
    for line, scheme in zip(axes, schemes, strict=False):
        for axis, arm in zip(line, arms, strict=True):
            own = rows[(rows.scheme == scheme) & (rows.arm == arm["name"])]
            _map(axis, own, tensors, bits, top)
            axis.set_title(f"{arm['label']}, {scheme.replace('_', ' ')}", fontsize=8)
            axis.tick_params(length=0, labelbottom=scheme == schemes[-1], labelleft=axis is line[0])
    for axis in axes[-1]:
        axis.set_xlabel("bits")
    notes = study_notes(study, None)
    notes.insert(1, "relative error of each weight matrix at the end, mean over seeds")
    finish(figure, f"{study['title']}: expected quantization error", notes)
    return figure


def _accuracy(
    axis: Axes,
    rows: pd.DataFrame,
    bits: Sequence[int],
    styles: dict[str, ArmStyle],
    alpha: float,
) -> None:
    count = len(styles)
    for i, (arm, style) in enumerate(styles.items()):
        own = rows[rows.arm == arm]
        intervals = [mean_interval(own[own.bits == b].value.to_numpy(), alpha) for b in bits]
        means = [own[own.bits == b].value.mean() for b in bits]
        reach = [[m - i.low for m, i in zip(means, intervals, strict=True)]]
        reach += [[i.high - m for m, i in zip(means, intervals, strict=True)]]
        x = np.arange(len(bits)) + 0.12 * (i - (count - 1) / 2)  # the arms side by side
        axis.errorbar(x, means, yerr=reach, **style, markersize=3.5, linewidth=1.2, elinewidth=0.9)
    axis.set_xticks(range(len(bits)), ["fp" if b == max(bits) else str(b) for b in bits])
    axis.grid(axis="x", visible=False)
    axis.set_ylim(0, 1.02)


def _map(axis: Axes, rows: pd.DataFrame, tensors: list, bits: list, top: float) -> None:
    table = rows.pivot_table(index="tensor", columns="bits", values="value", aggfunc="mean")
    table = table.reindex(index=tensors, columns=bits)
    table.index = [name.removesuffix(".weight") for name in tensors]
    # seaborn draws the whole figure for each map, to see whether its labels overlap. With all other
    # panels visible, that takes longer than everything else.
    others = [other for other in axis.figure.axes if other is not axis]
    plt.setp(others, visible=False)
    sns.heatmap(
        table,
        ax=axis,
        vmin=0,
        vmax=top,
        cmap="cividis",
        annot=True,
        fmt=".2f",
        annot_kws={"fontsize": 7},
        cbar=False,
        linewidths=0.5,
    )
    plt.setp(others, visible=True)
    axis.set(xlabel="", ylabel="")
    axis.tick_params(labelsize=7.5, labelrotation=0)
