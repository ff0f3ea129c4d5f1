"""Accuracy over bits, and where in the model the error arises."""

from collections.abc import Mapping, Sequence
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from muonlab.declare import figure
from muonlab.report.achieved import at_loss
from muonlab.report.bands import arm_legend
from muonlab.report.crowd import is_crowd, legend_styles, main_arms
from muonlab.report.levels import diverged_runs, points, with_levels
from muonlab.report.measured import FULL
from muonlab.report.style import MUTED, ArmStyle, finish, study_notes, use_style
from muonlab.statistics.intervals import mean_interval

FOUR = 4  # the bits at which schemes and arms still differ, and at which a model is still of use


@figure(
    title="accuracy over bits",
    section="quantization",
    caption="Test accuracy on *{data}* with the weight matrices in fewer bits, by scheme, at "
    "the lowest test loss that every run passed (interpolated between snapshots) and at the end; "
    "*fp* is full precision. Means over n = {n} seeds per arm, bars {interval} t intervals, cut "
    "off at 0 and 1; diverged runs do not count for that loss and are left out of its row. Below: "
    "the accuracy that an arm has in 4 bits minus that of the first arm, seed by seed, with "
    "{interval} intervals that are not corrected for their number. Activations stay in full "
    "precision. *tensor, quantile* is the source's scheme, whose scale clips a thousandth of the "
    "weights; *mse* takes the scale of least squared error. A scheme that gives every run the same "
    "accuracies as another is named beside it. Protocol: {protocol}.",
)
def quantization(
    quantization_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> Figure:
    """Test accuracy over bits, a column for each scheme, a row for each point of the run, and below
    the differences between arms in 4 bits.

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
    schemes = distinct_schemes(rows)
    bits = sorted(set(rows.bits), reverse=True)
    main = set(main_arms(study["arms"])) if is_crowd(study["arms"]) else None
    styles = {
        arm: style
        for arm, style in legend_styles(study["arms"]).items()
        if main is None or arm in main
    }
    below = FOUR in bits and len(styles) > 1
    figure = plt.figure(figsize=(max(6.4, 2.2 * len(schemes)), 7.2 if below else 5.0))
    grid = figure.add_gridspec(len(shown) + below, 2 * max(1, len(schemes)))
    first = None
    for i, (point, title) in enumerate(shown.items()):
        own = rows[(rows.point == point) & (rows.value.notna() | (point == "end"))]
        for j, scheme in enumerate(schemes):
            axis = figure.add_subplot(grid[i, 2 * j : 2 * j + 2], sharex=first, sharey=first)
            first = first or axis
            _accuracy(axis, own[own.scheme.isin([scheme, FULL])], bits, styles, study["alpha"])
            if i == 0:
                names = "\n".join(name.replace("_", ", ") for name in schemes[scheme])
                axis.set_title(names, fontsize=8.5)
            axis.tick_params(labelleft=j == 0)
            if j == 0:
                axis.set_ylabel(f"{title}\ntest accuracy")
    if below:
        _below(figure, grid, rows, shown, list(schemes), styles, study)
    arm_legend(figure, first)
    notes = study_notes(study, "bars: {} t interval of the mean")
    notes.insert(1, "weights only; activations in full precision · fp: full precision")
    if main is not None:
        left = len(study["arms"]) - len(styles)
        notes.insert(2, f"{left} other arms are in the table quantization")
    finish(figure, f"{study['title']}: accuracy in fewer bits", notes)
    return figure


def distinct_schemes(rows: pd.DataFrame) -> dict[str, list[str]]:
    """The schemes that differ, each with the names of all that give the very same accuracies."""
    keys = ["arm", "seed", "point", "bits"]
    found: dict[str, list[str]] = {}
    values = {}
    for scheme in dict.fromkeys(rows.scheme):
        if scheme == FULL:
            continue
        own = rows[rows.scheme == scheme].set_index(keys).value.sort_index()
        twin = next((other for other, known in values.items() if known.equals(own)), None)
        if twin is None:
            values[scheme], found[scheme] = own, [scheme]
        else:
            found[twin].append(scheme)
    return found


def _below(
    figure: Figure,
    grid: GridSpec,
    rows: pd.DataFrame,
    shown: Mapping[str, str],
    schemes: Sequence[str],
    styles: Mapping,
    study: dict,
) -> None:
    """The row of panels with the differences in 4 bits, one for each point of the run."""
    width, first = grid.ncols // len(shown), None
    for i, (point, title) in enumerate(shown.items()):
        part = grid[grid.nrows - 1, i * width : (i + 1) * width]
        axis = figure.add_subplot(part, sharey=first)
        _differences(axis, rows[rows.point == point], schemes, styles, study)
        axis.set_title(f"in {FOUR} bits, {title}")
        if first is not None:
            axis.set_ylabel("")
            axis.tick_params(labelleft=False)
        first = first or axis


def _differences(
    axis: Axes, rows: pd.DataFrame, schemes: Sequence[str], styles: Mapping, study: dict
) -> None:
    """Paired differences of the accuracy in 4 bits from the first arm, the schemes side by side."""
    axis.axhline(0, color=MUTED, linewidth=0.9)
    (reference, *others), alpha = list(styles), study["alpha"]
    own = rows[rows.bits == FOUR]
    for i, arm in enumerate(others):
        style = styles[arm]
        for j, scheme in enumerate(schemes):
            wide = own[own.scheme == scheme].pivot_table(
                index="seed", columns="arm", values="value"
            )
            if not {arm, reference} <= set(wide):
                continue
            found = mean_interval((wide[arm] - wide[reference]).dropna().to_numpy(), alpha)
            x = j + 0.16 * (i - (len(others) - 1) / 2)
            if np.isfinite(found.low):
                axis.vlines(x, found.low, found.high, color=style.colour, linewidth=1.1)
            axis.plot(x, found.mean, style["marker"], color=style.colour, markersize=4)
    names = [scheme.replace("_", "\n") for scheme in schemes]
    axis.set_xticks(range(len(schemes)), names, fontsize=7)
    axis.set_xlim(-0.6, len(schemes) - 0.4)
    axis.grid(axis="x", visible=False)
    label = next(arm["label"] for arm in study["arms"] if arm["name"] == reference)
    axis.set_ylabel(f"accuracy − {label}'s")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))


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
            axis.tick_params(length=0, labelbottom=scheme == schemes[-1], labelleft=axis is line[0])
        line[0].set_ylabel(scheme.replace("_", "\n"))
    for axis, arm in zip(axes[0], arms, strict=True):
        axis.set_title("\n".join(wrap(arm["label"], 24)), fontsize=8)
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
        # An accuracy lies between 0 and 1, whatever the t interval says.
        reach = [[m - max(0.0, i.low) for m, i in zip(means, intervals, strict=True)]]
        reach += [[min(1.0, i.high) - m for m, i in zip(means, intervals, strict=True)]]
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
