"""How evenly tokens are distributed over a model's experts, at the end and over training."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import band
from muonlab.report.crowd import PALE, legend_styles
from muonlab.report.style import finish, study_notes, use_style

END = 0.2  # the load at the end is averaged over the records of this last fraction of the steps
ENTROPIES = {
    "expert_load_entropy": "entropy of the load / ln E",
    "router_entropy": "entropy of the router, mean over tokens / ln E",
}


@figure(
    title="load of the experts",
    section="components",
    caption="Above: fraction of the routed slots that each expert received, by layer, over the "
    "last fifth of training on *{data}*. Experts are ranked in each run and layer, from the most "
    "to the least used, and then averaged over n = {n} seeds per arm: which expert is used most "
    "differs from seed to seed. Below: entropy of the load and of the router's probabilities, "
    "over the logarithm of the number of experts (1 is even), means over layers, lines over "
    "seeds, bands {interval} t intervals. Measured on training batches. Protocol: {protocol}.",
)
def experts(expert_records: pd.DataFrame, study: dict) -> Figure:
    """Above: each tuned arm's load at the end, by layer, from the most to the least used expert.
    Below: entropy of the load and of the router over steps, means over layers, of all arms.

    `expert_records`: arm, seed, step, layer, index, metric, value. The load is the fraction of
    routed slots. Which expert is used most differs from seed to seed: experts are ranked in each
    run and layer before anything is averaged, or an uneven load would look even.
    """
    use_style()
    ranked = ranked_load(expert_records)
    tuned = [arm for arm in study["arms"] if arm["tuned"]][:4]
    layers, count = sorted(set(ranked.layer)), int(ranked["rank"].max())
    tall = 0.9 + 0.3 * len(layers)
    low = 2.8
    figure = plt.figure(figsize=(11.0, 1.1 + tall + low))
    # One flat grid: nested grids would leave no room for the names between panels.
    grid = figure.add_gridspec(2, 2 * len(tuned), height_ratios=(tall, low))
    top = max(ranked.value.max(), 1.5 / count)
    for i, arm in enumerate(tuned):
        axis = figure.add_subplot(grid[0, 2 * i : 2 * i + 2])
        _load(axis, ranked[ranked.arm == arm["name"]], top, arm["label"])
    for i, (metric, title) in enumerate(ENTROPIES.items()):
        axis = figure.add_subplot(grid[1, i * len(tuned) : (i + 1) * len(tuned)])
        _entropy(axis, expert_records[expert_records.metric == metric], study, title)
    notes = study_notes(study)
    notes.insert(
        1,
        f"load: share of routed slots in the batches of the last {END:.0%} of the steps, ranked in "
        f"each run and layer; {1 / count:.2g} is even",
    )
    finish(figure, f"{study['title']}: load of the experts", notes)
    return figure


def ranked_load(records: pd.DataFrame) -> pd.DataFrame:
    """arm, layer, rank, value: the load of each run's most used expert (rank 1) to its least used,
    in each layer, averaged over the records of the last fifth of training and then over seeds."""
    load = records[records.metric == "expert_load"]
    # Of each run's own training: some arms make twice as many updates as others.
    late = load[load.step >= (1 - END) * load.groupby(["arm", "seed"]).step.transform("max")]
    of_run = late.groupby(["arm", "seed", "layer", "index"], sort=False).value.mean().reset_index()
    order = of_run.groupby(["arm", "seed", "layer"]).value.rank(method="first", ascending=False)
    of_run["rank"] = order.astype(int)
    means = of_run.groupby(["arm", "layer", "rank"], sort=False).value
    return means.mean(skipna=False).reset_index()


def _load(axis: Axes, rows: pd.DataFrame, top: float, title: str) -> None:
    table = rows.pivot(index="layer", columns="rank", values="value")
    axis.imshow(table, cmap="cividis_r", vmin=0, vmax=top, aspect="auto")
    for y, row in enumerate(table.to_numpy()):
        for x, value in enumerate(row):
            if len(row) <= 16 and np.isfinite(value):
                ink = "white" if value > 0.6 * top else "black"
                axis.text(x, y, f"{value:.2f}"[1:], ha="center", va="center", fontsize=7, color=ink)
    axis.set_xticks(range(table.shape[1]), list(table.columns))
    axis.set_yticks(range(len(table)), [str(int(layer)) for layer in table.index])
    axis.set(xlabel="expert, from most to least used", ylabel="layer", title=title)
    axis.grid(visible=False)


def _entropy(axis: Axes, rows: pd.DataFrame, study: dict, title: str) -> None:
    means = rows.groupby(["arm", "seed", "step"], sort=False).value
    means = means.mean(skipna=False).reset_index()
    styles = legend_styles(study["arms"])
    for arm, style in styles.items():
        own = means[means.arm == arm]
        band(axis, own, style, own.step, study["alpha"], shaded=style.colour != PALE)
    axis.set_title(title)
    axis.set_xlabel("step")
    axis.margins(x=0.01)
    axis.legend(loc="best")
