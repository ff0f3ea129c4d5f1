"""The 2 × 2 ablation of two components: the cost of removing each, and their interaction.

With losses (lower is better) of the four arms, on the same seeds:

    full          without_a          without_b          neither

* *Contribution* of a component is the cost of removing it from the full method:
  without_a − full is the contribution of a. Positive: the component helps.
* *Alone* is the gain from adding a component to neither: neither − without_b for a, since without_b
  has a alone.
* *Main effect* is the mean of the two.
* *Synergy* is contribution − alone, one number for both components: without_a + without_b − full −
  neither. Positive: each contributes more when the other is present. Negative: each partly replaces
  the other.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from muonlab.statistics.hypothesis_tests import paired_t
from muonlab.statistics.intervals import as_sample, count_diverged
from muonlab.statistics.run_table import check_known, checked_runs, matrix_by_seed, runs_by_arm

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("full", "without_a", "without_b", "neither")


def two_by_two(
    full: ArrayLike,
    without_a: ArrayLike,
    without_b: ArrayLike,
    neither: ArrayLike,
    names: tuple[str, str] = ("a", "b"),
    alpha: float = 0.05,
) -> list[dict]:
    """The effects of both components and their synergy, each with a paired t interval and p.

    Losses of shape (n,), paired by position. Rows: effect ("contribution", "alone", "main effect"
    of each component; "difference of contributions", a − b; "synergy"), component, n, value (in
    the loss's unit), low, high, t, df, p (not corrected), diverged (runs of all four arms). A
    diverged run makes every effect that it enters not estimable. ValueError: other shapes.
    """
    given = zip(ROLES, (full, without_a, without_b, neither), strict=True)
    losses = [as_sample(values, role) for role, values in given]
    if len({len(x) for x in losses}) > 1:
        lengths = ", ".join(f"{r} has {len(x)}" for r, x in zip(ROLES, losses, strict=True))
        raise ValueError(f"the four arms must pair up by seed: {lengths} values.")
    full, without_a, without_b, neither = losses
    a, b = names
    # Each effect is a difference of two arms or of two means of two arms: a paired t test.
    pairs = {
        ("contribution", a): (without_a, full),
        ("contribution", b): (without_b, full),
        ("alone", a): (neither, without_b),
        ("alone", b): (neither, without_a),
        ("main effect", a): ((without_a + neither) / 2, (full + without_b) / 2),
        ("main effect", b): ((without_b + neither) / 2, (full + without_a) / 2),
        ("difference of contributions", f"{a} − {b}"): (without_a, without_b),
        ("synergy", f"{a} and {b}"): (without_a + without_b, full + neither),
    }
    diverged = sum(map(count_diverged, losses))
    rows = []
    for (effect, component), (above, below) in pairs.items():
        test = paired_t(above, below, alpha)
        row = {"effect": effect, "component": component, "n": len(full), "value": test.difference}
        row |= {"low": test.low, "high": test.high, "t": test.t, "df": test.df, "p": test.p}
        rows.append(row | {"diverged": diverged})
    return rows


def interaction_table(
    table: "pd.DataFrame",
    arms: Mapping[str, str],
    outcome: str,
    names: tuple[str, str] = ("a", "b"),
    alpha: float = 0.05,
) -> "pd.DataFrame":
    """`two_by_two` on a table of runs; `arms` gives full, without_a, without_b, neither their arm.

    A lower outcome must be better. ValueError: what `checked_runs` and
    `matrix_by_seed` raise, and a role that is missing or unknown.
    """
    import pandas as pd

    if set(arms) != set(ROLES):
        raise ValueError(f"arms must name {', '.join(ROLES)}, not {', '.join(arms)}.")
    by_arm = runs_by_arm(checked_runs(table, [outcome]), outcome)
    check_known("arm", arms.values(), by_arm)
    losses = matrix_by_seed(by_arm, [arms[role] for role in ROLES]).T
    return pd.DataFrame(two_by_two(*losses, names=names, alpha=alpha))
