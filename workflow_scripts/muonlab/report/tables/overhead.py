"""How the time of a step divides into parts, the cost of each shape, and whether it pays."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.overhead import Race, judged, race
from muonlab.statistics.cost_benefit import CostBenefit, share

SHARES = ("data", "forward", "backward", "clip", "optimizer", "newton_schulz", "rest")


@table(
    section="overhead",
    outputs={
        "overhead": (
            "overhead",
            "Time, memory and worth of a step of **{title}** (protocol: {protocol}). ``…_of_step`` "
            "are medians over timed steps, as shares of the whole step; "
            "``newton_schulz_of_optimizer`` is the share of Newton–Schulz in the optimizer's time, "
            "and ``newton_schulz_of_flops`` the share of the step that its flops alone would "
            "predict. The overhead of Newton–Schulz is called low under 5 % of a step, high over "
            "20 %, and medium between, and only where its whole {interval} interval lies in that "
            "range. ``state_bytes`` is the optimizers' state in a checkpoint, ``workspace_bytes`` "
            "the memory that they reuse; peaks are those of the training processes of all seeds "
            "(median, and range in ``low`` and ``high``). ``seconds_saved`` is positive where the "
            "first arm comes sooner than ``baseline`` to the lowest loss that every run of both "
            "arms came to (``common_loss``); a step may take up to "
            "``break_even_step_time_ratio`` times as long before that advantage is lost.",
        ),
        "overhead_shapes": (
            "overhead by shape",
            "The cost of orthogonalizing all matrices of each shape of **{title}**, timed "
            "alone: milliseconds (median), flops of the products that were made and of the "
            "textbook's iteration (``plain``), and the rate relative to the fastest square matrix "
            "product measured on the same machine with as many threads. In a real step small "
            "matrices of several shapes share one batch, so the sum of the rows may be more than "
            "the time that Newton–Schulz takes in a step.",
        ),
    },
)
def overhead(
    profile: dict,
    overhead_metrics: pd.DataFrame,
    overhead_provenances: Sequence[dict],
    overhead_runs: Sequence[dict],
    overhead_summaries: Sequence[dict],
    study: dict,
) -> dict[str, pd.DataFrame]:
    memory = peak_memory(overhead_runs, overhead_provenances)
    return {
        "overhead": overhead_table(
            profile, memory, race(overhead_metrics, overhead_runs, overhead_summaries, study), study
        ),
        "overhead_shapes": shapes_table(profile),
    }


def peak_memory(runs: Sequence[dict], provenances: Sequence[dict]) -> pd.DataFrame:
    """Arm and seed of each run, and the peak memory of its training."""
    fields = ("peak_host_bytes", "peak_device_bytes")
    return pd.DataFrame(
        {"arm": run["arm"], "seed": run["seed"]} | {field: record[field] for field in fields}
        for run, record in zip(runs, provenances, strict=True)
    )


def overhead_table(profile: dict, memory: pd.DataFrame, steps: Race, study: dict) -> pd.DataFrame:
    """Long form: arm, quantity, value, low, high, n, unit, verdict.

    Shares are ratios of medians over rounds, with intervals over rounds; quantities that depend on
    the seed have intervals over rounds and seeds. `memory`: arm, and for each run peak_host_bytes
    and peak_device_bytes, which are those of the whole training process.
    """
    alpha, rows = study["alpha"], []
    for record in profile["arms"]:
        found = [*_shares(record, alpha), *_rates(record, profile), *_memory(record, memory)]
        rows += [{"arm": record["arm"], **row} for row in found]
    arm, baseline = (record["arm"] for record in profile["arms"])
    result = judged(profile, steps, alpha)
    rounds = len(profile["arms"][0]["seconds"]["step"])
    judgement = [_row("common_loss", steps.loss, "nats"), *_judgement(result, rounds)]
    rows += [{"arm": arm, "baseline": baseline, **row} for row in judgement]
    table = pd.DataFrame(rows)
    first = ["arm", "baseline", "quantity", "value", "low", "high", "n", "unit", "verdict"]
    facts = {"device": profile["device"], "threads": profile["threads"], "data": study["data"]}
    return table.reindex(columns=first).assign(**facts, protocol=study["protocol"])


def shapes_table(profile: dict) -> pd.DataFrame:
    """One row for each shape that an arm orthogonalizes: its matrices, milliseconds, flops of the
    products that were made and of the textbook's iteration, and flops per second, also as a share
    of the fastest matrix product in that precision."""
    rows = []
    for record in profile["arms"]:
        for shape in record["shapes"]:
            ceiling = profile["ceiling_flops_per_second"][shape["dtype"]]
            flops = shape["flops"] if shape["flops"] is not None else np.nan
            rows.append(
                {"arm": record["arm"], "shape": shape["shape"], "tensors": shape["tensors"]}
                | {"matrices": shape["matrices"], "milliseconds": shape["seconds"] * 1e3}
                | {"megaflops": flops / 1e6}
                | {"plain_megaflops": (shape["plain_flops"] or np.nan) / 1e6}
                | {"gigaflops_per_second": flops / shape["seconds"] / 1e9}
                | {"ceiling_gigaflops_per_second": ceiling / 1e9}
                | {"share_of_ceiling": flops / shape["seconds"] / ceiling}
                | {"dtype": shape["dtype"], "threads": profile["threads"]}
                | {"device": profile["device"]}
            )
    columns = ["arm", "shape", "tensors", "matrices", "milliseconds", "megaflops"]
    columns += ["plain_megaflops", "gigaflops_per_second", "ceiling_gigaflops_per_second"]
    return pd.DataFrame(rows, columns=[*columns, "share_of_ceiling", "dtype", "threads", "device"])


def _shares(record: dict, alpha: float) -> Iterator[dict]:
    seconds = record["seconds"]
    yield _row("step", float(np.median(seconds["step"])), "s", n=len(seconds["step"]))
    for part in SHARES:
        found = share(seconds[part], seconds["step"], alpha)
        row = _row(f"{part}_of_step", found.value, "share", found.low, found.high, found.n)
        if part == "newton_schulz":
            row["verdict"] = found.level
        yield row
    found = share(seconds["newton_schulz"], seconds["optimizer"], alpha)
    yield _row("newton_schulz_of_optimizer", found.value, "share", found.low, found.high, found.n)
    passes = np.add(seconds["forward"], seconds["backward"])
    found = share(seconds["optimizer"], passes, alpha)
    yield _row("optimizer_over_passes", found.value, "ratio", found.low, found.high, found.n)


def _rates(record: dict, profile: dict) -> Iterator[dict]:
    step = float(np.median(record["seconds"]["step"]))
    yield _row("tokens_per_step", record["tokens"], "tokens")
    yield _row("tokens_per_second", record["tokens"] / step, "tokens/s")
    yield _row("model_flops", record["flops"], "flop")
    flops = [s["flops"] for s in record["shapes"] if s["flops"] is not None]
    # The share of Newton–Schulz that the flops alone predict, if both ran at the same rate.
    yield _row("newton_schulz_flops", sum(flops), "flop")
    yield _row("newton_schulz_of_flops", sum(flops) / (sum(flops) + record["flops"]), "share")
    ceiling = profile["ceiling_flops_per_second"][record["precision"]]
    yield _row("model_flops_utilisation", record["flops"] / step / ceiling, "share")


def _memory(record: dict, memory: pd.DataFrame) -> Iterator[dict]:
    for name, value in record["memory"].items():
        yield _row(name, value, "bytes")
    own = memory[memory.arm == record["arm"]]
    for name in ("peak_host_bytes", "peak_device_bytes"):
        values = own[name].dropna().astype(float)
        if len(values):
            yield _row(name, values.median(), "bytes", values.min(), values.max(), len(values))


def _judgement(r: CostBenefit, rounds: int) -> Iterator[dict]:
    yield _row("step_time_ratio", r.cost, "ratio", r.cost_low, r.cost_high, rounds)
    yield _row("steps_to_target", r.steps, "steps", n=r.n)
    yield _row("baseline_steps_to_target", r.baseline_steps, "steps", n=r.n)
    even = r.break_even_low, r.break_even_high
    yield _row("break_even_step_time_ratio", r.break_even, "ratio", *even, n=r.n)
    yield _row("seconds_to_target", r.seconds, "s", n=r.n)
    yield _row("baseline_seconds_to_target", r.baseline_seconds, "s", n=r.n)
    yield _row("seconds_saved", r.saved, "s", r.saved_low, r.saved_high, r.n) | {
        "verdict": r.verdict
    }


def _row(
    quantity: str, value: float, unit: str, low: float = np.nan, high: float = np.nan, n: int = 1
) -> dict:
    return {"quantity": quantity, "value": value, "low": low, "high": high, "n": n, "unit": unit}
