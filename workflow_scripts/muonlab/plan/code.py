"""Digests of the code that jobs run; jobs have them among their params (see `muonlab.digest`).

A registry imports the modules of all optimizers, models and kinds of data, but a run uses only one
of each. The digest of its job therefore covers only those that it uses.
"""

from collections.abc import Iterable
from pathlib import Path

from muonlab.digest import NONE, SCRIPTS, code_digest, training_digest
from muonlab.plan.datasets import IMAGES, TEXT
from muonlab.plan.models import MODELS, READS
from muonlab.plan.optimizers import OPTIMIZERS

# AdamW trains the tensors that every other optimizer leaves, so its code counts for all runs.
OPTIMIZER_CODE = {name: f"muonlab.optim.{name}" for name in OPTIMIZERS if name != "adamw"}
MODEL_CODE = {name: f"muonlab.models.{name}" for name in MODELS}
DATA_CODE = {IMAGES: "muonlab.training.images", TEXT: "muonlab.training.language"}
ALTERNATIVES = frozenset([*OPTIMIZER_CODE.values(), *MODEL_CODE.values(), *DATA_CODE.values()])


def own_code(config: dict) -> frozenset[str]:
    """The modules among the alternatives that a run with these settings uses."""
    model = config["model"]["name"]
    own = [
        OPTIMIZER_CODE.get(config["optimizer"]["name"]),
        MODEL_CODE[model],
        DATA_CODE[READS[model]],
    ]
    return frozenset(filter(None, own))


def adapter_digest(adapter: str, *modules: Path, configs: Iterable[dict] = ()) -> str:
    """The digest of an adapter (a script that a rule runs) and the modules that it loads by name.

    With `configs`, only those alternatives count that runs with these settings use. Without it,
    every imported module counts.
    """
    own = frozenset().union(*map(own_code, configs))
    entries = [adapter, *(module.relative_to(SCRIPTS).as_posix() for module in modules)]
    return code_digest(*entries, alternatives=ALTERNATIVES if own else NONE, chosen=own)


def run_digest(config: dict) -> str:
    """The digest of the code that determines the weights of a run with these settings."""
    return training_digest(own_code(config), ALTERNATIVES)
