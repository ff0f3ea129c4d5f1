"""The loss that a smaller tuning budget would have found."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from muonlab.declare import figure
from muonlab.report.bands import nothing
from muonlab.report.style import arm_styles, finish, log_axis, study_notes, use_style

MOST_INSIDE = 4  # arms whose names find room between the lines


@figure(
    title="tuning budget",
    section="tuning",
    caption="The loss that the best of k tuning trials is expected to have on *{data}*, over the "
    "number of trials: for each arm the mean over all subsets of its trials (Dodge et al. 2019, "
    "without replacement), bands {interval} bootstrap over trials. Protocol: {protocol}.",
)
def best_of_k(best_of_k: pd.DataFrame, study: dict) -> Figure:
    """The loss that the best of k tuning trials is expected to have, by arm, with its band."""
    use_style()
    table = best_of_k
    arms = [arm for arm in study["arms"] if arm["name"] in set(table.arm)]
    crowded = len(arms) > MOST_INSIDE
    figure, axis = plt.subplots(figsize=(8.6 if crowded else 6.4, 4.0))
    lost = 0
    for arm, style in arm_styles(arms).items():
        own = table[table.arm == arm]
        sound = own[np.isfinite(own.expected)]
        lost += len(own) - len(sound)
        axis.plot(sound.k, sound.expected, **style, markersize=4)
        high = sound.high.where(np.isfinite(sound.high))
        axis.fill_between(sound.k, sound.low, high, color=style.colour, alpha=0.15, lw=0)
    if table.empty:
        nothing(axis, "No arm was tuned.")
    else:
        axis.set_yscale("log")
        log_axis(axis.yaxis)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("tuning trials")
        score = table.score.iloc[0]
        axis.set_ylabel(f"expected best {score} {study['training']['evaluate_on']} loss (nats)")
        if crowded:
            axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
        else:
            axis.legend(loc="best")
    notes = [
        f"data: {study['data']} · scores: means over {_tuning_seeds(table)} tuning seed(s) · band: "
        f"{study['interval']} bootstrap over trials · protocol: {study['protocol']}",
        "over all subsets of k trials; the band is too narrow near all of them"
        + (f" · not shown: {lost} budgets where all trials might diverge" if lost else ""),
        *study_notes(study)[1:],
    ]
    finish(figure, f"{study['title']}: what k tuning trials find", notes)
    return figure


def _tuning_seeds(table: pd.DataFrame) -> int:
    return 0 if table.empty else int(table.tuning_seeds.iloc[0])
