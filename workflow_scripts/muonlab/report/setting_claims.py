"""What published sources claim about single settings, and whether a study's arms confirm it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from muonlab.report.words import verdict_on
from muonlab.statistics.verdicts import DIFFERENT, EQUIVALENT

SOURCES = Path(__file__).with_name("setting_claims.yaml")
HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"


def read_sources(path: Path = SOURCES) -> list[dict]:
    """Each source with its claims, as `setting_claims.yaml` explains them."""
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def examined(
    effects: pd.DataFrame, sources: Sequence[dict]
) -> Iterator[tuple[str, pd.Series, pd.Series | None, str]]:
    """(claim, comparison as run, comparison with updates of one size or None, verdict) for each
    claim of the sources that the arms can test. `effects` is field_effects.csv."""
    reference, values = (effects[c].map(_text) for c in ("reference_value", "value"))
    for claim in [claim for source in sources for claim in source["claims"]]:
        for value in claim["values"]:
            own = (effects.field == claim["field"]) & (reference == claim["reference"])
            own = effects[own & (values == value)]
            raw, matched = own[~own.matched_step], own[own.matched_step]
            if len(raw):
                pair = raw.iloc[0], matched.iloc[0] if len(matched) else None
                words = claim["words"].format(value=value.replace("_", " "))
                yield words, *pair, judged(claim, *pair)


def judged(claim: dict, raw, matched) -> str:
    """Whether the claim holds as run and, where the claim asks for it, also with updates of one
    size."""
    verdict = _holds(raw, claim["expected"])
    if verdict != HOLDS or not claim.get("at_any_size"):
        return verdict
    return OPEN if matched is None else _holds(matched, claim["expected"])


def _holds(row, expected: str) -> str:
    """What the verdict on the arm that has the value says of the claim."""
    found = verdict_on(row.arm, row)
    if found == expected:
        return HOLDS
    return FAILS if found in (*DIFFERENT, EQUIVALENT) else OPEN


def _text(value: object) -> str:
    """A value as text, as field_effects wrote it before the table was read back."""
    return str(value).lower() if isinstance(value, bool) else str(value)
