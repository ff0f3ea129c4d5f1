"""Which settings each run's folder belongs to."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from muonlab.declare import table

COLUMNS = ["run", "arm", "seed", "phase", "settings"]


@table(
    section="tables",
    outputs={
        "run_index": (
            "index of runs",
            "Every run of **{title}** by the name of its folder in runs/: its arm, its seed, and "
            "its purpose (tuning; reporting, which results are made of; robustness, with one of "
            "the chosen settings changed). For tuning and robustness `settings` are the fields "
            "that were varied, for reporting all fields of the optimizer. A run that serves two "
            "purposes has two rows.",
        )
    },
)
def run_index(
    selection: Mapping,
    runs: Sequence[Mapping],
    arm_settings: Mapping[str, Mapping],
    changed: Sequence[Mapping] | None = None,
) -> pd.DataFrame:
    """One row for each run and purpose: run, arm, seed, phase and settings as text."""
    rows = [
        *_rows(selection["trials"], "tuning", lambda run: run["settings"]),
        *_rows(runs, "reporting", lambda run: _optimizer(arm_settings[run["arm"]])),
        *_rows(
            [run for run in changed or () if run["field"]],
            "robustness",
            lambda run: {run["field"]: f"× {run['factor']:g}"},
        ),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(runs: Sequence[Mapping], phase: str, settings) -> Iterator[dict]:
    for run in runs:
        told = ", ".join(f"{field}={value}" for field, value in settings(run).items())
        yield {name: run[name] for name in COLUMNS[:3]} | {"phase": phase, "settings": told}


def _optimizer(settings: Mapping) -> dict:
    prefix = "optimizer."
    return {
        field.removeprefix(prefix): value
        for field, value in settings.items()
        if field.startswith(prefix)
    }
