"""Coefficient schedules of the Newton–Schulz iteration, by name.

Each schedule is a list of triples (a, b, c) of the odd quintic X ← aX + b(XXᵀ)X + c(XXᵀ)²X and a
factor on the Frobenius norm that X is first divided by. A schedule that is run for more steps than
it has triples repeats its last triple.

Sources: `jordan` K. Jordan, Muon (2024); `quintic` J. You; `polar_express` Amsel et al., The Polar
Express (arXiv 2505.16932); `cans` Grishina et al., CANS (arXiv 2506.10935); `polar8` NVIDIA
Emerging-Optimizers; the last three belong to a public ablation of nineteen Muon variants.
"""

from typing import Annotated, Literal, NamedTuple

from muonlab.optim.hyperparameters import Where

Triple = tuple[float, float, float]


class Schedule(NamedTuple):
    """Triples in order, the factor on the norm, and whether X is normalised again at each step."""

    triples: tuple[Triple, ...]
    norm_factor: float = 1.0
    renormalise: bool = False


SCHEDULES: dict[str, Schedule] = {
    "jordan": Schedule(((3.4445, -4.7750, 2.0315),)),
    "quintic": Schedule(
        (
            (4.0848, -6.8946, 2.9270),
            (3.9505, -6.3029, 2.6377),
            (3.7418, -5.5913, 2.3037),
            (2.8769, -3.1427, 1.2046),
            (2.8366, -3.0525, 1.2012),
        )
    ),
    "polar_express": Schedule(
        (
            (8.1566, -22.4833, 15.8788),
            (4.0429, -2.8089, 0.5000),
            (3.8917, -2.7725, 0.5061),
            (3.2858, -2.3681, 0.4645),
            (2.3465, -1.7098, 0.4232),
        ),
        norm_factor=1.02,
    ),
    "cans": Schedule(
        (
            (8.4703, -25.1081, 18.6293),
            (4.1828, -3.1087, 0.5806),
            (3.9619, -2.9541, 0.5630),
            (3.2866, -2.4647, 0.5074),
            (2.2737, -1.6447, 0.4162),
        )
    ),
    "polar8": Schedule(
        (
            (8.2051, -22.9019, 16.4607),
            (4.0664, -2.8612, 0.5184),
            (3.9096, -2.8234, 0.5250),
            (3.2856, -2.4153, 0.4853),
            (2.2779, -1.6198, 0.3985),
            (1.8726, -1.2307, 0.3585),
            (1.8564, -1.2132, 0.3568),
            (1.875, -1.25, 0.375),
        ),
        norm_factor=1.01,
    ),
    "conservative": Schedule(((3.0, -4.0, 1.5),)),
    "mild_aggressive": Schedule(((3.2, -4.2, 1.8),)),
    "ultra_stable": Schedule(((2.8, -3.5, 1.2),), renormalise=True),
}
ScheduleName = Literal[*SCHEDULES, "exact"]


def schedule(coefficients: str | list[Triple]) -> Schedule:
    """The schedule of that name, or one made of explicit triples.

    Raises ValueError for an unknown name or for anything but triples of numbers.
    """
    if isinstance(coefficients, str):
        if coefficients not in SCHEDULES:
            raise ValueError(
                f"ns_coefficients: no schedule is called {coefficients!r}; "
                f"there are {', '.join(sorted(SCHEDULES))}, exact"
            )
        return SCHEDULES[coefficients]
    triples = tuple(tuple(float(x) for x in triple) for triple in coefficients)
    if not triples or any(len(triple) != 3 for triple in triples):
        raise ValueError("ns_coefficients must be a schedule's name or triples [a, b, c]")
    return Schedule(triples)


def known(coefficients: str | list[Triple]) -> str | list[Triple]:
    """The coefficients as they are. Raises ValueError where there is no schedule of them."""
    if coefficients != "exact":
        schedule(coefficients)
    return coefficients


Coefficients = Annotated[ScheduleName | list[list[float]], Where(known)]


def triples(coefficients: str | list[Triple], steps: int) -> tuple[Triple, ...]:
    """The `steps` triples that are applied, the last one repeated where the schedule is shorter."""
    given = schedule(coefficients).triples
    return tuple(given[min(i, len(given) - 1)] for i in range(steps))
