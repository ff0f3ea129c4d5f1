"""What two components of an optimizer are worth: four arms with both, with one, with neither."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.report.bands import nothing
from muonlab.report.style import BLACK, BLUE, GREEN, MUTED, finish, study_notes, use_style
from muonlab.statistics.hypothesis_tests import holm
from muonlab.statistics.interaction import interaction_table
from muonlab.statistics.intervals import mean_interval

OUTCOME = "final_loss"
ROLES = {
    "both": "full",
    "without_first": "without_a",
    "without_second": "without_b",
    "neither": "neither",
}
MEAN = "mean loss"
# What a factorial is asked, and what Holm's correction is over; the other effects follow from them.
ASKED = ("contribution", "difference of contributions", "synergy")
# Every effect as a sum of the arms' mean losses, in the order of ROLES.
WEIGHTS = {
    ("contribution", 0): (-1, 1, 0, 0),
    ("contribution", 1): (-1, 0, 1, 0),
    ("alone", 0): (0, 0, -1, 1),
    ("alone", 1): (0, -1, 0, 1),
    ("main effect", 0): (-0.5, 0.5, -0.5, 0.5),
    ("main effect", 1): (-0.5, -0.5, 0.5, 0.5),
    ("difference of contributions", 0): (0, 1, -1, 0),
    ("synergy", 0): (-1, 1, 1, -1),
}


def final_losses(runs: Sequence[dict], summaries: Sequence[dict]) -> pd.DataFrame:
    """arm, seed, outcome, value of each run's final evaluation loss in nats; NaN where it has
    none."""
    return pd.DataFrame(
        {
            "arm": run["arm"],
            "seed": run["seed"],
            "outcome": OUTCOME,
            "value": np.nan if summary[OUTCOME] is None else float(summary[OUTCOME]),
        }
        for run, summary in zip(runs, summaries, strict=True)
    )


def factorials_table(
    losses: pd.DataFrame, factorials: Sequence[dict], study: dict, alpha: float
) -> pd.DataFrame:
    """The effects of `statistics.interaction` and the four arms' mean losses, for each factorial.

    `losses`: arm, seed, outcome, value. `factorials`: label, the arms both, without_first,
    without_second and neither, and the components' names first and second. A contribution is what
    removing the component from both costs, so that a positive one helps. `p_holm` is over the
    questions of one factorial: both contributions, their difference, the synergy. A single seed
    gives values without intervals.
    """
    tables = [_effects(losses, factorial, study, alpha) for factorial in factorials]
    return pd.concat(tables, ignore_index=True)


def _effects(losses: pd.DataFrame, factorial: dict, study: dict, alpha: float) -> pd.DataFrame:
    arms = {role: factorial[field] for field, role in ROLES.items()}
    names = factorial["first"], factorial["second"]
    table = interaction_table(losses, arms, OUTCOME, names, alpha)
    own = losses.pivot(index="seed", columns="arm", values="value")[list(arms.values())]
    weights = np.array(list(WEIGHTS.values()))
    # An arm without a mean only leaves the effects without a value that it is part of.
    parts = np.where(weights == 0, 0, weights * own.mean(skipna=False).to_numpy())
    table["value"] = parts.sum(axis=1)
    asked = table.effect.isin(ASKED)
    table.loc[asked, "p_holm"] = holm(table.p[asked])
    table["verdict"] = np.where(asked, _verdicts(table, alpha), "")
    table["reason"] = [_reason(row, own) for row in table.itertuples()]
    means = [_mean_row(own[arm], role, factorial, alpha) for role, arm in arms.items()]
    table = pd.concat([table, pd.DataFrame(means)], ignore_index=True)
    table.insert(0, "factorial", factorial["label"])
    on_edge = {arm["name"]: bool(arm["edges"]) for arm in study["arms"]}
    table["arms"] = ", ".join(arms.values())
    table["edge"] = any(on_edge[arm] for arm in arms.values())
    return table.assign(outcome=OUTCOME, data=study["data"], protocol=study["protocol"])


def _verdicts(table: pd.DataFrame, alpha: float) -> list[str]:
    words = []
    for row in table.itertuples():
        if np.isnan(row.p):
            words.append("not estimable")
        elif row.p_holm >= alpha:
            words.append("undecided")
        else:
            words.append("positive" if row.value > 0 else "negative")
    return words


def _reason(row, own: pd.DataFrame) -> str:
    if not np.isnan(row.p):
        return ""
    if row.diverged:
        return f"{row.diverged} of the {own.size} runs diverged."
    if row.n < 2:
        return "One seed: there is no interval."
    return "The effect is the same on every seed."


def _mean_row(values: pd.Series, role: str, factorial: dict, alpha: float) -> dict:
    component = {
        "full": "both",
        "without_a": f"without {factorial['first']}",
        "without_b": f"without {factorial['second']}",
        "neither": "neither",
    }[role]
    mean = mean_interval(values.to_numpy(), alpha)
    row = {"effect": MEAN, "component": component, "n": mean.n, "diverged": mean.diverged}
    row |= {"value": values.mean(skipna=False), "low": mean.low, "high": mean.high}
    return row | {"verdict": "", "reason": ""}


def contributions_figure(
    table: pd.DataFrame, factorials: Sequence[dict], study: dict, alpha: float
) -> Figure:
    """For each factorial the four arms' losses, and below them the effects with their intervals.

    `table` as `factorials_table` gives it. Lines that are not parallel are an interaction.
    """
    use_style()
    figure, axes = plt.subplots(
        2,
        len(factorials),
        figsize=(1.2 + 4.2 * len(factorials), 6.2),
        squeeze=False,
        sharex="row",
        sharey="row",
        height_ratios=(1, 1.15),
    )
    for (above, below), factorial in zip(axes.T, factorials, strict=True):
        own = table[table.factorial == factorial["label"]]
        _losses(above, own[own.effect == MEAN], factorial)
        _forest(below, own, factorial)
        above.set_title(factorial["label"])
    axes[0][0].set_ylabel(f"final {study['training']['evaluate_on']} loss (nats)")
    axes[0][0].legend(loc="best")
    percent = f"{100 * (1 - alpha):g} %"
    notes = study_notes(study, f"bars: {percent} t interval of the mean, of paired differences")
    notes.insert(1, "filled: stands after Holm's correction over the four above the dotted line")
    finish(figure, f"{study['title']}: what each component is worth", notes)
    return figure


def _losses(axis: Axes, means: pd.DataFrame, factorial: dict) -> None:
    """Mean losses: the second component along the axis, one line with and one without the first."""
    first, second = factorial["first"], factorial["second"]
    by_arm = means.set_index("component")
    lines = {
        f"with {first}": (["both", f"without {second}"], BLUE, "o", "-"),
        f"without {first}": ([f"without {first}", "neither"], MUTED, "s", "--"),
    }
    for i, (label, (arms, colour, marker, dashes)) in enumerate(lines.items()):
        own = by_arm.loc[arms]
        x = np.arange(2) + 0.03 * (2 * i - 1)
        value = own.value.to_numpy(dtype=float)
        reach = np.abs(own[["low", "high"]].to_numpy(dtype=float).T - value)
        axis.errorbar(
            x,
            value,
            yerr=reach,
            color=colour,
            marker=marker,
            linestyle=dashes,
            label=label,
            markersize=5,
            linewidth=1.6,
            elinewidth=1.2,
            capsize=2.5,
        )
    axis.set_xticks([0, 1], [f"with {second}", f"without {second}"])
    axis.set_xlim(-0.35, 1.35)
    axis.grid(axis="x", visible=False)


def _forest(axis: Axes, table: pd.DataFrame, factorial: dict) -> None:
    """Effects from the largest questions downwards; the values stand beside the marks."""
    first, second = factorial["first"], factorial["second"]
    rows = {
        ("contribution", first): (f"removing {first} costs", BLUE),
        ("contribution", second): (f"removing {second} costs", GREEN),
        ("difference of contributions", f"{first} − {second}"): ("difference of the two", BLACK),
        ("synergy", f"{first} and {second}"): ("synergy", BLACK),
        ("alone", first): (f"{first} alone gains", BLUE),
        ("alone", second): (f"{second} alone gains", GREEN),
    }
    found = table.set_index(["effect", "component"])
    if not np.isfinite([found.loc[key, "value"] for key in rows]).any():
        nothing(axis, "Not estimable: runs diverged.")
        return
    for y, (key, (_, colour)) in enumerate(rows.items()):
        row = found.loc[key]
        sure = row.verdict in ("positive", "negative")
        if np.isfinite(row.low):
            axis.hlines(y, row.low, row.high, color=colour, linewidth=1.6)
        axis.plot(row.value, y, "o", color=colour, mfc=colour if sure else "white", markersize=5.5)
        if np.isfinite(row.value):
            axis.annotate(
                f"{row.value:+#.2g}".replace("-", "−"),
                (row.value, y),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color=colour,
            )
    axis.axvline(0, color=MUTED, linewidth=0.9)
    axis.axhline(3.5, color=MUTED, linewidth=0.6, linestyle=":")
    axis.set_yticks(range(len(rows)), [label for label, _ in rows.values()])
    axis.set_ylim(len(rows) - 0.5, -0.7)
    axis.set_xlabel("difference of losses (nats); above 0 the component helps")
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.12)
