"""Checks of what must hold in any sound comparison: a study that fails one cannot be trusted."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.anchors import Checked, judged, unanswered
from muonlab.report.comparisons import compared
from muonlab.report.curve_lead import lead_on_curves
from muonlab.report.lengths import ratio_text
from muonlab.report.numbers import interval, number
from muonlab.report.records import listed
from muonlab.report.update_checks import RMS, ROUNDING, in_bands, update_sizes
from muonlab.statistics.paired import paired
from muonlab.statistics.speedup import SUSPICIOUS
from muonlab.statistics.verdicts import DIFFERENT, NO_VERDICT, NOT_ESTIMABLE, Verdict, verdict

COLUMNS = ["check", "expected", "found", "value", "low", "high", "n", "result", "reason", "records"]
# Newton–Schulz may take this many times the share of a step that its flops predict; where it takes
# more, its time is not spent in matrix products. It may take less, since small models run far below
# the rate of the iteration's products.
OVERHEAD = 3.0


@table(
    section="findings",
    outputs={
        "anchor_checks": (
            "anchor checks",
            "What must hold in any sound comparison, checked on the records of **{title}** "
            "(*{data}*, protocol: {protocol}): what was expected, what was found (``value`` with "
            "its {interval} interval, or its range, in ``low`` and ``high``), and whether the "
            "check passes. A check that these records cannot answer is *not applicable*, with the "
            "reason; it is never counted as passed. ``records`` names what it was read from.",
        ),
    },
)
def anchor_checks(
    anchors: Mapping,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
    direction_records: pd.DataFrame | None = None,
    basins: pd.DataFrame | None = None,
    overhead: pd.DataFrame | None = None,
    speed_up_table: pd.DataFrame | None = None,
    contrasts: pd.DataFrame | None = None,
    metrics: pd.DataFrame | None = None,
) -> pd.DataFrame:
    losses = loss_by_arm(runs, summaries)
    if speed_up_table is None:
        sooner, sooner_from = lead_on_curves(metrics, study), "metrics"
    else:
        sooner, sooner_from = speed_ups(speed_up_table, study), "speed_up"
    rows = [
        _row(
            "tuned arms beat the frozen one",
            "every arm that is tuned as the others are ends below the arm with frozen matrices on "
            "every seed",
            beat_frozen(losses, anchors, study),
            "runs",
        ),
        _row(
            "no tuned arm on an edge",
            "no setting that tuning chose is the outermost one of those tried",
            on_edges(study),
            "tuning/selection.json",
        ),
        _row(
            "size of Muon's update",
            f"root mean square {RMS[0]:.2f}–{RMS[1]:.2f} with Jordan's five steps and the scale "
            "match_rms_adamw",
            update_sizes(direction_records, anchors),
            "direction",
        ),
        _row(
            "Newton–Schulz band",
            "the largest singular value of each update lies where its coefficients map it, within "
            f"{ROUNDING:.0%}",
            in_bands(direction_records, anchors),
            "direction",
        ),
        _row(
            "momentum helps Muon",
            "Muon without momentum ends above Muon with it",
            momentum_helps(losses, anchors, study, contrasts),
            "runs",
        ),
        _row(
            "Muon's basin is wider",
            "more octaves of learning rates are near the best for Muon than for AdamW",
            basin_wider(basins, anchors, study),
            "basins",
        ),
        _row(
            "overhead follows from flops",
            f"Newton–Schulz takes at most {OVERHEAD:g} times the share of a step that its flops "
            "predict",
            overhead_fits(overhead),
            "overhead",
        ),
        _row(
            "speed-up is plausible",
            f"below {SUSPICIOUS:g} in steps, against a baseline that is also run longer or, where "
            "there is none, by when Muon's curve is at AdamW's final loss",
            sooner,
            sooner_from,
        ),
    ]
    return pd.DataFrame(rows, columns=COLUMNS).assign(
        data=study["data"], protocol=study["protocol"]
    )


def loss_by_arm(runs: Sequence[dict], summaries: Sequence[dict]) -> pd.DataFrame:
    """Final losses, one row for each seed and one column for each arm; infinite for a run that
    diverged."""
    losses = [
        np.inf if summary["diverged"] or summary["final_loss"] is None else summary["final_loss"]
        for summary in summaries
    ]
    table = pd.DataFrame(
        {"arm": run["arm"], "seed": run["seed"], "loss": float(loss)}
        for run, loss in zip(runs, losses, strict=True)
    )
    return table.pivot(index="seed", columns="arm", values="loss")


def beat_frozen(losses: pd.DataFrame, anchors: Mapping, study: dict) -> Checked:
    """Whether each tuned arm's final loss is below the frozen arm's on every seed. The number is
    the mean over arms and seeds of frozen − arm; its range names the narrowest margin."""
    frozen = anchors["frozen"]
    if frozen is None:
        return unanswered("measure.anchors.frozen names no arm")
    if not np.isfinite(losses[frozen]).all():
        return unanswered(f"the frozen arm {frozen} diverged")
    # Arms with a search of their own show what happens without one that is fair, and losses on
    # other data are other quantities.
    on = {arm["name"]: arm.get("measured_on") for arm in study["arms"]}
    tuned = [
        arm["name"]
        for arm in study["arms"]
        if arm["tuned"] and not arm.get("alone") and arm["name"] != frozen
        if on[arm["name"]] == on[frozen]
    ]
    if not tuned:
        return unanswered("no other arm is tuned")
    margins = -losses[tuned].sub(losses[frozen], axis=0)
    lost = [
        f"{arm} on {int((own <= 0).sum())} of {len(own)} seeds"
        for arm, own in margins.items()
        if (own <= 0).any()
    ]
    low, high = float(margins.to_numpy().min()), float(margins.to_numpy().max())
    closest = margins.min().idxmin()
    return judged(
        not lost,
        f"not below {frozen}: {', '.join(lost)}",
        found=f"the narrowest margin of {len(tuned)} arms is " + f"{number(low)} nats ({closest})",
        value=float(margins.to_numpy().mean()),
        low=low,
        high=high,
        n=len(losses),
    )


def on_edges(study: dict) -> Checked:
    """Whether tuning chose a setting on an edge of its search space for any tuned arm."""
    tuned = [arm for arm in study["arms"] if arm["tuned"]]
    if not tuned:
        return unanswered("no arm is tuned")
    edges = [f"{arm['name']} ({listed(arm['edges'])})" for arm in tuned if arm["edges"]]
    found = f"{len(edges)} of {len(tuned)} tuned arms on an edge"
    reason = f"on an edge: {', '.join(edges)}"
    return judged(not edges, reason, found=found, value=len(edges), n=len(tuned))


def momentum_helps(
    losses: pd.DataFrame, anchors: Mapping, study: dict, contrasts: pd.DataFrame | None
) -> Checked:
    """Whether Muon without momentum ends above Muon with momentum."""
    without, with_it = anchors["without_momentum"], anchors["with_momentum"]
    if without is None:
        return unanswered("measure.anchors.without_momentum names no arm")
    if np.isinf(losses[without]).any() and np.isfinite(losses[with_it]).all():
        return judged(True, "", found=f"{without} diverged", n=len(losses))
    found = compared(contrasts, "final_loss", without, with_it) or paired(
        losses[without], losses[with_it], study["alpha"]
    )
    numbers = found.difference, found.low, found.high
    words = "Muon ends lower without momentum", "whether momentum lowers the loss"
    return _shown(numbers, Verdict(found.verdict, found.n), found.said, "nats", *words)


def basin_wider(basins: pd.DataFrame | None, anchors: Mapping, study: dict) -> Checked:
    """Whether Muon's range of good learning rates is wider than AdamW's."""
    if basins is None:
        return unanswered("the study varies no learning rates around the chosen ones (robustness)")
    kinds = anchors["optimizers"]
    for row in basins[basins.against.fillna("") != ""].itertuples():
        pair = kinds[row.arm], kinds[row.against]
        if pair in (("muon", "adamw"), ("adamw", "muon")):
            sign = 1 if pair[0] == "muon" else -1
            return _basin(row, sign, study)
    return unanswered("robustness does not name both an arm of Muon and one of AdamW")


def overhead_fits(overhead: pd.DataFrame | None) -> Checked:
    """Whether the measured share of Newton–Schulz in a step is not far above what its flops
    predict."""
    if overhead is None:
        return unanswered("the study profiles no steps (measure.overhead)")
    shares = overhead.set_index(["arm", "quantity"])
    measured = shares.xs("newton_schulz_of_step", level="quantity")
    measured = measured[measured.value > 0]
    if measured.empty:
        return unanswered("neither profiled arm orthogonalizes")
    row = measured.iloc[0]
    predicted = float(shares.value[measured.index[0], "newton_schulz_of_flops"])
    if not predicted > 0:
        return unanswered("the flops of the iteration are not known")
    times = row[["value", "low", "high"]].astype(float) / predicted
    return judged(
        times.value <= OVERHEAD,
        f"{times.value:.3g} times what flops predict",
        found=f"{100 * row.value:.3g} % of a step where flops predict {100 * predicted:.3g} %",
        value=times.value,
        low=times.low,
        high=times.high,
        n=int(row.n),
    )


def speed_ups(table: pd.DataFrame, study: dict) -> Checked:
    """Whether every speed-up in steps against the longer baselines is below what is suspicious."""
    own = table[(table.method == "lengths") & (table.unit == "step")]
    own = own[own.ratio.notna()]
    if own.empty:
        return unanswered("no speed-up can be estimated, since runs diverged")
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    largest = own.loc[own.ratio.idxmax()]
    each = [f"{labels[row.arm]} {ratio_text(row)}" for row in own.itertuples()]
    return judged(
        bool((own.ratio < SUSPICIOUS).all()),
        largest.warning if isinstance(largest.warning, str) else "",
        found=", ".join(each),
        value=largest.ratio,
        low=largest.low,
        high=largest.high,
        n=int(largest.n),
    )


def _row(check: str, expected: str, checked: Checked, records: str) -> dict:
    return {"check": check, "expected": expected, "records": records, **vars(checked)}


def _shown(
    numbers: tuple[float, float, float],
    found: Verdict,
    said: str,
    unit: str,
    opposite: str,
    question: str,
) -> Checked:
    """Passes if the difference, with its interval, is shown to be above 0. The reason of a failure
    is the `opposite`, where that is shown, or that the `question` is undecided."""
    if found.word in (NO_VERDICT, NOT_ESTIMABLE):
        return unanswered(said.rstrip("."))
    value, low, high = numbers
    told = f"{interval(value, low, high, sign=True)} {unit} (n = {found.n})"
    facts = {"found": told, "value": value, "low": low, "high": high, "n": found.n}
    decided = found.word in DIFFERENT
    return judged(decided and value > 0, opposite if decided else f"{question} is {said}", **facts)


def _basin(row, sign: int, study: dict) -> Checked:
    """The row of basins.csv on Muon against AdamW, or with sign −1 on AdamW against Muon."""
    reason = row.reason if isinstance(row.reason, str) else ""
    if row.verdict == NOT_ESTIMABLE or reason:
        return unanswered(reason.rstrip(".") or "the widths cannot be estimated")
    low, high = sorted((sign * row.low, sign * row.high))
    found = verdict(sign * row.octaves, low, high, int(row.n), alpha=study["alpha"])
    words = "AdamW's basin is wider", "whose basin is wider"
    return _shown((sign * row.octaves, low, high), found, str(found), "octaves", *words)
