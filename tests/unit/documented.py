"""The default studies as the documents on all studies see them: the kept tables, as if tuning had
chosen the first trial of each arm."""

from pathlib import Path

import pandas as pd

from muonlab.plan.across import study_captions, study_facts
from muonlab.plan.claims import claim_records
from muonlab.plan.known import Known
from muonlab.plan.needs import value
from muonlab.plan.runs import load_plan
from muonlab.report.across.claims import claims_table

ROOT = Path(__file__).parents[2]
STUDIES = ("fashion", "moe", "ablation")
PLAN = load_plan([ROOT / "config.yaml"])


def known(study):
    plan = PLAN.studies[study]
    arms = {
        name: {"settings": arm.trials[0].settings, "edges": {}}
        for name, arm in plan.tuned_arms.items()
    }
    return Known(plan, [], {"arms": arms})


KNOWN = {study: known(study) for study in STUDIES}


def facts():
    return {study: study_facts(k) | {"embedded": True} for study, k in KNOWN.items()}


def settings():
    return {study: value("arm_settings", k) for study, k in KNOWN.items()}


def captions():
    return {study: study_captions(k) for study, k in KNOWN.items()}


def files():
    return {
        study: {
            path.stem: path
            for path in sorted((ROOT / "docs" / "results" / "mini" / study).glob("*.csv"))
        }
        for study in STUDIES
    }


def texts():
    return {
        study: {
            path.stem: path
            for path in sorted((ROOT / "docs" / "results" / "mini" / study).glob("*.md"))
        }
        for study in STUDIES
    }


def tables():
    return {
        study: {name: pd.read_csv(path) for name, path in own.items()}
        for study, own in files().items()
    }


def claims(of=None):
    return claims_table(claim_records(), facts(), tables() if of is None else of)
