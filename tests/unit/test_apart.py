"""Arms that read other data in tables and notes: named, and never compared across."""

import numpy as np
import pandas as pd
from test_present import OUTCOMES, PLAN, MadeUp

from muonlab.report.convergence import METRICS
from muonlab.report.outcomes import Outcomes
from muonlab.report.style import study_notes
from muonlab.report.tables.anchor_checks import beat_frozen
from muonlab.report.tables.contrasts import compare_all
from muonlab.report.tables.convergence import convergence_table
from muonlab.report.texts.findings import _basis

ARMS = [
    {"name": "adamw", "label": "AdamW", "measured_on": ["code", 32], "tuned": True},
    {"name": "muon", "label": "Muon", "measured_on": ["code", 32], "tuned": True},
    {"name": "prose", "label": "Muon, prose", "measured_on": ["prose", 32], "tuned": True},
]
STUDY = {
    **{"title": "Made up", "data": "code", "protocol": "fair", "seeds": [1, 2], "alpha": 0.05},
    **{"interval": "95 %"},
    "arms": [arm | {"edges": {}, "data": arm["measured_on"][0]} for arm in ARMS],
}


def test_notes_name_the_arms_that_are_measured_on_other_data():
    study = STUDY | {"arms": [arm | {"apart": arm["data"] != "code"} for arm in STUDY["arms"]]}
    assert "not to be compared: Muon, prose (prose)" in " ".join(study_notes(study, None))
    assert len(study_notes(STUDY, None)) == 1


def test_an_arm_on_other_data_has_its_own_means_but_no_difference_from_the_baseline():
    rng = np.random.default_rng(0)
    values = pd.DataFrame(
        [
            {"arm": arm["name"], "seed": s, "metric": m, "value": rng.normal(), "at_step": 1}
            for arm in ARMS
            for s in (1, 2, 3, 4)
            for m in METRICS
        ]
    )
    table = convergence_table(values, "adamw", STUDY).set_index(["arm", "metric"])
    metric = next(iter(METRICS))
    assert np.isfinite(table.loc[("prose", metric), "mean"])
    assert np.isnan(table.loc[("prose", metric), "difference"])
    assert np.isfinite(table.loc[("muon", metric), "difference"])


def test_the_frozen_arm_is_compared_with_arms_on_its_own_data():
    losses = pd.DataFrame({"adamw": [3.0, 3.1], "muon": [2.9, 3.0], "prose": [9.0, 9.0]})
    losses["frozen"] = [4.0, 4.1]
    frozen = {"name": "frozen", "label": "frozen", "measured_on": ["code", 32], "tuned": True}
    study = STUDY | {"arms": [*STUDY["arms"], frozen | {"edges": {}}]}
    assert beat_frozen(losses, {"frozen": "frozen"}, study).result == "pass"
    worse = losses.assign(muon=5.0)
    assert beat_frozen(worse, {"frozen": "frozen"}, study).result == "fail"


def test_all_arms_at_once_are_those_on_one_data_set():
    made = MadeUp(arms=("adamw", "muon", "muon_hybrid"), seeds=(1, 2, 3, 4))
    values, outcomes, plan = made_values(made)
    both, pairs = compare_all(values, outcomes, plan, (), ["adamw", "muon"])
    assert set(pairs.arm_a) | set(pairs.arm_b) == {"adamw", "muon"}
    assert (both.arms == 2).all()


def made_values(made):
    own = [o for o in OUTCOMES if o["quantity"] in ("final_loss", "test_loss", "step")]
    values = Outcomes(own, made.runs, made.summaries, made.metrics(), {})
    return values, own, PLAN["contrasts"]


def test_findings_name_the_arms_that_read_other_data():
    summary = pd.DataFrame(
        {
            "arm": ["adamw", "prose"],
            "label": ["AdamW", "Muon, prose"],
            "data": ["code", "prose"],
            **{"protocol": "fair", "n": 4, "tuned": True, "settings": "lr=0.1", "edge": ""},
        }
    )
    told = " ".join(_basis(summary))
    assert "compared among themselves alone: Muon, prose (prose)." in told
    assert "themselves" not in " ".join(_basis(summary.assign(data="code")))
