"""Rounds of tuning after the first: which trials to run next, given the results so far."""

from collections.abc import Mapping, Sequence

from muonlab.tuning.selection import edges, scored_trials
from muonlab.tuning.space import Point, grid_points, key
from muonlab.tuning.tpe import STARTUP, tpe_points
from muonlab.tuning.widening import extended, further_points
from muonlab.tuning.zoom import finer_points


def next_round(
    trials: Sequence[dict],
    tuning: dict,
    spaces: Mapping[str, dict],
    limits: Mapping,
    number: int,
    budgets: Mapping[str, dict] | None = None,
) -> dict:
    """Computes the scores and edges of all arms from their tuning runs, and calls `propose`.

    `trials` has the arm, settings and losses of each tuning run (see `selection.select_trials`),
    `spaces` the search space of each tuned arm, and `limits` the lowest and highest values that its
    optimizer allows, by field. `budgets` has, by arm, its number of trials and whether it is
    searched alone (by default those of `tuning`, together with the others).
    """
    scored, arms = {}, {}
    for name, space in spaces.items():
        own = [trial for trial in trials if trial["arm"] == name]
        scored[name] = scored_trials(own, tuning["score"])
        best = min(scored[name], key=lambda trial: trial["score"])
        found = edges(best["settings"], space)
        arms[name] = {"space": space, "edges": found, "limits": limits[name]}
        arms[name] |= (budgets or {}).get(name, {})
    return propose(arms, tuning, scored, number)


def propose(
    arms: Mapping[str, dict], tuning: dict, scored: Mapping[str, Sequence[dict]], number: int
) -> dict:
    """The trials of round `number` (2 or more), as {spaces, points} for each arm.

    `arms` has the space, edges and limits (by field of its optimizer) of each tuned arm, and may
    have its `budget` of trials and `alone` (see `next_round`); `scored` has its trials so far, with
    settings and score. tpe proposes the next `batch` points of each arm within its budget, and zoom
    the points of the next finer round. With grid and sobol, the spaces of all arms are widened if
    the best trial of any arm lies on an edge; otherwise there are no new points. The new points are
    those that a widened grid adds, or, for a box, as many as the first round had.
    """
    spaces = {name: arm["space"] for name, arm in arms.items()}
    if tuning["method"] == "zoom":
        return _finer(arms, tuning, scored, number)
    if tuning["method"] == "tpe":
        points = {
            name: _tpe(name, arm["space"], scored[name], number, _own(tuning, arm))
            for name, arm in arms.items()
        }
        return {"spaces": spaces, "points": points}
    edges = {name: arm["edges"] for name, arm in arms.items()}
    if not any(edges.values()):
        return {"spaces": spaces, "points": {name: [] for name in spaces}}
    limits = _limits(arms)
    grown = extended(spaces, edges, limits)
    points = {
        name: _new_points(spaces[name], grown[name], scored[name], tuning, name) for name in spaces
    }
    return {"spaces": grown, "points": points}


def _finer(
    arms: Mapping[str, dict], tuning: dict, scored: Mapping[str, Sequence[dict]], number: int
) -> dict:
    """The next round of zoom. After the last planned one, arms get further trials because of an
    edge: all arms that are searched together if one of them is on an edge, and an arm that is
    searched alone if it is on one itself."""
    planned = number <= tuning["rounds"]
    together = any(arm["edges"] for arm in arms.values() if not arm.get("alone"))
    spaces, points = {}, {}
    for name, arm in arms.items():
        spaces[name], points[name] = arm["space"], []
        if planned or (arm["edges"] if arm.get("alone") else together):
            spaces[name], points[name] = finer_points(
                arm["space"],
                scored[name],
                number,
                _own(tuning, arm),
                arm["limits"],
                f"arm {name}: box",
            )
    return {"spaces": spaces, "points": points}


def _own(tuning: dict, arm: Mapping) -> dict:
    """The settings of tuning with the arm's own number of trials."""
    return tuning | {"trials": arm.get("budget", tuning["trials"])}


def _tpe(name: str, space: dict, scored: Sequence[dict], number: int, tuning: dict) -> list[Point]:
    left = tuning["trials"] - STARTUP - (number - 2) * tuning["batch"]
    count = max(0, min(tuning["batch"], left))
    history = [(trial["settings"], trial["score"]) for trial in scored]
    return tpe_points(space, history, count, tuning["search_seed"], f"arm {name}: box")


def _new_points(
    space: dict, grown: dict, scored: Sequence[dict], tuning: dict, name: str
) -> list[Point]:
    if tuning["method"] == "sobol":
        known = [trial["settings"] for trial in scored]
        place = f"arm {name}: box"
        return further_points(space, grown, known, tuning["trials"], tuning["search_seed"], place)
    known = {key(point.values()) for point in grid_points(space)}
    return [point for point in grid_points(grown) if key(point.values()) not in known]


def _limits(arms: Mapping[str, dict]) -> dict[str, tuple[float, float]]:
    """(lowest, highest) by field: the values that the optimizers of all arms allow."""
    found: dict[str, tuple[float, float]] = {}
    for arm in arms.values():
        for field, (low, high) in arm["limits"].items():
            before = found.get(field, (low, high))
            found[field] = (max(before[0], low), min(before[1], high))
    return found
