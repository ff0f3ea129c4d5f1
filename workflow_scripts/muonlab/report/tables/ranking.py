"""Arms ranked by their loss and compared with one of them, as run and with matched steps."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.records import listed
from muonlab.report.variants import Settings, alike, is_matched, reference, twins, varied
from muonlab.statistics.contrasts import contrasts as compare_pairs
from muonlab.statistics.intervals import mean_interval
from muonlab.statistics.verdicts import NOT_ESTIMABLE

LOSS, STEP = "final_loss", "step_time"
COMPARED = ["arm_a", "arm_b", "family", "n", "difference", "low", "high", "p", "p_adjusted"]
COMPARED += ["verdict", "needs_n", "reason"]
NOT_COMPARED = (
    "The two arms are not compared: measure.contrasts names them in no family, and neither is the "
    "base of the other."
)


@table(
    section="tables",
    outputs={
        "ranking": (
            "ranking of all arms",
            "All arms of **{title}** on *{data}* (protocol: {protocol}) by their loss at the end "
            "of training, means over n = {n} seeds per arm. ``difference`` is ``arm_a`` minus "
            "``arm_b`` by seed: the arm minus {against}, but where one of the two is AdamW, AdamW "
            "is subtracted. ``low``, ``high`` (the simultaneous {interval} interval of the "
            "``family``) and the ``verdict`` on ``arm_a`` are those of the table *contrasts "
            "between arms*. ``improvement_percent`` says how far the loss is below that of "
            "{against}. The columns ``matched_`` compare the arm's twin with that of {against}: a "
            "twin has the same settings, but all its updates have one size. They are empty for "
            "arms without a twin. The columns ``step_change_`` compare the times of an update, in "
            "a family of their own. "
            "``step_cpu_seconds`` and ``step_seconds`` are medians over updates after warm-up, "
            "``seconds`` a run's whole time. Runs that diverged are counted, and their arms come "
            "last. ``compound`` arms differ in more than one variable.",
        ),
        "field_effects": (
            "single settings",
            "Each setting in which some arms of **{title}** differ and in nothing else: the loss "
            "at each value, and its difference from the reference value by seed (n = {n}): "
            "``arm_a`` minus ``arm_b``, with the simultaneous {interval} interval of its "
            "``family`` and the ``verdict`` on ``arm_a``, from the table *contrasts between arms*. "
            "A group is a set of arms that are alike in all but that setting; ``matched_step`` "
            "says that all their updates have one size. Data: *{data}*, protocol: {protocol}.",
        ),
    },
)
def ranking(
    contrasts: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    study: dict,
    arm_settings: Settings,
    against: str,
    variables: Mapping[str, Sequence[str]],
) -> dict[str, pd.DataFrame]:
    found = ranked_runs(runs, summaries, provenances)
    # Arms that the study leaves out of its ranking have no variables here.
    study = study | {"arms": [arm for arm in study["arms"] if arm["name"] in variables]}
    arm_settings = {arm: own for arm, own in arm_settings.items() if arm in variables}
    return {
        "ranking": ranking_table(found, contrasts, study, arm_settings, variables, against),
        "field_effects": field_effects(found, contrasts, study, arm_settings, against),
    }


def ranked_runs(
    runs: Sequence[dict], summaries: Sequence[dict], provenances: Sequence[dict]
) -> pd.DataFrame:
    """One row for each run: arm, seed, loss, accuracy, seconds and processor seconds.

    `step_time` is the median time of an update after the first stretch: processor time on a CPU,
    which a busy machine does not change, and wall time on a GPU, whose work does not count as
    processor time.
    """
    rows = []
    for run, summary, provenance in zip(runs, summaries, provenances, strict=True):
        of_cpu = provenance["device_type"] == "cpu"
        rows.append(
            {"arm": run["arm"], "seed": run["seed"], LOSS: summary["final_loss"]}
            | {"accuracy": summary["final_accuracy"], "diverged": summary["diverged"]}
            | {"evaluated_on": summary["evaluated_on"], "seconds": provenance["seconds"]}
            | {k: provenance[k] for k in ("step_seconds", "step_cpu_seconds")}
            | {STEP: provenance["step_cpu_seconds" if of_cpu else "step_seconds"]}
        )
    return pd.DataFrame(rows)


def ranking_table(
    runs: pd.DataFrame,
    contrasts: pd.DataFrame,
    study: dict,
    settings: Settings,
    variables: Mapping[str, Sequence[str]],
    against: str,
) -> pd.DataFrame:
    """One row for each arm, the lowest mean loss first; arms with a diverged run come last.

    `contrasts` is contrasts.csv: the comparison of an arm with `against` is the row that this table
    has for the two. `variables` are those in which each arm differs from `against`; more than one
    makes the comparison compound. The columns `matched_…` compare the arm's twin with the twin of
    `against`; twins have matched steps.
    """
    arms = [arm["name"] for arm in study["arms"]]
    table = pd.DataFrame([_arm_row(runs[runs.arm == arm], study, arm) for arm in arms])
    base = table.loc[table.arm == against, "loss"].iloc[0]
    table["improvement_percent"] = 100 * (base - table.loss) / base
    compare = _Comparisons(contrasts, runs)
    others = [arm for arm in arms if arm != against]
    table = table.join(compare({arm: (arm, against) for arm in others}), on="arm")
    step = _step_changes(runs, table, bool(study["training"]["paired"]), study["alpha"])
    table = table.join(step.add_prefix("step_change_"), on="arm")
    table["compound"] = [len(variables[arm]) > 1 for arm in arms]
    table["variables"] = [", ".join(variables[arm]) for arm in arms]
    table = table.join(_matched(compare, settings, against), on="arm")
    table["matched_step"] = [is_matched(settings[arm]) for arm in arms]
    table = table.assign(against=against, data=study["data"], protocol=study["protocol"])
    last = (table.diverged > 0) | table.loss.isna()
    table = table.assign(last=last).sort_values(["last", "loss"], kind="stable", ignore_index=True)
    table.insert(0, "rank", range(1, len(table) + 1))
    return table.drop(columns="last")


def field_effects(
    runs: pd.DataFrame, contrasts: pd.DataFrame, study: dict, settings: Settings, against: str
) -> pd.DataFrame:
    """Every field that is the only difference between some arms: its values against the reference.

    One row for each arm of each group of arms that are alike except for that field. Each comparison
    is the row that `contrasts`, contrasts.csv, has for the two arms.
    """
    bases = {arm["name"]: arm["base"] for arm in study["arms"]}
    compare = _Comparisons(contrasts, runs)
    means = _means(runs)
    tables = []
    for field in varied(settings):
        for number, group in enumerate(alike(settings, [field])):
            first = reference(group, against, bases)
            others = sorted(
                (arm for arm in group if arm != first), key=lambda arm: _order(settings[arm][field])
            )
            found = compare({arm: (arm, first) for arm in others}).rename_axis("arm").reset_index()
            found.insert(0, "field", field)
            found.insert(1, "group", number)
            found.insert(2, "matched_step", is_matched(settings[first]))
            found.insert(3, "reference", first)
            found.insert(4, "reference_value", _text(settings[first][field]))
            found.insert(5, "reference_loss", means[first])
            found.insert(7, "value", [_text(settings[arm][field]) for arm in found.arm])
            found.insert(8, "loss", [means[arm] for arm in found.arm])
            tables.append(found)
    columns = ["field", "group", "matched_step", "reference", "reference_value"]
    columns += ["reference_loss", "arm", "value", "loss", *COMPARED]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    return table[columns].assign(data=study["data"], protocol=study["protocol"])


class _Comparisons:
    """Finds the comparisons of final losses that contrasts.csv has: one row for each pair, with
    the columns COMPARED, under the keys of `pairs`."""

    def __init__(self, contrasts: pd.DataFrame, runs: pd.DataFrame):
        own = contrasts[contrasts.outcome == LOSS]
        self.rows = {frozenset((row.arm_a, row.arm_b)): row for row in own.itertuples()}
        self.means = _means(runs)

    def __call__(self, pairs: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
        rows = [self._row(*pair) for pair in pairs.values()]
        return pd.DataFrame(rows, index=list(pairs), columns=COMPARED)

    def _row(self, arm: str, reference: str) -> dict:
        found = self.rows.get(frozenset((arm, reference)))
        if found is None:
            row = dict.fromkeys(COMPARED) | {"arm_a": arm, "arm_b": reference}
            return row | {"verdict": NOT_ESTIMABLE, "reason": NOT_COMPARED}
        row = {column: getattr(found, column) for column in COMPARED}
        row["n"] = min(found.n_a, found.n_b)
        if row["n"] == 1:  # a single pair of runs has a difference, but no interval and no test
            row["difference"] = self.means[found.arm_a] - self.means[found.arm_b]
        return row


def _means(runs: pd.DataFrame) -> pd.Series:
    """The mean final loss of each arm; not a number if one of its runs diverged."""
    return runs.groupby("arm")[LOSS].agg(lambda v: np.mean(v.to_numpy(dtype=float)))


def _step_changes(
    runs: pd.DataFrame, table: pd.DataFrame, paired: bool, alpha: float
) -> pd.DataFrame:
    """The time of an update compared for the same pairs as the loss, by arm: a family of its own,
    since contrasts.csv compares no times."""
    values = runs.assign(outcome=STEP, value=runs[STEP].astype(float))
    own = table[table.arm_a.notna()]
    pairs = list(own[["arm_a", "arm_b"]].itertuples(index=False, name=None))
    found = compare_pairs(
        values[["arm", "seed", "outcome", "value"]],
        pairs, [STEP], alpha, paired=paired, better={STEP: "lower"},
    )  # fmt: skip
    found["n"] = found[["n_a", "n_b"]].min(axis=1)
    columns = ["n", "difference", "low", "high", "p_adjusted", "verdict", "needs_n"]
    return found[columns].set_axis(own.arm.to_numpy(), axis=0)


def _arm_row(own: pd.DataFrame, study: dict, arm: str) -> dict:
    """The results of one arm with intervals over its seeds; a single seed has no interval."""
    known = next(a for a in study["arms"] if a["name"] == arm)
    row = {"arm": arm, "variant": known["label"], "seeds": len(own)}
    row["diverged"] = int(own.diverged.sum())
    values = {"loss": LOSS, "accuracy": "accuracy", "seconds": "seconds"}
    values |= {k: k for k in (STEP, "step_seconds", "step_cpu_seconds")}
    for name, column in values.items():
        sample = own[column].to_numpy(dtype=float)
        interval = mean_interval(sample, study["alpha"])
        row |= {name: float(np.mean(sample))}
        if name in ("loss", "accuracy", STEP):
            row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
        if name == "loss":
            row["perplexity"] = float(np.exp(row["loss"]))
    row |= {"evaluated_on": own.evaluated_on.iloc[0], "lr": known["settings"].get("lr")}
    return row | {"edge": listed(known["edges"])}


def _matched(compare: _Comparisons, settings: Settings, against: str) -> pd.DataFrame:
    """The comparison of each arm's twin with the twin of `against`, by arm."""
    pairs = twins(settings)
    base = pairs.get(against)
    twin_of = {arm: twin for arm, twin in pairs.items() if base not in (None, twin)}
    found = compare({arm: (twin, base) for arm, twin in twin_of.items()})
    found = found.drop(columns="reason").add_prefix("matched_")
    found.insert(0, "twin", list(twin_of.values()))
    return found


def _order(value: object) -> tuple:
    """Sort key: numbers by size, then everything else in the order of the config."""
    number = isinstance(value, int | float)
    return (not number, value if number else 0)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
