"""Weight norms, gradient norms and relative updates of a model's components over training."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend, band, log_band, nothing
from muonlab.report.style import ArmStyle, arm_styles, finish, log_axis, study_notes, use_style

RATIO = "gradient_flow_ratio"
FORWARD, ALL = "forward", "all"  # rows about the forward pass, and about all tensors together
SIZES = {
    "gradient_norm": "gradient norm",
    "weight_norm": "weight norm",
    "relative_update": "relative update ‖ΔW‖/‖W‖",
}
# metric, title, how the values of a run's layers become one number, whether the axis is logarithmic
PASS = (
    ("activation_rms", "activation RMS, last layer", "last", False),
    ("attention_logit_max", "largest |attention logit|", "max", False),
    (RATIO, "gradient norm, first / last layer", None, True),
)


@figure(
    title="components over training",
    section="components",
    caption="Each component of the model over training on *{data}*: norm of the gradient before "
    "clipping, norm of the weights, and relative update; in the last row the forward pass: root "
    "mean square of the residual stream after the last layer, largest attention logit of any layer "
    "and head, and gradient norm of the first layer over that of the last. Shown are the first two "
    "tuned arms; lines are means over n = {n} seeds per arm (geometric means for norms and "
    "ratios), bands {interval} t intervals. All layers and all other metrics are in each run's "
    "``records/components.parquet``. Protocol: {protocol}.",
)
def components(main_component_records: pd.DataFrame, study: dict) -> Figure:
    """A row for each component, over steps: norms of gradient and weights, and relative update; a
    last row for the forward pass. Means and bands over seeds.

    `main_component_records`: arm, seed, step, component, layer, metric, value, of the arms that are
    shown. A norm is that of all tensors of a component as one vector; means of norms are geometric.
    """
    use_style()
    records, alpha = main_component_records, study["alpha"]
    shown = [arm for arm in study["arms"] if arm["name"] in set(records.arm)]
    styles = arm_styles(shown)
    whole = records[records.layer.isna()]
    named = whole[~whole.component.isin([FORWARD])].component
    names = sorted(dict.fromkeys(named), key=lambda name: name == ALL)
    rows = len(names) + 1
    figure, axes = plt.subplots(
        rows, len(SIZES), figsize=(9.4, 1.2 + 1.32 * rows), squeeze=False, sharex=True
    )
    for line, component in zip(axes, names, strict=False):
        own = whole[whole.component == component]
        for axis, metric in zip(line, SIZES, strict=True):
            _follow(axis, own[own.metric == metric], styles, alpha, log_band)
        line[0].set_ylabel("all tensors" if component == ALL else component.replace("_", " "))
    for axis, title in zip(axes[0], SIZES.values(), strict=True):
        axis.set_title(title)
    for axis, (metric, title, layers, logarithmic) in zip(axes[-1], PASS, strict=True):
        own = _over_layers(records[records.metric == metric], layers)
        axis.set_title(title)
        if metric == RATIO and records.layer.nunique() < 2:
            nothing(axis, "the model has one layer")
            continue
        _follow(axis, own, styles, alpha, log_band if logarithmic else band)
        axis.set_xlabel("step")
    axes[-1][0].set_ylabel("whole model")
    arm_legend(figure, axes[0][0])
    notes = study_notes(study | {"arms": shown})
    notes.insert(1, "gradients before clipping · norms and ratios: geometric means over seeds")
    finish(figure, f"{study['title']}: components", notes)
    return figure


def _follow(axis: Axes, rows: pd.DataFrame, styles: dict, alpha: float, draw: Callable) -> None:
    for arm, style in styles.items():
        own = rows[rows.arm == arm]
        if len(own):
            draw(axis, own, ArmStyle(style | {"linewidth": 1.3}), own.step, alpha)
    if axis.get_yscale() == "log":
        _label(axis)
    axis.margins(x=0.01)


def _over_layers(rows: pd.DataFrame, how: str | None) -> pd.DataFrame:
    """One value for each run and step: the largest over layers, or that of the last layer."""
    if how is None:
        return rows[rows.layer.isna() & (rows.component == ALL)]
    if how == "last":
        return rows[rows.layer == rows.layer.max()]
    keys = ["arm", "seed", "step"]
    return rows.groupby(keys, sort=False).value.max().reset_index()


def _label(axis: Axes) -> None:
    """Labels the axis: linearly over less than a third of a decade, at 1, 2 and 5 over a few."""
    low, high = axis.get_ylim()
    if not (np.isfinite([low, high]).all() and low > 0):
        return
    if high / low < 2.2:
        axis.set_yscale("linear")
    elif high / low < 300:
        log_axis(axis.yaxis)
