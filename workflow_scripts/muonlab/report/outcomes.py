"""Outcomes of the runs as one tidy table, at the end and where the compared arms have one loss."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from muonlab.report.levels import Along, along, diverged_runs, evaluated
from muonlab.report.measured import hidden_mean, with_degradation
from muonlab.report.records import loss_of

WHOLE = ("final_loss", "test_loss", "test_accuracy")
COLUMNS = ["arm", "seed", "outcome", "value", "level", "nearest", "unknown"]


class Outcomes:
    """The values of all runs in every outcome.

    `outcomes` are listed by the plan; `measured` holds the records of all runs for each measurement
    (`spectra`, `curvature`, `quantization`, any of which may be missing), `metrics` their curves.
    Spectral outcomes are means over the hidden layers' weight matrices.
    """

    def __init__(
        self,
        outcomes: Sequence[dict],
        runs: Sequence[dict],
        summaries: Sequence[dict],
        metrics: pd.DataFrame,
        measured: dict[str, pd.DataFrame],
    ):
        self.outcomes = outcomes
        self.diverged = diverged_runs(runs, summaries)
        self.whole = _run_values(runs, summaries)
        split = summaries[0]["evaluated_on"]
        self.curves = evaluated(metrics, split, self.diverged)
        # Quantities that were measured on the same data have the same loss, and so one table.
        self.along = [along(records, self.diverged) for records in _quantities(measured)]
        self.count = len({o["point"] for o in outcomes if o["point"].startswith("loss")})

    def of(self, arms: Collection[str] | None = None) -> pd.DataFrame:
        """arm, seed, outcome, value, level, nearest, unknown of `arms` (default: of all arms), one
        row for each run and outcome.

        At the points of equal loss, `level` is that loss, which all runs of `arms` passed;
        `nearest` is the loss of the run's measured snapshot nearest to it; `unknown` says that the
        run did not diverge and has no value there all the same. At the end, `nearest` is the loss
        at the end. Steps to a loss are infinite for a diverged run.
        """
        steps = self.curves.steps_to(self.curves.levels(self.count, arms), arms)
        found = [self.whole, steps.melt(id_vars=_FACTS, var_name="quantity")]
        for quantities in self.along:
            found += [
                _ends(quantities, arms),
                quantities.at(quantities.levels(self.count, arms), arms).melt(
                    id_vars=_FACTS, var_name="quantity"
                ),
            ]
        values = pd.concat(found, ignore_index=True)
        if arms is not None:
            values = values[values.arm.isin(arms)]
        names = pd.DataFrame(
            {"outcome": o["name"], "quantity": _quantity(o), "point": o["point"]}
            for o in self.outcomes
        )
        table = names.merge(values, on=["quantity", "point"], how="inner", sort=False)
        runs = pd.Series(zip(table.arm, table.seed, strict=True), index=table.index)
        lost = runs.isin(self.diverged)
        table["unknown"] = table.point.str.startswith("loss") & table.value.isna() & ~lost
        return table[COLUMNS]


_FACTS = ["arm", "seed", "point", "level", "nearest"]


def _quantity(outcome: dict) -> str:
    """The name of an outcome's quantity among those that are measured along the runs."""
    if "scheme" in outcome:
        return f"{outcome['quantity']} {outcome['bits']} {outcome['scheme']}"
    return outcome["quantity"]


def _run_values(runs: Sequence[dict], summaries: Sequence[dict]) -> pd.DataFrame:
    rows = []
    for run, summary in zip(runs, summaries, strict=True):
        for name in WHOLE:
            facts = {"point": "", "level": np.nan, "nearest": np.nan}
            row = {"arm": run["arm"], "seed": run["seed"], "quantity": name}
            row["value"] = loss_of(summary, name)
            rows.append(row | facts)
    return pd.DataFrame(rows)


def _ends(quantities: Along, arms: Collection[str] | None) -> pd.DataFrame:
    """The quantities at the end of each run, in the form of `Along.at`, as one row each."""
    rows = []
    for (arm, seed), own in quantities.runs.items():
        if arms is not None and arm not in arms:
            continue
        last = dict(zip(own.columns, own.to_numpy()[-1].tolist(), strict=True))
        facts = (arm, seed, "end", np.nan, last.pop("loss"))
        rows += [(*facts, quantity, value) for quantity, value in last.items()]
    return pd.DataFrame(rows, columns=[*_FACTS, "quantity", "value"])


def _quantities(measured: dict[str, pd.DataFrame]) -> list[pd.DataFrame]:
    """For each measurement arm, seed, step, loss, quantity and value."""
    parts = []
    if "spectra" in measured:
        spectra = hidden_mean(measured["spectra"])
        spectra = spectra[spectra.object == "weight"]
        parts.append(spectra.assign(quantity=spectra.metric))
    if "curvature" in measured:
        curvature = measured["curvature"]
        curvature = curvature[(curvature["index"] == 0) & (curvature.metric != "loss")]
        parts.append(curvature.assign(quantity=curvature.metric))
    if "quantization" in measured:
        drops = with_degradation(measured["quantization"])
        drops = drops[drops.metric == "accuracy_drop"]
        name = drops.metric + " " + drops.bits.astype(str) + " " + drops.scheme
        parts.append(drops.assign(quantity=name))
    return [part for part in parts if len(part)]
