"""What the arms cost: time of an update, time of a run, and memory, as bars."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.crowd import line_styles
from muonlab.report.style import ArmStyle, finish, study_notes, use_style
from muonlab.statistics.intervals import mean_interval

# Quantity, title, unit, factor from the record's unit.
BARS = (
    ("step_cpu_seconds", "time of an update", "milliseconds", 1e3),
    ("seconds", "time of a run, all included", "seconds", 1.0),
    ("memory", "peak memory", "MiB", 2.0**-20),
)


@figure(
    title="time and memory",
    section="training",
    caption="Time and memory of the runs of **{title}** on *{data}*: the processor time of an "
    "update (on a GPU, its time), the wall time of a whole run with its evaluations and records, "
    "and peak memory of the process, which short jobs share (on a GPU, of the device); means over "
    "n = {n} seeds with {interval} t intervals. Runs share the machine with other jobs; the table "
    "of overhead, where a study has one, is measured alone. Protocol: {protocol}.",
)
def run_costs(runs: Sequence[dict], provenances: Sequence[dict], study: dict) -> Figure:
    """Three panels of bars, one bar for each arm."""
    use_style()
    costs = cost_records(runs, provenances)
    arms = [arm["name"] for arm in study["arms"]]
    size = (11.0, 1.5 + 0.24 * len(arms))
    drawn, axes = plt.subplots(1, len(BARS), figsize=size, sharey=True)
    styles = line_styles(study["arms"])
    for axis, (quantity, title, unit, factor) in zip(axes, BARS, strict=True):
        _bars(axis, costs[costs.quantity == quantity], styles, factor, study["alpha"])
        axis.set_title(title)
        axis.set_xlabel(unit)
    axes[0].set_yticks(range(len(arms)), [arm["label"] for arm in study["arms"]])
    axes[0].set_ylim(len(arms) - 0.4, -0.6)
    devices = ", ".join(sorted({told["device_type"] for told in provenances}))
    notes = study_notes(study, "lines: {} t interval of the mean")
    notes.insert(
        1,
        f"device: {devices} · other jobs may have run beside these, and before them in one process",
    )
    finish(drawn, f"{study['title']}: time and memory", notes)
    return drawn


def cost_records(runs: Sequence[dict], provenances: Sequence[dict]) -> pd.DataFrame:
    """arm, quantity, value of each run. On a GPU, an update's time is its wall time, and memory is
    that of the device; missing values are left out."""
    rows = []
    for run, told in zip(runs, provenances, strict=True):
        cuda = told["device_type"] == "cuda"
        found = {
            "step_cpu_seconds": told.get("step_seconds" if cuda else "step_cpu_seconds"),
            "seconds": told.get("seconds"),
            "memory": told.get("peak_device_bytes" if cuda else "peak_host_bytes"),
        }
        rows += [
            {"arm": run["arm"], "quantity": quantity, "value": float(value)}
            for quantity, value in found.items()
            if value is not None
        ]
    return pd.DataFrame(rows, columns=["arm", "quantity", "value"])


def _bars(
    axis: Axes, rows: pd.DataFrame, styles: dict[str, ArmStyle], factor: float, alpha: float
) -> None:
    for place, (arm, style) in enumerate(styles.items()):
        values = factor * rows[rows.arm == arm].value.to_numpy()
        if not len(values):
            axis.plot(0.02, place, "x", color=style.colour, transform=axis.get_yaxis_transform())
            continue
        mean = mean_interval(values, alpha)
        axis.barh(place, np.mean(values), color=style.colour, alpha=0.75, height=0.62)
        if np.isfinite(mean.low):
            axis.hlines(place, max(mean.low, 0), mean.high, color="black", linewidth=1.1)
    axis.set_xlim(left=0)
    axis.grid(axis="y", visible=False)
