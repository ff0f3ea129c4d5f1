"""Panels about the layers of a transformer: one for each component, layers by shade, tokens above.

Shared by the figures that are drawn from layer_dynamics.csv and from the records of components.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from muonlab.report.bands import arm_legend, band, log_band
from muonlab.report.layers import components_of, mean_over_layers
from muonlab.report.style import (
    MUTED,
    ArmStyle,
    arm_styles,
    finish,
    log_axis,
    study_notes,
    use_style,
)

COLUMNS = 4  # most panels in a row
SIZE = (2.45, 2.0)  # inches of a panel
# Ratios of an axis' ends up to which it is linear, and up to which 1, 2 and 5 of each decade are
# labelled.
LINEAR, MOST_LABELS = 5, 300


def main_arms(study: Mapping) -> list[dict]:
    """The first two tuned arms, of which figures with a panel for each arm are made."""
    return [arm for arm in study["arms"] if arm.get("tuned", True)][:2]


def words(component: str) -> str:
    return component.replace("_", " ")


def component_grid(components: Sequence[str], extra: float = 0.0) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each component, and its panels by component."""
    columns = columns_of(len(components))
    rows = max(1, -(-len(components) // columns))
    size = (max(6.4, SIZE[0] * columns), 1.25 + extra + SIZE[1] * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat[len(components) :]:
        axis.set_axis_off()
    found = dict(zip(components, axes.flat, strict=False))
    for component, axis in found.items():
        axis.set_title(words(component))
    return figure, found


def columns_of(count: int) -> int:
    """The number of panels in a row, so that as few places as possible stay empty."""
    if count <= COLUMNS:
        return max(1, count)
    return min((COLUMNS, COLUMNS - 1), key=lambda columns: -count % columns)


def over_training(
    table: pd.DataFrame,
    column: str,
    study: Mapping,
    label: str,
    reference: float | None = None,
    logarithmic: bool = False,
) -> Figure:
    """The mean over layers of one column of layer_dynamics.csv over steps, in one panel for each
    component: lines over seeds with bands; `reference` is drawn as a dotted line."""
    means = mean_over_layers(table[table[column].notna()], column)
    figure, panels = component_grid(components_of(table))
    styles = arm_styles(study["arms"])
    draw = log_band if logarithmic else band
    for component, axis in panels.items():
        own = means[means.component == component]
        for arm, style in styles.items():
            rows = own[own.arm == arm]
            line = ArmStyle(style | {"linewidth": 1.4})
            if len(rows):
                draw(axis, rows, line, rows.step, study["alpha"])
            else:
                axis.plot([], [], **(line | {"marker": None}))
        if reference is not None:
            axis.axhline(reference, color=MUTED, linewidth=0.9, linestyle=":")
        if logarithmic:
            readable_log(axis)
        axis.margins(x=0.01)
    label_rows(panels, label)
    step_axes(list(panels.values()), tokens_per_step(table))
    arm_legend(figure, next(iter(panels.values())))
    return figure


def over_depth(
    table: pd.DataFrame, column: str, study: Mapping, panels: Mapping[str, Axes], alpha: float
) -> None:
    """One column over layers in a panel for each component, as means over seeds with bands."""
    for component, axis in panels.items():
        own = table[table.component == component]
        for arm, style in arm_styles(study["arms"]).items():
            rows = own[own.arm == arm].rename(columns={column: "value"})
            line = ArmStyle(style | {"linewidth": 1.4})
            if len(rows):
                band(axis, rows, line, rows.layer, alpha)
            else:
                axis.plot([], [], **(line | {"marker": None}))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axis.set_xlabel("layer")


def layer_lines(
    axis: Axes, rows: pd.DataFrame, colour: str, layers: Sequence[int], x: str = "step"
) -> None:
    """One line for each layer over `x`, the mean over seeds of `value`; early layers are pale,
    late ones dark."""
    for layer, shade in zip(layers, shades(colour, len(layers)), strict=True):
        means = rows[rows.layer == layer].groupby(x).value
        means = means.mean(skipna=False)
        axis.plot(means.index, means.to_numpy(), color=shade, linewidth=1.2)
    axis.margins(x=0.01)


def layer_grid(
    rows: Sequence[tuple[str, pd.DataFrame]],
    study: Mapping,
    per_step: float,
    mark: Callable[[Axes, pd.DataFrame], None] = lambda axis, own: None,
) -> Figure:
    """A row of panels for each (label, records), a column for each main arm: lines by layer over
    steps. Records: arm, seed, step, layer, value. `mark` draws more into a panel. Panels of a row
    share their axis, which is logarithmic."""
    arms = main_arms(study)
    styles = arm_styles(study["arms"])
    figure, axes = plt.subplots(
        len(rows),
        len(arms),
        figsize=(7.6, 1.5 + 1.45 * len(rows)),
        squeeze=False,
        sharex=True,
        sharey="row",
    )
    layers = sorted({int(n) for _, own in rows for n in own.layer.dropna()})
    for line, (label, own) in zip(axes, rows, strict=True):
        for axis, arm in zip(line, arms, strict=True):
            cell = own[own.arm == arm["name"]]
            layer_lines(axis, cell, styles[arm["name"]].colour, layers)
            mark(axis, cell)
            axis.set_yscale("log")
        readable_log(line[0])
        line[0].set_ylabel(label)
    for axis, arm in zip(axes[0], arms, strict=True):
        axis.set_title(arm["label"])
    step_axes(list(axes.flat), per_step, only=(axes[0], axes[-1]))
    return figure


def layer_figure(
    rows: Sequence[tuple[str, pd.DataFrame]],
    study: Mapping,
    title: str,
    per_step: float,
    mark: Callable[[Axes, pd.DataFrame], None] = lambda axis, own: None,
    notes: Sequence[str] = (),
) -> Figure:
    """`layer_grid` with its title, its notes and the legend of its layers."""
    use_style()
    figure = layer_grid(rows, study, per_step, mark)
    about, *rest = study_notes(study, "lines: means over seeds")
    finish(figure, f"{study['title']}: {title}", [about, *notes, *rest])
    layer_bar(figure, study, pd.concat([own.layer for _, own in rows]))
    return figure


def shades(colour: str, count: int) -> list[tuple]:
    """`count` shades from a pale tint of the colour to a dark shade of it."""
    return [shade_map(colour)(place) for place in np.linspace(0, 1, count)]


def shade_map(colour: str) -> LinearSegmentedColormap:
    base = np.array(to_rgb(colour))
    ends = [1 - 0.35 * (1 - base), base, 0.45 * base]
    return LinearSegmentedColormap.from_list("shades", ends)


def layer_bar(figure: Figure, study: Mapping, layers: Iterable[float]) -> None:
    """A legend of the layers' shades at the top right, one strip for each main arm. Call it after
    `style.finish`, whose layout cannot hold these strips."""
    colours = [arm_styles(study["arms"])[arm["name"]].colour for arm in main_arms(study)]
    layers = sorted({int(layer) for layer in layers if layer >= 0})
    if not layers:
        return
    height, width = figure.get_figheight(), figure.get_figwidth()
    for i, colour in enumerate(colours):
        place = (1 - 1.75 / width, 1 - (0.16 + 0.11 * i) / height, 1.1 / width, 0.09 / height)
        strip = figure.add_axes(place)
        strip.imshow(
            np.linspace(0, 1, 64)[None], aspect="auto", cmap=shade_map(colour), norm=Normalize(0, 1)
        )
        strip.set_axis_off()
    ends = ((1 - 1.8 / width, "right", f"layer {layers[0]}"), (1 - 0.6 / width, "left", layers[-1]))
    for x, side, text in ends:
        figure.text(x, 1 - 0.07 / height, str(text), ha=side, va="top", fontsize=8, color=MUTED)


def tokens_per_step(table: pd.DataFrame) -> float:
    """Tokens of one update, from records with `step` and `tokens`; NaN without an update."""
    last = table[table.step > 0]
    return float(last.tokens.iloc[-1] / last.step.iloc[-1]) if len(last) else np.nan


def step_axes(
    axes: Sequence[Axes], per_step: float, only: tuple[Sequence[Axes], Sequence[Axes]] | None = None
) -> None:
    """Names the axes of steps, and gives them a second axis above, in tokens.

    `only` are the axes that have the upper and the lower labels; by default each axis has both.
    """
    above, below = only or (axes, axes)
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    for axis in below:
        axis.set_xlabel("step")
    if not np.isfinite(per_step) or per_step <= 0:
        return
    for axis in above:
        upper = axis.secondary_xaxis(
            "top", functions=(lambda step: step * per_step, lambda tokens: tokens / per_step)
        )
        upper.xaxis.set_major_locator(MaxNLocator(nbins=4))
        upper.xaxis.set_major_formatter(EngFormatter(sep=""))
        upper.tick_params(labelsize=7, colors=MUTED, pad=0, length=2)
        upper.spines["top"].set_color(MUTED)
        axis.set_title(axis.get_title(loc="left"), pad=14)
    above[0].annotate(
        "tokens", (1, 1), (2, 3), "axes fraction", "offset points", fontsize=7, color=MUTED
    )


def label_rows(panels: Mapping[str, Axes], label: str) -> None:
    """Writes the label of the vertical axis beside the first panel of each row."""
    for i, axis in enumerate(panels.values()):
        if i % columns_of(len(panels)) == 0:
            axis.set_ylabel(label)


def readable_log(axis: Axes) -> None:
    """Makes a logarithmic axis linear where it spans less than `LINEAR`, and labels 1, 2 and 5 of
    each decade where it spans few of them."""
    low, high = axis.get_ylim()
    if not (np.isfinite([low, high]).all() and low > 0):
        return
    if high / low < LINEAR:
        axis.set_yscale("linear")
    elif high / low < MOST_LABELS:
        log_axis(axis.yaxis)


def last_records(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last record."""
    last = table.groupby(["arm", "seed"]).step.transform("max")
    return table[table.step == last]


def by_component(table: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """(label, records) of `layer_grid` for each component, with `column` as the value."""
    for component in components_of(table):
        own = table[(table.component == component) & table[column].notna()]
        yield words(component), own.rename(columns={column: "value"})
