"""The trials of a search over a box: the loss of each over each tuned field."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend
from muonlab.report.style import ArmStyle, arm_styles, finish, log_axis, study_notes, use_style
from muonlab.report.sweeps import varied_fields
from muonlab.tuning.selection import scored_trials

ACROSS = 4  # panels side by side
# The range of losses that is shown: from the lowest, this many times the distance to the median.
SHOWN = 2.0
MANY_DECADES = 300  # the ratio of the ends of an axis that has labels at its decades alone


@figure(
    title="tuning trials",
    section="tuning",
    caption="Loss of every tuning trial on *{data}* (means over tuning seeds) over each of the "
    "tuned fields. The large ring is the chosen trial, the small one the second-best; the legend "
    "says whether the two can be told apart. Trials with a higher loss than the axis shows, and "
    "those in which a seed diverged, are triangles at the top. Protocol: {protocol}.",
)
def tuning_trials(selection: dict, choices: pd.DataFrame, study: dict, search_box: dict) -> Figure:
    """One panel for each tuned field, with the trials of all arms that tune it; `search_box` has
    each arm's search space and says which scales are logarithmic."""
    use_style()
    table = mean_scores(selection)
    fields = list(dict.fromkeys(f for space in search_box.values() for f in space))
    fields = [f for f in fields if f in table and pd.api.types.is_numeric_dtype(table[f])]
    rows = -(-len(fields) // ACROSS)
    columns = min(len(fields), ACROSS)
    size = (1.2 + 3.1 * columns, 0.9 + 3.0 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=True)
    apart = dict(zip(choices.arm, choices.told_apart.fillna("no second trial"), strict=True))
    arms = [arm | {"label": f"{arm['label']} ({apart[arm['name']]})"}
            for arm in study["arms"] if arm["name"] in apart]  # fmt: skip
    top = highest_shown(table.score)
    for field, axis in zip(fields, axes.flat, strict=False):
        for arm, style in arm_styles(arms).items():
            own = table[(table.arm == arm) & table[field].notna()]
            _trials(axis, own, field, style, top)
        log = any(is_log(space[field]) for space in search_box.values() if field in space)
        if log:
            axis.set_xscale("log")
            low, high = table[field].min(), table[field].max()
            if high < MANY_DECADES * low:  # the labels 2 and 5 have room
                log_axis(axis.xaxis)
        axis.set_xlabel(field)
    for axis in axes.flat[len(fields) :]:
        axis.set_visible(False)
    axes.flat[0].set_ylim(top=top)
    for axis in axes[:, 0]:
        axis.set_ylabel(f"{selection['score']} {study['training']['evaluate_on']} loss (nats)")
    arm_legend(figure, axes.flat[0])
    seeds = len(selection["seeds"])
    notes = [
        f"data: {study['data']} · dots: trials, means over {seeds} tuning seed(s) · large ring: "
        "chosen, small ring: second-best (in brackets: whether it can be told apart)",
        *study_notes(study)[1:],
    ]
    finish(figure, f"{study['title']}: tuning trials", notes)
    return figure


def mean_scores(selection: Mapping) -> pd.DataFrame:
    """One row for each trial: arm, score (infinite where a seed diverged), rank, its settings."""
    rows = []
    for arm in selection["arms"]:
        own = [trial for trial in selection["trials"] if trial["arm"] == arm]
        numbers = set(varied_fields(own))
        scored = sorted(scored_trials(own, selection["score"]), key=lambda trial: trial["score"])
        for rank, trial in enumerate(scored):
            settings = {f: v for f, v in trial["settings"].items() if f in numbers}
            rows.append({"arm": arm, "score": trial["score"], "rank": rank, **settings})
    return pd.DataFrame(rows)


def highest_shown(scores: pd.Series) -> float:
    """The upper end of the axis of losses."""
    finite = scores[np.isfinite(scores)]
    low, middle = finite.min(), finite.median()
    return float(low + SHOWN * (middle - low)) if middle > low else float(low * 1.1 + 1e-9)


def is_log(axis: object) -> bool:
    """Whether the axis of a search space is logarithmic in the value itself."""
    return isinstance(axis, Mapping) and axis.get("log", False) and not axis.get("from_one", False)


def _trials(axis: Axes, rows: pd.DataFrame, field: str, style: ArmStyle, top: float) -> None:
    shown = rows[rows.score <= top]
    axis.plot(shown[field], shown.score, style["marker"], color=style.colour, markersize=4,
              alpha=0.7, label=style["label"])  # fmt: skip
    lost = rows[rows.score > top]
    axis.plot(lost[field], np.full(len(lost), 0.985), "^", color=style.colour, markersize=4,
              alpha=0.5, transform=axis.get_xaxis_transform())  # fmt: skip
    for rank, size in ((0, 11), (1, 7)):
        ring = shown[shown["rank"] == rank]
        axis.plot(ring[field], ring.score, "o", markersize=size, fillstyle="none",
                  color=style.colour, markeredgewidth=1.4)  # fmt: skip
