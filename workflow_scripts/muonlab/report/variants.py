"""Which arms of a study belong together, read from their settings and not from their names.

`settings` has for each arm all fields of its runs by dotted path ({"optimizer.lr": 0.01, …}), in
the order of the config.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

SCALE, MATCHED = "optimizer.scale", "fixed_rms"
ITERATION = ("optimizer.ns_steps", "optimizer.ns_coefficients")
SPECTRUM = "optimizer.update_spectrum"
# What a family of arms varies, as tables say it, and the dose of the second kind: the power p.
ITERATIONS, SPECTRA, POWER = "Newton–Schulz iteration", "spectrum of the update", "spectrum_power"

Settings = Mapping[str, Mapping[str, object]]


def is_matched(fields: Mapping[str, object]) -> bool:
    """Whether the arm makes matched steps: every update has one size."""
    return fields.get(SCALE) == MATCHED


def twins(settings: Settings) -> dict[str, str]:
    """arm → its twin: the arm with the same settings except for the scale, which is fixed_rms. Arms
    without a twin, and arms that have that scale themselves, are left out."""
    by_content = {_key(fields): arm for arm, fields in settings.items()}
    found = {}
    for arm, fields in settings.items():
        if SCALE in fields and not is_matched(fields):
            twin = by_content.get(_key({**fields, SCALE: MATCHED}))
            if twin is not None:
                found[arm] = twin
    return found


def alike(settings: Settings, but: Collection[str]) -> list[list[str]]:
    """Groups of two or more arms that have all fields of `but` and differ in nothing else; in the
    order of the config."""
    groups: dict[tuple, list[str]] = {}
    for arm, fields in settings.items():
        if all(field in fields for field in but):
            rest = {field: value for field, value in fields.items() if field not in but}
            groups.setdefault(_key(rest), []).append(arm)
    return [group for group in groups.values() if len(group) > 1]


def reference(group: Sequence[str], against: str, bases: Mapping[str, str | None]) -> str:
    """The arm of a group that the others are compared with: `against` if it is in the group, else
    the arm that most of them have as their base, else the first."""
    if against in group:
        return against
    counts = Counter(bases.get(arm) for arm in group)
    return max(group, key=lambda arm: counts[arm])


def varied(settings: Settings) -> list[str]:
    """Fields in which arms of one optimizer differ, without the scale of the updates."""
    found: dict[str, None] = {}
    for group in _by_optimizer(settings):
        for field in settings[group[0]]:
            values = [settings[arm].get(field) for arm in group]
            if field != SCALE and any(value != values[0] for value in values):
                found[field] = None
    return list(found)


def _by_optimizer(settings: Settings) -> list[list[str]]:
    groups: dict[object, list[str]] = {}
    for arm, fields in settings.items():
        groups.setdefault(fields["optimizer.name"], []).append(arm)
    return list(groups.values())


def _key(fields: Mapping[str, object]) -> tuple:
    return tuple(sorted((field, repr(value)) for field, value in fields.items()))
