"""Geometry, curvature and loss through quantization over the loss, not over time.

Two optimizers at one step have different losses, so a difference between their weights may be that
of an early and a late model. Over the loss, both are seen where they solve the task equally well.
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend, band, log_band, nothing
from muonlab.report.crowd import PALE, legend_styles
from muonlab.report.levels import Along, along, diverged_runs, evaluated, joined
from muonlab.report.measured import HIDDEN_COMPONENTS, hidden_mean, with_degradation
from muonlab.report.style import MUTED, ArmStyle, finish, log_axis, study_notes, use_style

CLOSE = 0.05  # share of an axis; labels of lines that are closer would overlap
WIDE = 2.5  # a loss that falls by more than this factor has a logarithmic axis
SHAPE = (
    ("spectral_entropy", "spectral entropy", False),
    ("effective_rank", "effective rank", False),
    ("condition_number", "condition number", True),
)
FLATNESS = (
    ("sharpness", "sharpness (top eigenvalue)", True),
    ("hessian_trace", "Hessian trace", True),
    ("directional_sharpness", "directional sharpness", False),
)


class Panel(NamedTuple):
    """One quantity that is drawn, its title, and whether its axis is logarithmic."""

    quantity: str
    title: str
    logarithmic: bool = False


@figure(
    title="geometry over the loss",
    section="geometry",
    caption="Geometry of the hidden layers' weight matrices over the {split} loss at which they "
    "had it, which falls to the right, on *{data}*. Each run's records are joined to its "
    "evaluations by straight lines. Lines are means over n = {n} seeds per arm (of the condition "
    "number, geometric means) as far as all runs of the arm came, bands {interval} t intervals; "
    "marks are the single runs at their ends. Dotted lines: the losses that every run of all arms "
    "passed. Protocol: {protocol}.",
)
def geometry_over_loss(
    geometry_records: pd.DataFrame,
    metrics: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
) -> Figure:
    """Spectral entropy, effective rank and condition number of the hidden layers over the loss.

    `geometry_records`: arm, seed, step, tensor, component, object, metric, value.
    """
    lost = diverged_runs(runs, summaries)
    curves = evaluated(metrics, study["training"]["evaluate_on"], lost)
    own = geometry_records[geometry_records.object == "weight"]
    hidden = own[own.component.isin(HIDDEN_COMPONENTS)]
    means = hidden if len(hidden) else own[own.component != "all"]
    means = means.groupby(["arm", "seed", "step", "metric"], sort=False).value.mean().reset_index()
    quantities = along(joined(means.rename(columns={"metric": "quantity"}), curves), lost)
    panels = [Panel(*panel) for panel in SHAPE]
    title = "hidden layers over the loss"
    return draw_over_loss(
        quantities, panels, study, title, f"{study['training']['evaluate_on']} loss"
    )


@figure(
    title="spectra over the loss",
    section="geometry",
    caption="Spectra of the hidden layers' weights (above) and of their change since the start "
    "(below) over the {split} loss at which they were measured, which falls to the right, on "
    "*{data}*. Lines are means over n = {n} seeds per arm (of the condition number, geometric "
    "means) as far as all runs of the arm came, with straight lines between snapshots; bands are "
    "{interval} t intervals, marks the single runs at their ends. Dotted lines: the losses that "
    "every run of all arms passed. Protocol: {protocol}.",
)
def spectra_over_loss(
    spectra_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> Figure:
    """The hidden layers' mean spectral metrics, of the weights and of their change, over the loss.

    `spectra_records`: arm, seed, point, step, loss, object, tensor, component, metric, index,
    value.
    """
    records = hidden_mean(spectra_records)
    records = records.assign(quantity=records.object + " " + records.metric)
    panels = [Panel(f"weight {name}", *said) for name, *said in SHAPE]
    panels += [
        Panel(f"from_start {name}", f"{said} of the change", logarithmic)
        for name, said, logarithmic in SHAPE
    ]
    quantities = along(records, diverged_runs(runs, summaries))
    loss = f"{study['training']['evaluate_on']} loss"
    return draw_over_loss(quantities, panels, study, "hidden spectra over the loss", loss)


@figure(
    title="curvature over the loss",
    section="curvature",
    caption="Curvature over the loss on one fixed training batch of *{data}*, which is also the "
    "loss whose curvature it is and falls to the right. Lines are means over n = {n} seeds per arm "
    "(on logarithmic axes, geometric means) as far as all runs of the arm came, with straight "
    "lines between snapshots; bands are {interval} t intervals, marks the single runs at their "
    "ends. Dotted lines: the losses that every run of all arms passed. Protocol: {protocol}.",
)
def curvature_over_loss(
    curvature_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> Figure:
    """Sharpness, Hessian trace and directional sharpness over the loss of the batch.

    `curvature_records`: arm, seed, point, step, loss, metric, index, value.
    """
    names = [name for name, *_ in FLATNESS]
    records = curvature_records[curvature_records["index"] == 0]
    records = records[records.metric.isin(names)].rename(columns={"metric": "quantity"})
    quantities = along(records, diverged_runs(runs, summaries))
    panels = [
        # A trace that is estimated below 0 has no place on a logarithmic axis.
        Panel(name, said, logarithmic and bool((records.value[records.quantity == name] > 0).all()))
        for name, said, logarithmic in FLATNESS
    ]
    title = "curvature over the loss"
    return draw_over_loss(quantities, panels, study, title, "loss on the batch that is measured")


@figure(
    title="quantization over the loss",
    section="quantization",
    caption="What fewer bits cost in test accuracy, over the test loss in full precision, which "
    "falls to the right, on *{data}*: a column for each number of bits, a row for each scheme. "
    "Lines are means over n = {n} seeds per arm as far as all runs of the arm came, with straight "
    "lines between snapshots; bands are {interval} t intervals, marks the single runs at their "
    "ends. Dotted lines: the losses that every run of all arms passed. Protocol: {protocol}.",
)
def quantization_over_loss(
    quantization_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> Figure:
    """The accuracy that each scheme and number of bits costs, over the loss in full precision.

    `quantization_records`: arm, seed, point, step, loss, scheme, bits, tensor, metric, value.
    """
    records = with_degradation(quantization_records)
    records = records[records.metric == "accuracy_drop"]
    schemes = list(dict.fromkeys(records.scheme))
    bits = sorted(set(records.bits), reverse=True)
    records = records.assign(quantity=records.scheme + " " + records.bits.astype(str))
    panels = [
        Panel(f"{scheme} {n}", f"{n} bits, {scheme.replace('_', ' ')}")
        for scheme in schemes
        for n in bits
    ]
    quantities = along(records, diverged_runs(runs, summaries))
    title = "accuracy lost in fewer bits, over the loss"
    return draw_over_loss(
        quantities, panels, study, title, "test loss in full precision", len(bits)
    )


def draw_over_loss(
    quantities: Along,
    panels: Sequence[Panel],
    study: dict,
    title: str,
    loss: str,
    across: int = 3,
) -> Figure:
    """One panel for each quantity, with a line for each arm and the levels that all runs passed."""
    use_style()
    lines = max(1, -(-len(panels) // across))
    figure, axes = plt.subplots(
        lines,
        across,
        figsize=(max(9.0, 2.4 * across), 1.2 + (1.7 if across > 3 else 2.3) * lines),
        squeeze=False,
        sharex=True,
        sharey="col" if across > 3 else False,
    )
    styles, levels = legend_styles(study["arms"]), quantities.levels(study["levels"])
    for axis, panel in zip(axes.flat, panels, strict=False):
        shown = [_line(axis, quantities, panel, *arm, study["alpha"]) for arm in styles.items()]
        axis.set_title(panel.title, fontsize=8.5 if across > 3 else None)
        if not any(shown):
            nothing(axis, "No run has values along its loss.")
            continue
        for level in levels[np.isfinite(levels)]:
            axis.axvline(level, color=MUTED, linewidth=0.8, linestyle=":", zorder=1)
        if panel.logarithmic:
            _few_labels(axis)
    _loss_axis(axes[0][0], quantities, list(styles))
    if not axes[0][0].texts:  # it has values
        _name_levels(axes[0][0], levels)
    for axis in axes[-1]:
        axis.set_xlabel(f"{loss}  →", fontsize=8)
    if across > 3:
        for axis in axes[:, 0]:
            axis.set_ylabel("accuracy lost", fontsize=8)
    arm_legend(figure, axes[0][0])
    finish(figure, f"{study['title']}: {title}", _notes(quantities, levels, study))
    return figure


def _line(
    axis: Axes, quantities: Along, panel: Panel, arm: str, style: ArmStyle, alpha: float
) -> bool:
    """The mean and band of one arm, and a mark at the end of each run; whether there are any."""
    rows = quantities.over_loss(arm, panel.quantity)
    # The line ends where a run lacks the quantity, as an update's before the first one.
    whole = np.isfinite(rows.value).groupby(rows.loss).transform("all")
    rows = rows[whole]
    if rows.empty:
        axis.plot([], [], **(style | {"marker": None}))
        return False
    if style.colour == PALE:
        band(axis, rows, style, rows.loss, alpha, shaded=False)
        return True
    draw = log_band if panel.logarithmic else band
    draw(axis, rows, style, rows.loss, alpha)
    ends = quantities.ends(arm, panel.quantity)
    axis.plot(
        ends.loss,
        ends.value,
        linestyle="none",
        marker=style["marker"],
        color=style.colour,
        markersize=3.2,
        mec="white",
        mew=0.5,
        zorder=4,
    )
    return True


def _name_levels(axis: Axes, levels: np.ndarray) -> None:
    """Numbers the lines of `levels` at their feet; numbers of lines that lie close to each other
    stand at different heights."""
    known, bottom = levels[np.isfinite(levels)], axis.get_ylim()[0]
    to_axis = axis.transData + axis.transAxes.inverted()
    places = [to_axis.transform((level, bottom))[0] for level in known]
    close = np.abs(np.diff(places)).min(initial=1) < CLOSE
    for i, level in enumerate(known):
        axis.text(
            level,
            0.02 + (0.17 * i if close else 0),
            f"loss {i + 1}",
            transform=axis.get_xaxis_transform(),
            fontsize=6.5,
            color=MUTED,
            rotation=90,
            ha="center",
            va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )


def _loss_axis(axis: Axes, quantities: Along, arms: Sequence[str]) -> None:
    """The loss falls to the right, on a logarithmic axis if it falls far."""
    losses = [own.loss for (arm, _), own in quantities.runs.items() if arm in arms]
    losses = pd.concat(losses) if losses else pd.Series(dtype=float)
    losses = losses[np.isfinite(losses) & (losses > 0)]
    if len(losses) and losses.max() > WIDE * losses.min():
        axis.set_xscale("log")
        log_axis(axis.xaxis)
    axis.margins(x=0.03)
    axis.invert_xaxis()


def _few_labels(axis: Axes) -> None:
    low, high = axis.get_ylim()
    if high / max(low, 1e-300) < 300:  # few decades: label 1, 2 and 5
        log_axis(axis.yaxis)


def _notes(quantities: Along, levels: np.ndarray, study: dict) -> list[str]:
    notes = study_notes(study)
    known = levels[np.isfinite(levels)]
    said = ", ".join(f"{level:.3g}" for level in known)
    told = f"dotted: losses that every run passed ({said})" if said else "no loss is common to all"
    notes.insert(1, f"{told} · marks: the ends of single runs")
    if quantities.diverged:
        count = len(quantities.diverged)
        notes.insert(2, f"left out, because diverged: {count} run{'s' if count != 1 else ''}")
    return notes
