"""Proposes trials from the results of earlier ones, by optuna's tree-structured Parzen estimator.

optuna is optional: it is not in the environment, and only the method tpe needs it.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from muonlab.io.errors import UserError
from muonlab.tuning.space import (
    Choice,
    Point,
    Range,
    Space,
    Value,
    axes,
    count_points,
    is_number,
    key,
    sobol_stream,
    take,
)

if TYPE_CHECKING:
    import optuna

STARTUP = 10  # trials from the Sobol sequence before the estimator is used
ASKS_PER_POINT = 200  # proposals for each new point, after which the search gives up


def tpe_points(
    space: Space,
    history: Sequence[tuple[Mapping[str, Value], float | None]],
    n: int,
    seed: int,
    place: str = "box",
) -> list[Point]:
    """The next n points of the space, given (settings, score) of earlier trials; lower is better.

    Multivariate TPE (Bergstra et al. 2011; optuna's TPESampler) with the "constant liar": each
    point of this batch counts as a bad one for those after it, so that they spread out. A score
    that is missing or not finite means a diverged trial, which ranks last. With fewer than 10
    earlier trials, the result is the points of `sobol_points` that are not among them.

    The result depends on the arguments alone, and a larger n starts with the same points. No point
    is in the history, and none occurs twice. Raises UserError if optuna is not installed, if an
    earlier trial lies outside the space, or if the space has too few points left.
    """
    optuna = _optuna()
    checked = axes(space, place)
    tried = {key(_inside(checked, settings, place).values()) for settings, _ in history}
    if len(history) < STARTUP:
        fresh = (p for p in sobol_stream(checked, seed) if key(p.values()) not in tried)
        return take(fresh, n, place)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings(action="ignore"):  # optuna warns that options are experimental
        study = _study(optuna, checked, history, seed)
        return take(_asked(study, optuna, checked, tried, n), n, place)


def _asked(study: "optuna.Study", optuna, checked: dict[str, Range | Choice], tried: set, n: int):
    """Points that optuna's study proposes and that are not in `tried`; ends if it finds no more."""
    distributions = {field: _distribution(optuna, axis) for field, axis in checked.items()}
    for _ in range(ASKS_PER_POINT * n):
        if len(tried) == count_points(checked):
            return
        # A point that was already tried remains an unfinished trial. It counts as a bad one, so
        # the next proposal lies elsewhere.
        params = study.ask(distributions).params
        point = {field: _value(axis, params[field]) for field, axis in checked.items()}
        if key(point.values()) not in tried:
            tried.add(key(point.values()))
            yield point


def _study(optuna, checked: dict, history: Sequence, seed: int) -> "optuna.Study":
    from muonlab.streams import stream_key

    sampler = optuna.samplers.TPESampler(
        seed=stream_key(seed, "search", "tpe", len(history)) % 2**32,
        n_startup_trials=0,
        multivariate=True,
        constant_liar=True,
    )
    study = optuna.create_study(sampler=sampler, direction="minimize")
    distributions = {field: _distribution(optuna, axis) for field, axis in checked.items()}
    for settings, score in history:
        params = {field: _parameter(axis, settings[field]) for field, axis in checked.items()}
        value = math.inf if score is None or not math.isfinite(score) else score
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=value)
        )
    return study


def _inside(checked: dict[str, Range | Choice], settings: Mapping, place: str) -> Point:
    """The settings of the space's fields. Raises UserError unless they are a point of the space."""
    for field, axis in checked.items():
        if field not in settings or not axis.holds(settings[field]):
            given = settings.get(field, "nothing")
            raise UserError(f"{place}.{field}: an earlier trial has {given}, outside this space")
    return {field: settings[field] for field in checked}


def _ordered(axis: Choice) -> list[float] | None:
    """The values sorted, if all are numbers, so that TPE knows which are neighbours; else None."""
    return sorted(axis.values) if all(map(is_number, axis.values)) else None


def _distribution(optuna, axis: Range | Choice):
    if isinstance(axis, Choice):
        if _ordered(axis) is None:
            return optuna.distributions.CategoricalDistribution(axis.values)
        return optuna.distributions.IntDistribution(0, len(axis.values) - 1)
    kind = optuna.distributions
    kind = kind.IntDistribution if axis.integer else kind.FloatDistribution
    if axis.from_one:
        return kind(1 - axis.high, 1 - axis.low, log=True)
    return kind(axis.low, axis.high, log=axis.log)


def _parameter(axis: Range | Choice, value: Value) -> Value:
    """A setting as optuna's parameter."""
    if isinstance(axis, Range) and axis.from_one:
        return min(max(1 - value, 1 - axis.high), 1 - axis.low)
    ordered = _ordered(axis) if isinstance(axis, Choice) else None
    return value if ordered is None else ordered.index(value)


def _value(axis: Range | Choice, parameter: Value) -> Value:
    """optuna's parameter as a setting."""
    if isinstance(axis, Choice):
        ordered = _ordered(axis)
        return parameter if ordered is None else ordered[parameter]
    return axis.nearest(1 - parameter if axis.from_one else parameter)


def _optuna():
    try:
        import optuna
    except ImportError:
        raise UserError(
            "tuning: the method tpe needs the package optuna, which is not installed; install it, "
            "or choose the method grid, sobol or zoom"
        ) from None
    return optuna
