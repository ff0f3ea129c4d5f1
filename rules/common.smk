"""What all files of rules use: the plan, what tuning has decided, and digests of code.

Needs: the config. Gives: PLAN (studies and arms), OUTPUTS (what each study makes, and from what),
`known()` and `chosen()` (what is known of a study before and after its tuning), and wildcard
constraints. All of it is made by tested Python in `muonlab.plan`. Nothing here imports torch, since
each job of a cluster reads these files again.
"""

import sys
from pathlib import Path

SCRIPTS = Path(workflow.basedir) / "workflow_scripts"
sys.path.append(str(SCRIPTS))

from muonlab.io.errors import UserError
from muonlab.digest import observer_digest
from muonlab.plan.code import adapter_digest, run_digest
from muonlab.plan.datasets import IMAGES, KINDS, TEXT, source_files
from muonlab.plan.naming import REPORTING_PATTERN, RUN_PATTERN, TUNING_PATTERN
from muonlab.plan.outputs import SPLITS, Outputs
from muonlab.plan.runs import load_plan
from muonlab.plan.written import Written

try:
    # Snakemake lists the overlays first and the file of the `configfile:` directive last.
    *overlays, base = workflow.configfiles
    PLAN = load_plan([base, *overlays], command_line=workflow.config_settings.config)
    OUTPUTS = Outputs(PLAN)
    SOURCE_FILES = {name: source_files(name, PLAN) for name in PLAN.data_used}
except UserError as mistake:
    # Not a WorkflowError: it would add the place in this file, which is not where the mistake is.
    sys.exit(f"error: {mistake}")

ROOT = OUTPUTS.root
WRITTEN = Written(PLAN, ROOT)


def one_of(names):
    """A constraint for a wildcard. (?!) matches nothing: an empty constraint would be none."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    study=one_of(PLAN.studies),
    images=one_of(PLAN.data_of_kind(IMAGES)),
    corpus=one_of(PLAN.data_of_kind(TEXT)),
    arm=r"[a-z][a-z0-9_]*",
    run=RUN_PATTERN,
    seed=r"\d+",
    round=r"\d+",


def known(study, rounds=None):
    """What is known of a study after the first `rounds` rounds of its tuning, by default all; waits
    for those whose trials follow from earlier ones."""
    last = rounds or PLAN.studies[study].rounds
    files = [
        str(checkpoints.propose.get(study=study, round=number).output.proposal)
        for number in range(2, last + 1)
    ]
    return WRITTEN.known(study, files)


def chosen(study):
    """What is known of a study once its tuning has been run, for which this waits."""
    before = known(study)
    selection = str(checkpoints.select.get(study=study).output.selection)
    rounds = [f"{ROOT}/{study}/tuning/round-{n + 2}.json" for n in range(len(before.proposals))]
    return WRITTEN.known(study, rounds, selection)
