"""Prints what the records of benchmarks/gpu.sh say about the targets on a GPU.

    python benchmarks/gpu_targets.py gpu-results

A target whose record is missing (its part failed or ran out of time) is "not measured".
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Target(NamedTuple):
    """A quantity, the records that it is read from, how, and the bound that it has to keep."""

    what: str
    file: str
    read: Callable[[list[dict]], float]
    bound: float
    at_least: bool = True


def of_set(name: str) -> Callable[[list[dict]], float]:
    """The ratio of torch.optim.Muon's time to ours for a set of shapes."""
    return lambda records: next(r["ratio"] for r in records if r.get("set") == name)


def of_muon(shape: str, field: str) -> Callable[[list[dict]], float]:
    """A field of a model's training with Muon."""
    own = {"shape": shape, "optimizer": "muon"}
    return lambda records: next(r[field] for r in records if own.items() <= r.items())


TARGETS = [
    Target("torch.optim.Muon's step / ours, MoE", "optimizer.jsonl", of_set("moe"), 5.0),
    Target("torch.optim.Muon's step / ours, 88M", "optimizer.jsonl", of_set("88m"), 3.0),
    Target(
        "model flops utilisation, 88M, as the workflow trains",
        "utilisation.jsonl",
        of_muon("88m", "model_flops_utilisation"),
        0.45,
    ),
    Target(
        "optimizer / (forward + backward), MoE",
        "training.jsonl",
        of_muon("moe", "optimizer_over_passes"),
        0.25,
        at_least=False,
    ),
]


def measured(target: Target, folder: Path) -> float | None:
    """The value in the folder's records, None where there is none."""
    try:
        lines = (folder / target.file).read_text(encoding="utf-8").splitlines()
        return target.read([json.loads(line) for line in lines])
    except (FileNotFoundError, StopIteration, KeyError):
        return None


def row(target: Target, value: float | None) -> tuple[str, str, str, str]:
    """What, found, target, and whether the target is met."""
    bound = f"{'≥' if target.at_least else '≤'} {target.bound:g}"
    if value is None:
        return target.what, "not measured", bound, ""
    met = value >= target.bound if target.at_least else value <= target.bound
    return target.what, f"{value:.2f}", bound, "met" if met else "missed"


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("benchmarks/gpu_targets.py: takes the folder that benchmarks/gpu.sh wrote to")
    folder = Path(sys.argv[1])
    table = [("", "found", "target", "")]
    table += [row(target, measured(target, folder)) for target in TARGETS]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(map(str.ljust, line, widths)).rstrip())


if __name__ == "__main__":
    main()
