"""Arms ranked by their loss and compared with one of them, as run and with matched steps."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.records import listed
from muonlab.report.variants import Settings, alike, is_matched, reference, twins, varied
from muonlab.statistics.contrasts import contrasts
from muonlab.statistics.intervals import mean_interval

LOSS, STEP = "final_loss", "step_time"
COMPARED = ["difference", "low", "high", "p", "p_holm", "verdict"]
WORDS = {"a lower": "lower", "a higher": "higher"}


@table(
    section="tables",
    outputs={
        "ranking": (
            "ranking of all arms",
            "All arms of **{title}** on *{data}* (protocol: {protocol}) by their loss at the end "
            "of training, means over n = {n} seeds per arm. ``difference`` is the arm minus "
            "{against} by seed, with its {interval} interval; ``p_holm`` is corrected over all "
            "arms; ``improvement_percent`` says how far the loss is below that of {against}. The "
            "columns ``matched_`` compare the arm's twin with that of {against}: a twin has the "
            "same settings, but all its updates have one size. They are empty for arms without a "
            "twin. "
            "``step_cpu_seconds`` and ``step_seconds`` are medians over updates after warm-up, "
            "``seconds`` a run's whole time. Runs that diverged are counted, and their arms come "
            "last. ``compound`` arms differ in more than one variable.",
        ),
        "field_effects": (
            "single settings",
            "Each setting in which some arms of **{title}** differ and in nothing else: the loss "
            "at each value, and its difference from the reference value by seed (n = {n}), with "
            "{interval} intervals. A group is a set of arms that are alike in all but that "
            "setting; ``matched_step`` says that all their updates have one size. ``p_holm`` is "
            "corrected over the values of one group. Data: *{data}*, protocol: {protocol}.",
        ),
    },
)
def ranking(
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    study: dict,
    arm_settings: Settings,
    against: str,
    variables: Mapping[str, Sequence[str]],
    comparison: Mapping,
) -> dict[str, pd.DataFrame]:
    found = ranked_runs(runs, summaries, provenances)
    return {
        "ranking": ranking_table(found, study, arm_settings, variables, against, comparison),
        "field_effects": field_effects(found, study, arm_settings, against, comparison),
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
    study: dict,
    settings: Settings,
    variables: Mapping[str, Sequence[str]],
    against: str,
    plan: Mapping,
) -> pd.DataFrame:
    """One row for each arm, the lowest mean loss first; arms with a diverged run come last.

    `variables` are those in which each arm differs from the arm `against`; more than one makes the
    comparison compound. `plan` has alpha and smallest_difference. Losses are compared by seed, and
    the comparisons of all arms with `against` are one family of Holm's correction. The columns
    `matched_…` compare the arm's twin with the twin of `against`; twins have matched steps.
    """
    arms = [arm["name"] for arm in study["arms"]]
    table = pd.DataFrame([_arm_row(runs[runs.arm == arm], study, arm, plan) for arm in arms])
    base = table.loc[table.arm == against, "loss"].iloc[0]
    table["improvement_percent"] = 100 * (base - table.loss) / base
    paired = bool(study["training"]["paired"])
    compare = _Comparison(runs, plan, paired)
    pairs = [(arm, against) for arm in arms if arm != against]
    table = table.join(compare(pairs).drop(columns="n"), on="arm")
    step = compare(pairs, STEP).drop(columns=["n", "p", "reason"])
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
    runs: pd.DataFrame, study: dict, settings: Settings, against: str, plan: Mapping
) -> pd.DataFrame:
    """Every field that is the only difference between some arms: its values against the reference.

    One row for each arm of each group of arms that are alike except for that field. Seeds are
    paired, and each group is one family of Holm's correction.
    """
    bases = {arm["name"]: arm["base"] for arm in study["arms"]}
    compare = _Comparison(runs, plan, bool(study["training"]["paired"]))
    means = runs.groupby("arm")[LOSS].agg(lambda v: np.mean(v.to_numpy(dtype=float)))
    tables = []
    for field in varied(settings):
        for number, group in enumerate(alike(settings, [field])):
            first = reference(group, against, bases)
            others = sorted(
                (arm for arm in group if arm != first), key=lambda arm: _order(settings[arm][field])
            )
            found = compare([(arm, first) for arm in others]).reset_index()
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
    columns += ["reference_loss", "arm", "value", "loss", "n", *COMPARED, "reason"]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    return table[columns].assign(data=study["data"], protocol=study["protocol"])


class _Comparison:
    """Compares pairs of arms on one outcome; the table is indexed by the first arm of each pair."""

    def __init__(self, runs: pd.DataFrame, plan: Mapping, paired: bool):
        self.runs, self.plan, self.paired = runs, plan, paired

    def __call__(self, pairs: Sequence[tuple[str, str]], outcome: str = LOSS) -> pd.DataFrame:
        values = self.runs.assign(outcome=outcome, value=self.runs[outcome].astype(float))
        smallest = {k: v for k, v in self.plan["smallest_difference"].items() if k == outcome}
        found = contrasts(
            values[["arm", "seed", "outcome", "value"]],
            pairs, [outcome], self.plan["alpha"], smallest, paired=self.paired,
        )  # fmt: skip
        found["verdict"] = found.verdict.replace(WORDS)
        found["n"] = found[["n_a", "n_b"]].min(axis=1)
        # A single pair of runs has a difference, but no interval and no test.
        means = values.groupby("arm").value.mean()
        single = found.arm_a.map(means) - found.arm_b.map(means)
        found["difference"] = found.difference.where(found.n != 1, single)
        return found.rename(columns={"arm_a": "arm"}).set_index("arm")[["n", *COMPARED, "reason"]]


def _arm_row(own: pd.DataFrame, study: dict, arm: str, plan: Mapping) -> dict:
    """The results of one arm with intervals over its seeds; a single seed has no interval."""
    known = next(a for a in study["arms"] if a["name"] == arm)
    row = {"arm": arm, "variant": known["label"], "seeds": len(own)}
    row["diverged"] = int(own.diverged.sum())
    values = {"loss": LOSS, "accuracy": "accuracy", "seconds": "seconds"}
    values |= {k: k for k in (STEP, "step_seconds", "step_cpu_seconds")}
    for name, column in values.items():
        sample = own[column].to_numpy(dtype=float)
        interval = mean_interval(sample, plan["alpha"])
        row |= {name: float(np.mean(sample))}
        if name in ("loss", "accuracy", STEP):
            row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
        if name == "loss":
            row["perplexity"] = float(np.exp(row["loss"]))
    row |= {"evaluated_on": own.evaluated_on.iloc[0], "lr": known["settings"].get("lr")}
    return row | {"edge": listed(known["edges"])}


def _matched(compare: _Comparison, settings: Settings, against: str) -> pd.DataFrame:
    """The comparison of each arm's twin with the twin of `against`, by arm."""
    pairs = twins(settings)
    base = pairs.get(against)
    twin_of = {arm: twin for arm, twin in pairs.items() if base not in (None, twin)}
    found = compare([(twin, base) for twin in dict.fromkeys(twin_of.values())])
    found = found.reindex(list(twin_of.values())).drop(columns=["n", "reason"])
    found = found.add_prefix("matched_").set_axis(list(twin_of), axis=0)
    found.insert(0, "twin", list(twin_of.values()))
    return found


def _order(value: object) -> tuple:
    """Sort key: numbers by size, then everything else in the order of the config."""
    number = isinstance(value, int | float)
    return (not number, value if number else 0)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
