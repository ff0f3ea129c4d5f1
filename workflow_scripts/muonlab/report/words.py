"""How the verdicts of tables are said: the words of `statistics.verdicts`, for a row of a table."""

from muonlab.statistics.verdicts import NOT_ESTIMABLE, flipped, in_words


def said(row, prefix: str = "") -> str:
    """The verdict of a row as it is printed: "better", "undecided (needs n ≈ 12)" …

    A row has verdict, needs_n and the number of seeds, n or n_a and n_b; `prefix` comes before the
    names of these columns.
    """
    found = getattr(row, f"{prefix}verdict")
    if not isinstance(found, str):
        return NOT_ESTIMABLE
    n = min(row.n_a, row.n_b) if hasattr(row, "n_a") else getattr(row, f"{prefix}n")
    return in_words(found, n, getattr(row, f"{prefix}needs_n"))


def verdict_on(arm: str, row) -> str:
    """The verdict on one of the two arms of a row's difference arm_a − arm_b."""
    return flipped(row.verdict) if arm == row.arm_b else row.verdict
