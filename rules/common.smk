"""What all files of rules use: the checked plan, digests of code, and names of outputs.

Needs: the config. Gives: PLAN (studies, arms, runs), `job()`, wildcard constraints, one target per
study. Nothing here imports torch: each job of a cluster reads these files again.
"""

import json
import sys
from pathlib import Path

SCRIPTS = Path(workflow.basedir) / "workflow_scripts"
sys.path.append(str(SCRIPTS))

from muonlab.io.errors import UserError
from muonlab.plan.datasets import IMAGES, KINDS, TEXT, source_files
from muonlab.digest import code_digest
from muonlab.plan.models import MODELS, READS
from muonlab.plan.naming import RUN_PATTERN
from muonlab.plan.optimizers import OPTIMIZERS as REGISTERED
from muonlab.plan.runs import load_plan

try:
    # Snakemake lists the overlays first and the file of the `configfile:` directive last.
    *overlays, base = workflow.configfiles
    PLAN = load_plan([base, *overlays], command_line=workflow.config_settings.config)
    for study in PLAN.studies.values():
        # Rounds of tuning that were proposed before: a job on a cluster reads these files anew.
        for proposal in sorted(Path("results", study.name, "tuning").glob("round-*.json")):
            study.add_trials(json.loads(proposal.read_text())["points"])
            PLAN.runs.update(study.runs)
    SOURCE_FILES = {name: source_files(name, PLAN) for name in PLAN.data_used}
except UserError as mistake:
    # Not a WorkflowError: it would add the place in this file, which is not where the mistake is.
    sys.exit(f"error: {mistake}")


wildcard_constraints:
    study="|".join(PLAN.studies),
    dataset="|".join(PLAN.data),
    # (?!) matches nothing: an empty constraint would be none.
    images="|".join(PLAN.data_of_kind(IMAGES)) or "(?!)",
    corpus="|".join(PLAN.data_of_kind(TEXT)) or "(?!)",
    arm=r"[a-z][a-z0-9_]*",
    run=RUN_PATTERN,
    seed=r"\d+",
    round=r"\d+",


# Of these modules a run uses its own ones. AdamW trains what every other optimizer leaves: its code
# counts for all runs.
OPTIMIZERS = {name: f"muonlab.optim.{name}" for name in REGISTERED if name != "adamw"}
MODEL_CODE = {name: f"muonlab.models.{name}" for name in MODELS}
DATA_CODE = {IMAGES: "muonlab.training.images", TEXT: "muonlab.training.language"}
ALTERNATIVES = frozenset([*OPTIMIZERS.values(), *MODEL_CODE.values(), *DATA_CODE.values()])


def own_code(config):
    """The modules among the alternatives that a run with these settings uses."""
    model = config["model"]["name"]
    own = [OPTIMIZERS.get(config["optimizer"]["name"]), MODEL_CODE[model], DATA_CODE[READS[model]]]
    return frozenset(filter(None, own))


def train_job(run):
    """The param of a training run: of the optimizers', models' and kinds of data's code only its
    own counts."""
    config = PLAN.runs[run]
    code = code_digest(SCRIPTS / "train.py", ALTERNATIVES, own_code(config))
    return {"code": code, "config": config}


def prepare_job(script, dataset):
    """The param of the preparation of a data set: of the sources' code only its own counts."""
    config = PLAN.data[dataset]
    own = frozenset([f"muonlab.data.sources.{config['source']}"])
    return {"code": code_digest(SCRIPTS / script, chosen=own), "config": config}


def measuring_job(script, study, **settings):
    """The param of a job that opens a study's runs: of the models' and kinds of data's code only
    its own counts."""
    arm = next(iter(PLAN.studies[study].arms.values()))
    code = code_digest(SCRIPTS / script, ALTERNATIVES, own_code(arm.settings))
    return {"code": code} | settings


def job(script, **settings):
    """A rule's one param: plain settings in a fixed order, and the digest of the code that it runs.

    Snakemake compares params as a set of texts without names, so that two equal values swapped
    would not be seen if they stood alone.
    """
    return {"code": code_digest(SCRIPTS / script)} | settings
