"""The sections of `measure` by which a study says which of its arms answer the report's standing
questions: the anchor checks, the speed-up, and where a published gap goes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from muonlab.optim import coefficients
from muonlab.section import Name, Section

if TYPE_CHECKING:
    from muonlab.plan.arms import ResolvedArm

# Fields in which an arm of another length may differ from the baseline.
LENGTH = ("training.steps", "training.epochs")
# Singular values of a momentum relative to its Frobenius norm, on a logarithmic grid. The largest
# one of a matrix is at least 1/√rank, and small ones may still be on their way through the
# iteration's maximum.
LARGEST, SMALLEST, POINTS = 0.05, 1e-7, 2000


class Anchors(Section):
    """Arms that the anchor checks compare. A check without its arm is not applicable."""

    frozen: Name | None = None
    """The arm whose hidden matrices are not trained. Every tuned arm must end below it on every
    seed."""
    without_momentum: Name | None = None
    """The arm of Muon with momentum 0. It must be worse than its base, which has momentum."""


class SpeedUp(Section):
    """How much sooner some arms reach their final loss than a baseline does.

    The baseline is also run at other lengths, each with its own whole schedule.
    """

    arms: list[Name] = Field(min_length=1)
    """The arms whose final losses the baseline has to reach."""
    baseline: Name
    """The arm that they are compared with."""
    longer: list[Name] = Field(min_length=1)
    """Arms that are the baseline at other lengths (training.steps or training.epochs). How long
    they are is read from their runs."""

    @model_validator(mode="after")
    def _consistent(self) -> "SpeedUp":
        named = [*self.arms, self.baseline, *self.longer]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(f"names {', '.join(twice)} more than once")
        return self


class WaterfallStep(Section):
    """One stage on the way from a published comparison to a fair one: a pair of arms that share all
    corrections made so far."""

    label: str = Field(min_length=1)
    """What was corrected in this step; for the first one, where the comparison starts from."""
    a: Name
    """The arm of Muon."""
    b: Name
    """The arm of AdamW."""
    outcome: Literal["final_loss", "part_loss", "test_loss"] = "final_loss"
    """The loss whose gap a − b is read: the final one on the whole split, the last one that was
    read on `evaluation_examples` of it, or the one on the test split."""


def arms_named(measure: Any) -> dict[tuple[str, ...], list[str]]:
    """The arms that these sections of `measure` name, by the path of the field."""
    anchors, speed_up = measure.anchors, measure.speed_up
    named = {
        ("measure", "anchors", field): [arm] for field, arm in anchors.model_dump().items() if arm
    }
    if speed_up:
        named["measure", "speed_up", "arms"] = speed_up.arms
        named["measure", "speed_up", "baseline"] = [speed_up.baseline]
        named["measure", "speed_up", "longer"] = speed_up.longer
    for i, step in enumerate(measure.waterfall):
        named |= {("measure", "waterfall", str(i), side): [getattr(step, side)] for side in "ab"}
    return named


def misfits(
    measure: Any,
    arms: Mapping[str, "ResolvedArm"],
    differences: Callable[["ResolvedArm", "ResolvedArm"], Sequence[str]],
) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, sentence) for each named arm that cannot answer the question that it is named for."""
    if name := measure.anchors.without_momentum:
        path = ("measure", "anchors", "without_momentum")
        arm = arms[name]
        if arm.base is None:
            yield path, f"{name} needs a base, which is the arm with momentum"
        elif arm.settings["optimizer"].get("momentum") != 0:
            yield path, f"{name} must have optimizer.momentum 0"
    if measure.speed_up:
        baseline = arms[measure.speed_up.baseline]
        for name in measure.speed_up.longer:
            changed = differences(arms[name], baseline)
            if not changed or set(changed) - set(LENGTH):
                found = ", ".join(changed) or "nothing"
                yield (
                    ("measure", "speed_up", "longer"),
                    f"{name} must differ from {baseline.name} in training.steps or "
                    f"training.epochs alone, and differs in {found}",
                )


def iteration_bands(arms: Mapping[str, "ResolvedArm"]) -> dict[str, dict]:
    """For each arm of plain Muon whose iteration maps each singular value by itself: the band
    [low, high] of the orthogonalized update's singular values, whether the iteration is the usual
    one (five of Jordan's steps), and whether the size of the update is matched to AdamW's."""
    found = {}
    for name, arm in arms.items():
        optimizer = arm.settings["optimizer"]
        if optimizer["name"] != "muon" or not optimizer["orthogonalize"]:
            continue
        if optimizer["update_spectrum"] is not None:  # singular values that no iteration made
            continue
        given, steps = optimizer["ns_coefficients"], optimizer["ns_steps"]
        band = None if given == "exact" else _band(_frozen(given), steps)
        if band is not None:
            found[name] = {
                "band": list(band),
                "usual": given == "jordan" and steps == 5,
                "matched": optimizer["scale"] == "match_rms_adamw",
            }
    return found


def _frozen(given: str | Sequence) -> str | tuple:
    return given if isinstance(given, str) else tuple(tuple(triple) for triple in given)


@cache
def _band(given: str | tuple, steps: int) -> tuple[float, float] | None:
    """The smallest value to which the iteration maps the largest singular value of a matrix, and
    the largest one to which it maps any; None for a schedule that normalises the whole matrix again
    at each step."""
    schedule = coefficients.schedule(given if isinstance(given, str) else list(given))
    if schedule.renormalise:
        return None
    start = [SMALLEST ** (i / (POINTS - 1)) for i in range(POINTS)]  # from 1 down
    values = [value / schedule.norm_factor for value in start]
    for a, b, c in coefficients.triples(given if isinstance(given, str) else list(given), steps):
        values = [x * (a + x * x * (b + x * x * c)) for x in values]
    return min(v for v, x in zip(values, start, strict=True) if x >= LARGEST), max(values)
