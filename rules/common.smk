"""What all files here share: the plan, the results of tuning, and the digests of the code.

Needs: the config. Gives: PLAN (the studies and their arms), OUTPUTS (which files each study makes,
and from which inputs), ACROSS (the same of what all studies make together), WRITTEN (what tuning
jobs have written), TITLES (what the console calls each run), `known()` and `chosen()` (what is known
about a study before and after its tuning has finished), and the wildcard constraints. The logic is in
`muonlab.plan`, which has unit tests. Nothing here imports torch, because every cluster job reads
these files again.
"""

import gc
import logging
import sys
from pathlib import Path

# The graph of jobs is many small objects, nearly all of which live until the end. With Python's own
# thresholds its garbage collector goes through them so often that it takes a noticeable part of the time.
gc.freeze()
gc.set_threshold(100_000, 50, 100)

SCRIPTS = Path(workflow.basedir) / "workflow_scripts"
sys.path.append(str(SCRIPTS))

from muonlab.io.errors import UserError
from muonlab.io.logs import remove_empty_logs
from muonlab.io.private import open_to_all
from muonlab.digest import observer_digest
from muonlab.jobs import console, warm
from muonlab.jobs.closing import closing
from muonlab.jobs.vanished import watch
from muonlab.parsed import keep_in
from muonlab.plan.across import Across
from muonlab.plan.ahead import jobs_ahead
from muonlab.plan.code import adapter_digest, run_digest
from muonlab.plan.datasets import IMAGES, KINDS, TEXT, source_files
from muonlab.plan.estimate import estimate
from muonlab.plan.estimate import table as print_estimate
from muonlab.plan.evaluation import outside_files
from muonlab.plan.naming import REPORTING_PATTERN, RUN_PATTERN, TUNING_PATTERN
from muonlab.plan.outputs import SPLITS, Outputs
from muonlab.plan.runs import load_plan
from muonlab.plan.titles import Titles
from muonlab.plan.written import Written
from muonlab.tuning import draws

keep_in(Path(".snakemake") / "muonlab-code.json")
draws.keep_in(Path(".snakemake") / "muonlab-draws.json")

try:
    # Snakemake lists the files of --configfile first and that of the `configfile:` directive last.
    *overlays, base = workflow.configfiles
    PLAN = load_plan([base, *overlays], command_line=workflow.config_settings.config)
    OUTPUTS = Outputs(PLAN)
    ACROSS = Across(PLAN, OUTPUTS.needs, OUTPUTS.registry)
    SOURCE_FILES = {name: source_files(name, PLAN) for name in PLAN.data_used}
except UserError as mistake:
    # A WorkflowError would also print a line of this file, but the mistake is in the config.
    sys.exit(f"error: {mistake}")

ROOT = OUTPUTS.root
WRITTEN = Written(PLAN, ROOT)
TITLES = Titles(WRITTEN)


def one_of(names):
    """A wildcard constraint that allows only these names.

    Without names it is (?!), which matches nothing; an empty constraint would match everything.
    """
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
    """What is known about a study after the first `rounds` rounds of its tuning (default: all).
    Waits for these rounds to finish."""
    return WRITTEN.known(study, proposed(study, rounds))


def chosen(study):
    """What is known about a study after its tuning. Waits for the tuning to finish.

    A job that calls this must have `settled(study)` among its inputs.
    """
    selection = checkpoints.select.get(study=study).output.selection
    return WRITTEN.known(study, proposed(study), str(selection))


def proposed(study, rounds=None):
    """The files of `proposals(study, rounds)`. Waits for the last of them first, so that a job waits
    for one checkpoint at a time, and for each earlier one that is gone."""
    files = proposals(study, rounds)
    for number in range(len(files) + 1, 1, -1):
        checkpoints.propose.get(study=study, round=number)
    return files


def proposals(study, rounds=None):
    """The files with the trials that follow from those of earlier rounds."""
    last = rounds or PLAN.studies[study].rounds
    return [f"{ROOT}/{study}/tuning/round-{number}.json" for number in range(2, last + 1)]


def settled(study):
    """The choice of a study's settings as an input that orders jobs and makes none of them stale.

    Snakemake takes a checkpoint for done when its file is there, also if it turns out later in the
    same call that it must be made again. A job with this input then waits for the new file, and is
    planned once more when it has come.
    """
    return ancient(OUTPUTS.selection(study))
