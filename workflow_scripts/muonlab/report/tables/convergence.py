"""How steadily and how fast each arm converged, and which arm leads early and which ends lower."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.comparisons import compared
from muonlab.report.convergence import (
    METRICS,
    REDUCTION,
    crossing,
    evaluations,
    final_losses,
    run_values,
)
from muonlab.statistics.intervals import mean_interval
from muonlab.statistics.paired import Paired, paired
from muonlab.statistics.speedup import time_to

Curve = tuple[np.ndarray, np.ndarray]  # steps (m,) and losses (seeds, m)
EARLY = 0.1  # the share of the shorter run at which the early leader is read


@table(
    section="tables",
    outputs={
        "convergence": (
            "stability and convergence",
            "How steadily and how fast each arm of **{title}** converged on *{data}*: means over "
            "n = {n} seeds with {interval} t intervals, and the paired difference from the arm "
            "``against``. A loss is read at the first evaluation at or after that share of the "
            "run (``at_step``). ``steps_to_90``: until nine tenths of the fall from the first "
            "evaluation to the last one. ``early_convergence_rate``: slope of the logarithm of "
            "the training loss, in percent per step, fitted from 10 % to 50 % of the run. "
            "``loss_spikes_per_100``: training losses more than three standard deviations above "
            "the mean of the window before them, per 100 records (with windows of five records, "
            "two or three per 100 are chance). ``loss_variance_last_fifth``: median rolling "
            "variance of the training loss over the last 20 % of the run; "
            "``gradient_variation_last_fifth``: standard deviation over mean of the gradient norm "
            "there. Rolling windows are 5 % of the run and at least five records. Intervals of "
            "differences are simultaneous over the arms. Protocol: {protocol}.",
        ),
        "early_phase": (
            "who leads early, who ends lower",
            "Each tuned arm of **{title}** against the arm ``against`` on *{data}*: the "
            "difference of their losses at the first evaluation at or after 10 % of the run and "
            "at the end, the steps that each takes to one common ``level`` (nine tenths of the "
            "way from the first loss to the higher of their two final losses), and where their "
            "mean curves cross for the last time after that evaluation (``crossing``, empty if "
            "they do not). Differences are arm − against, paired over n = {n} seeds, with "
            "simultaneous {interval} intervals; a negative one means a lower loss, or fewer "
            "steps. Fewer than four seeds give no verdict. Protocol: {protocol}.",
        ),
    },
)
def convergence(
    metrics: pd.DataFrame, baseline: str, study: dict, contrasts: pd.DataFrame | None = None
) -> dict[str, pd.DataFrame]:
    values = run_values(metrics, study)
    return {
        "convergence": convergence_table(values, baseline, study),
        "early_phase": early_phase_table(metrics, baseline, study, contrasts),
    }


def convergence_table(values: pd.DataFrame, baseline: str, study: dict) -> pd.DataFrame:
    """One row for each arm and metric. `values`: arm, seed, metric, value, at_step."""
    rows, alike = [], _measured_alike(study, baseline)
    groups = dict(list(values.groupby(["arm", "metric"])))
    for arm in study["arms"]:
        for metric, label in METRICS.items():
            own = groups[arm["name"], metric].set_index("seed").sort_index()
            mean = mean_interval(own.value.to_numpy(), study["alpha"])
            row = {"arm": arm["name"], "metric": metric, "label": label, "n": mean.n}
            row |= {"at_step": own.at_step.max()}
            row |= {"mean": own.value.iloc[0] if mean.n == 1 else mean.mean}
            row |= {"low": mean.low, "high": mean.high, "against": baseline}
            if arm["name"] in alike:
                other = groups[baseline, metric].set_index("seed").value.reindex(own.index)
                found = paired(own.value, other, study["alpha"], len(alike))
                row |= found.columns("difference")
            rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(data=study["data"], protocol=study["protocol"])


def _measured_alike(study: dict, baseline: str) -> list[str]:
    """The other arms whose losses are measured on the baseline's data; others are not compared."""
    on = {arm["name"]: arm.get("measured_on") for arm in study["arms"]}
    return [name for name in on if name != baseline and on[name] == on.get(baseline)]


def early_phase_table(
    metrics: pd.DataFrame, baseline: str, study: dict, contrasts: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row for each tuned arm but the baseline. Also `epoch`: the steps of an epoch where the
    length of the runs is given in epochs, else empty. A difference of final losses that `contrasts`
    has too is taken from there."""
    alike = _measured_alike(study, baseline)
    arms = [arm["name"] for arm in study["arms"] if arm["tuned"] and arm["name"] in alike]
    curves = evaluations(metrics, study, [baseline, *arms])
    finals = final_losses(metrics, study)
    training = study["training"]
    whole = curves[baseline][0][-1]
    epoch = np.nan if training.get("steps") or "epochs" not in training else whole
    epoch = epoch / training["epochs"] if np.isfinite(epoch) else np.nan
    rows = [
        {"arm": arm, "against": baseline, "epoch": epoch}
        | dict(
            _compared(
                curves[arm],
                curves[baseline],
                finals[arm],
                finals[baseline],
                study["alpha"],
                len(arms),
                compared(contrasts, "final_loss", arm, baseline),
            )
        )
        for arm in arms
    ]
    columns = ["arm", "against", "epoch", "n", "early_step", "final_mean", "against_final_mean"]
    columns += [
        f"{name}{suffix}"
        for name in ("early", "final", "level_steps")
        for suffix in ("", "_low", "_high", "_verdict", "_said")
    ]
    columns += ["level", "arm_steps", "against_steps", "crossing"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(data=study["data"], protocol=study["protocol"])


def _compared(
    arm: Curve,
    against: Curve,
    last: np.ndarray,
    other_last: np.ndarray,
    alpha: float,
    family: int,
    known: Paired | None,
) -> Iterator[tuple[str, float | str]]:
    """The columns of one row of early_phase.csv, from (steps, losses) of both arms and from their
    final losses by seed; `known` is the difference of these if it is compared elsewhere."""
    (steps, losses), (other_steps, others) = arm, against
    shared, here, there = np.intersect1d(steps, other_steps, return_indices=True)
    early = int(np.argmax(shared >= EARLY * shared[-1]))
    yield "n", len(losses)
    yield "early_step", shared[early]
    found = paired(losses[:, here[early]], others[:, there[early]], alpha, family)
    yield from found.columns("early").items()
    final = known or paired(last, other_last, alpha, family)
    yield from final.columns("final").items()
    yield from (("final_mean", np.mean(last)), ("against_final_mean", np.mean(other_last)))
    start = float(np.mean(np.concatenate([losses[:, 0], others[:, 0]])))
    # Every run of both arms reaches this level.
    level = start - REDUCTION * (start - max(losses[:, -1].max(), others[:, -1].max()))
    if np.isfinite(level):
        taken = [time_to(s, v, np.full(len(v), level)) for s, v in (arm, against)]
        yield from paired(*taken, alpha, family).columns("level_steps").items()
        yield "level", level
        yield from zip(("arm_steps", "against_steps"), map(np.mean, taken), strict=True)
    apart = losses[:, here].mean(axis=0) - others[:, there].mean(axis=0)
    yield (
        "crossing",
        crossing(shared[early:], apart[early:]) if np.isfinite(apart).all() else np.nan,
    )
