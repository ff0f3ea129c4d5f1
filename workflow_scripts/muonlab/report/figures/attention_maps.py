"""Where the attention of finished models looks: entropy and distance by layer, and maps."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend
from muonlab.report.style import ArmStyle, arm_styles, finish, study_notes, use_style

METRICS = {
    "relative_entropy": "entropy over that of uniform attention",
    "mean_distance": "mean distance (tokens)",
}
MOST = 4  # arms whose maps are shown
DARKEST = 0.98  # quantile of the shown probabilities at the dark end of the colours


@figure(
    title="attention",
    section="evaluation",
    caption="Attention of the tuned arms of **{title}** at the end, on validation text of "
    "*{data}*. Above: entropy of each layer's attention over that of uniform attention, and how "
    "far back it looks on average; means over heads, bars {interval} t intervals over n = {n} "
    "seeds, small marks single heads. Below: probability of each key for each query, mean over "
    "heads, windows and seeds, first and last layer. Protocol: {protocol}.",
)
def attention(
    attention_patterns_records: pd.DataFrame, attention: pd.DataFrame, study: dict
) -> Figure:
    """Above: entropy and distance by layer. Below: the maps of the first and the last layer."""
    use_style()
    arms = [arm for arm in study["arms"] if arm["tuned"]][:MOST]
    styles = arm_styles(arms)
    records = attention_patterns_records
    maps = records[records.metric == "map"]
    layers = sorted(set(maps.layer))
    shown = sorted({layers[0], layers[-1]}) if layers else []
    columns = max(2, len(arms) * len(shown))
    drawn = plt.figure(figsize=(max(7.0, 2.1 * columns), 5.6))
    grid = drawn.add_gridspec(2, 2 * columns, height_ratios=(1.15, 1))
    for i, (metric, title) in enumerate(METRICS.items()):
        axis = drawn.add_subplot(grid[0, i * columns : (i + 1) * columns])
        _by_layer(axis, attention[attention.metric == metric], records, metric, styles)
        axis.set_title(title)
        axis.set_xlabel("layer")
    arm_legend(drawn, drawn.axes[0])
    _maps(drawn, grid, maps, arms, shown)
    notes = study_notes(study, "bars: {} t interval of the mean over heads; small marks: heads")
    notes.insert(
        1,
        "maps: query down, key to the right; darker is more, logarithmic, one scale for each layer",
    )
    finish(drawn, f"{study['title']}: attention at the end", notes)
    return drawn


def _by_layer(
    axis: Axes, table: pd.DataFrame, records: pd.DataFrame, metric: str, styles: dict[str, ArmStyle]
) -> None:
    heads = records[records.metric == metric].groupby(["arm", "layer", "head"]).value.mean()
    for i, (arm, style) in enumerate(styles.items()):
        own = table[table.arm == arm].sort_values("layer")
        if own.empty:
            continue
        x = own.layer.to_numpy() + 0.12 * (i - (len(styles) - 1) / 2)
        axis.plot(x, own["mean"], **style, markersize=5)
        axis.vlines(x, own.low, own.high, color=style.colour, linewidth=1.5)
        for place, layer in zip(x, own.layer, strict=True):
            each = heads[arm, layer]
            axis.plot(np.full(len(each), place), each, "_", color=style.colour, ms=5, alpha=0.6)
    axis.set_xticks(sorted(set(table.layer)))
    axis.margins(x=0.15)


def _maps(drawn: Figure, grid, maps: pd.DataFrame, arms: list[dict], shown: list[int]) -> None:
    means = maps.groupby(["arm", "layer", "row", "column"]).value.mean()
    place = 0
    for layer in shown:
        values = means[means.index.get_level_values("layer") == layer]
        seen = values[values > 0]
        ends = (seen.quantile(1 - DARKEST), seen.quantile(DARKEST)) if len(seen) else (0.5, 1.0)
        scale = LogNorm(*ends)
        for arm in arms:
            axis = drawn.add_subplot(grid[1, 2 * place : 2 * place + 2])
            place += 1
            if arm["name"] not in means.index.get_level_values("arm"):
                axis.set_axis_off()
                continue
            shown_map = means[arm["name"], layer].unstack()
            axis.imshow(shown_map.where(shown_map > 0), cmap="cividis_r", norm=scale)
            axis.set_title(f"{arm['label']}, layer {layer}", fontsize=8.5)
            axis.grid(visible=False)
            axis.set_xticks([])
            axis.set_yticks([])
