"""Which components gain from Muon: what each arm trains with it, and what that is worth."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.comparisons import compared
from muonlab.report.style import MUTED, VERMILION, finish, study_notes, use_style
from muonlab.statistics.verdicts import DIFFERENT

LOSS = "final_loss"
SHORT = {
    **{"query": "Q", "key": "K", "value": "V", "query_key_value": "QKV", "attention_output": "O"},
    **{"embedding": "emb.", "expert_up": "up", "expert_gate": "gate", "expert_down": "down"},
}


@figure(
    title="which components gain from Muon",
    section="experiments",
    caption="Final losses of arms of **{title}** that differ in which matrices Muon trains, minus "
    "that of the arm in the first row, paired over n = {n} seeds: below 0, Muon gains there. Left: "
    "filled are the components that Muon trains; AdamW trains the others at the same rates. Bars "
    "are the simultaneous {interval} intervals of their family of comparisons; filled marks are "
    "those whose verdict is better or worse. Data: *{data}*. Protocol: {protocol}.",
)
def component_gains(
    component_families: Sequence[dict], contrasts: pd.DataFrame, study: dict
) -> Figure:
    """For each family of such arms: a row for each arm, with its components and its difference."""
    use_style()
    families = component_families
    rows = [len(family["arms"]) for family in families]
    drawn, axes = plt.subplots(
        len(families),
        2,
        figsize=(9.0, 1.2 + 0.42 * sum(rows) + 0.5 * len(rows)),
        squeeze=False,
        width_ratios=(1, 1.35),
        height_ratios=rows,
    )
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    for (left, right), family in zip(axes, families, strict=True):
        _components(left, family, labels)
        _differences(right, family, contrasts)
        left.set_title(family["claim"] or family["name"])
    notes = study_notes(study, "bars: simultaneous {} interval")
    notes.insert(1, "filled mark: better or worse · filled square: trained by Muon")
    finish(drawn, f"{study['title']}: which components gain from Muon", notes)
    return drawn


def _components(axis: Axes, family: dict, labels: dict[str, str]) -> None:
    """A square for each arm and component, filled where the arm's Muon trains it."""
    arms = family["arms"]
    columns = _order(arms)
    for place, own in enumerate(arms.values()):
        for x, name in enumerate(columns):
            filled = VERMILION if name in own else "white"
            axis.plot(x, place, "s", color=VERMILION if name in own else MUTED, mfc=filled, ms=8)
    axis.set_xticks(range(len(columns)), [SHORT.get(name, name) for name in columns])
    axis.set_yticks(range(len(arms)), [labels[arm] for arm in arms])
    axis.set_ylim(len(arms) - 0.4, -0.6)
    axis.set_xlim(-0.6, len(columns) - 0.4)
    axis.grid(visible=False)


def _order(arms: dict[str, list[str]]) -> list[str]:
    """All components, in the order of the arm that has most of them, then the others'."""
    largest = max(arms.values(), key=len)
    return list(dict.fromkeys([*largest, *(name for own in arms.values() for name in own)]))


def _differences(axis: Axes, family: dict, contrasts: pd.DataFrame) -> None:
    axis.axvline(0, color=MUTED, linewidth=0.9)
    for place, arm in enumerate(family["arms"]):
        if arm == family["against"]:
            axis.plot(0, place, "D", color=MUTED, markersize=5)
            continue
        found = compared(contrasts, LOSS, arm, family["against"])
        if found is None or not np.isfinite(found.difference):
            axis.plot(0.02, place, "x", color=MUTED, transform=axis.get_yaxis_transform())
            continue
        face = VERMILION if found.verdict in DIFFERENT else "white"
        axis.hlines(place, found.low, found.high, color=VERMILION, linewidth=1.6)
        axis.plot(found.difference, place, "o", color=VERMILION, mfc=face, markersize=5.5)
        axis.annotate(
            f"{found.difference:+.3f}  {found.said}".replace("-", "−"),
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7.5,
            color=MUTED,
        )
    axis.set_yticks(range(len(family["arms"])), [])
    axis.set_ylim(len(family["arms"]) - 0.4, -0.6)
    axis.set_xlabel("difference of final losses (nats)")
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.08)
