"""Whether all runs of a study were recorded by the same code, in sentences."""

from collections.abc import Iterator, Mapping

import pandas as pd

# Column of runs.csv: the verb that the sentence uses for it, and what a difference means.
KINDS = {
    "code_digest": (
        "trained",
        "differences between these runs may come from the code and not from the settings",
    ),
    "observer_digest": (
        "watched",
        "their records may differ for that reason; the trained weights do not",
    ),
}
# The code of these alternatives enters a run's digest only where the run uses it.
OWN_CODE = ("optimizer.name", "model.name")
UNKNOWN = "an unknown version"


def version_sentences(
    runs: pd.DataFrame, settings: Mapping[str, Mapping] | None = None
) -> Iterator[str]:
    """A sentence for each kind of code that differs between runs that should share it.

    `runs` is runs.csv; `settings` has each arm's settings by dotted path. Arms with the same
    optimizer and model share their code; without `settings`, only the runs of one arm are assumed
    to share it.
    """
    shared = runs.arm.map(lambda arm: _shares(arm, settings))
    for column, (verb, meaning) in KINDS.items():
        if column not in runs or runs[column].isna().all():
            continue
        versions = runs[column].fillna(UNKNOWN)
        mixed = versions.groupby(shared).transform("nunique") > 1
        if mixed.any():
            counts = versions[mixed].value_counts(sort=False)
            each = ", ".join(f"{count} by {version}" for version, count in counts.items())
            yield (
                f"**Warning:** the runs of this study were {verb} by more than one version of the "
                f"code ({each}); {meaning}."
            )


def _shares(arm: str, settings: Mapping[str, Mapping] | None) -> str:
    if settings is None:
        return arm
    return ", ".join(str(settings[arm].get(field)) for field in OWN_CODE)
