"""How early Muon's loss curve is at AdamW's final loss: a lower bound on its speed-up where no
baseline was run longer."""

import numpy as np
import pandas as pd

from muonlab.report.anchors import Checked, judged, unanswered
from muonlab.report.lead import ADAMW, MUON
from muonlab.report.lengths import loss_curves
from muonlab.report.numbers import number
from muonlab.statistics.speedup import SUSPICIOUS, WARNING, speed_up_table


def lead_on_curves(metrics: pd.DataFrame | None, study: dict) -> Checked:
    """Whether Muon is at AdamW's final loss so late that a speed-up of 1.6 is not shown.

    Muon's schedule is unfinished there, and a run that ended there with a schedule of its own would
    end lower. So AdamW's updates over Muon's up to that point bound the speed-up from below.
    """
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    if metrics is None or not {MUON, ADAMW} <= labels.keys():
        return unanswered("the study has no arms muon and adamw whose curves could be compared")
    curves = loss_curves(metrics, study)
    # The share of AdamW's updates after which Muon's curve is at AdamW's final loss.
    share = speed_up_table(curves, [(ADAMW, MUON)], alpha=study["alpha"]).iloc[0]
    muon, adamw = labels[MUON], labels[ADAMW]
    if share.ratio == 0:
        return unanswered(f"a run of {adamw} diverged")
    if not share.ratio < 1:
        return judged(True, "", found=f"{muon} is not at {adamw}'s final loss sooner", n=share.n)
    low, lead, high = (1 / share.high, 1 / share.ratio, 1 / max(share.low, np.finfo(float).tiny))
    told = f"{muon} is at {adamw}'s final loss after {100 * share.ratio:.0f} % of the updates"
    return judged(
        lead < SUSPICIOUS,
        f"at least {number(lead)} times sooner: {WARNING}",
        found=told,
        value=lead,
        low=low,
        high=high,
        n=int(share.n),
    )
