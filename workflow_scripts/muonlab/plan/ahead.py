"""What Snakemake cannot count when it starts: the jobs that follow once tuning has chosen.

Tuning is a checkpoint, so the jobs that depend on it appear in Snakemake's graph only when it has
finished. How many there will be hardly depends on what it chooses.
"""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from muonlab.plan.estimate import as_if_chosen, planned_trials
from muonlab.plan.known import Known
from muonlab.plan.outputs import Outputs
from muonlab.plan.runs import REPORTING, Plan
from muonlab.plan.written import Written

# Targets that need no results of tuning, or nothing that follows from them.
PREPARING, TUNING_ALONE = {"data"}, {"data", "tune"}


def jobs_ahead(
    plan: Plan, outputs: Outputs, written: Written, targets: Collection[str]
) -> Counter[str]:
    """By rule, about how many jobs will follow for these targets that are not in Snakemake's graph
    at its start. No targets stand for everything; a target that is a file promises nothing."""
    targets, found = set(targets), Counter()
    if targets and (targets <= PREPARING or any("/" in target for target in targets)):
        return found
    named = targets & set(plan.studies)
    seen: set[str] = set()
    for name, study in plan.studies.items():
        known = written.on_disk(study)
        if known.is_chosen or (targets and named == targets and name not in named):
            continue
        found += _trials_ahead(known)
        if not targets or not targets <= TUNING_ALONE:
            found += _after_tuning(as_if_chosen(known), outputs, seen)
    return found


def _trials_ahead(known: Known) -> Counter[str]:
    """The tuning runs of later rounds."""
    runs, _ = planned_trials(known)
    return Counter(train_trial=len(runs) - len(known.tuning_runs))


def _after_tuning(whole: Known, outputs: Outputs, seen: set[str]) -> Counter[str]:
    """The runs with the chosen settings, and what is measured on them. Two studies share a run of
    equal settings."""
    new = {run.name: run.phase for run in whole.later_runs if run.name not in seen}
    seen.update(new)
    found = Counter("train_run" if p == REPORTING else "train_trial" for p in new.values())
    measured = [file for file in outputs.measurements(whole) if not Path(file).exists()]
    found["measure_"] = len(measured)
    return found
