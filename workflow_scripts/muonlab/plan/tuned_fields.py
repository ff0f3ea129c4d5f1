"""Fields of a run that tuning chooses and that arms change, and what becomes of a section of
settings when one of them is set or multiplied."""

from collections.abc import Callable, Mapping

from muonlab.io.errors import UserError
from muonlab.tuning.space import Value, rounded

# Decay rates. A factor multiplies their distance from 1, because that distance decides how many
# updates they average over.
DECAY_RATES = ("momentum", "beta1", "beta2")
DIGITS = 6  # significant digits of a hyperparameter that was multiplied
# The rates of the groups other than the hidden matrices, as multiples of lr.
RATIOS = ("embedding_ratio", "head_ratio", "vector_ratio")
# Fields of the training section that tuning may choose.
TUNABLE = ("training.warmup_steps", "training.final_lr_fraction", "training.clip")


def path_of(field: str) -> str:
    """The dotted path of a tuned field: training.… stands for itself, and all others belong to the
    optimizer."""
    return field if field.startswith("training.") else f"optimizer.{field}"


def multiplied(optimizer: dict, field: str, factor: float) -> dict:
    """An optimizer's section with one number multiplied.

    For a decay rate, its distance from 1 is multiplied. `lr` is multiplied for matrices alone: the
    ratios of the other groups are divided by the factor, so that their rates stay.
    """
    changed = optimizer | {field: scaled(field, optimizer[field], factor)}
    if field == "lr":
        changed |= {ratio: scaled(ratio, optimizer[ratio], 1 / factor) for ratio in RATIOS}
    return changed


def with_settings(optimizer: dict, point: Mapping[str, Value]) -> dict:
    """An optimizer's section with other values of some fields. Another `lr` is one for matrices
    alone, as in `multiplied`."""
    if "lr" in point:
        optimizer = multiplied(optimizer, "lr", point["lr"] / optimizer["lr"])
    return optimizer | dict(point)


def scaled(field: str, value: float, factor: float) -> float:
    """A hyperparameter times `factor`. For a decay rate, its distance from 1 is multiplied."""
    if field in DECAY_RATES:
        return rounded(1 - (1 - value) * factor, DIGITS)
    return rounded(value * factor, DIGITS)


def with_value(section: dict, path: list[str], value: object) -> dict:
    key, *rest = path
    return section | {key: with_value(section[key], rest, value) if rest else value}


def put_all(
    settings: dict, changes: Mapping[str, object], put_one: Callable[[dict, str, object], dict]
) -> dict:
    """`settings` with several fields changed by `put_one`, whatever their order in the file: a
    number of heads may fit the new width of a model and not the old one.

    Raises the first error of the fields that cannot be changed.
    """
    waiting = dict(changes)
    while waiting:
        refused: dict[str, UserError] = {}
        for field, value in waiting.items():
            try:
                settings = put_one(settings, field, value)
            except UserError as mistake:
                refused[field] = mistake
        if len(refused) == len(waiting):
            raise next(iter(refused.values()))
        waiting = {field: waiting[field] for field in refused}
    return settings
