"""Checks that the tuned arms of a study are searched alike, so that none is the stronger because it
was looked for harder."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn, Protocol

from muonlab.plan.tuned_fields import Value

# What averages gradients: Muon's momentum, and that of AdamW.
MOMENTA = ("momentum", "beta1")
DECLARE = "an arm may declare unequal_search: true"
Refuse = Callable[[str], NoReturn]


class Searched(Protocol):
    """A tuned arm: its settings, the fields that it is tuned over, and its trials."""

    name: str
    settings: dict
    space: Mapping[str, Value]
    trials: Sequence


def check_equal_search(arms: Iterable[Searched], refuse: Refuse) -> None:
    """Calls `refuse` with a sentence if the arms have unequal numbers of trials or of tuned fields,
    or if some are tuned over their momentum and others are not, though they have one."""
    arms = list(arms)
    _check_numbers("trials", {arm.name: len(arm.trials) for arm in arms}, refuse)
    _check_numbers("tuned fields", {arm.name: len(arm.space) for arm in arms}, refuse)
    momenta = {arm.name: _momenta(arm.space) for arm in arms if _momenta(arm.settings["optimizer"])}
    tuned = [name for name, fields in momenta.items() if fields]
    fixed = [name for name in momenta if name not in tuned]
    if tuned and fixed:
        refuse(
            f"{tuned[0]} is tuned over {momenta[tuned[0]][0]} and {fixed[0]} not over its own "
            f"momentum ({' or '.join(MOMENTA)}); tune both, or neither, or {DECLARE}"
        )


def _check_numbers(what: str, sizes: Mapping[str, int], refuse: Refuse) -> None:
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in sizes.items())
        refuse(f"all arms must have equally many {what}, not {listed}; {DECLARE}")


def _momenta(fields: Iterable[str]) -> list[str]:
    return [field for field in MOMENTA if field in fields]
