"""Trains the model of the dynamics study at its published size with both optimizers and with all
records, and says what a step and a record cost.

    python benchmarks/dynamics_training.py DATA OUT --device cuda --steps 2000 --json dynamics.jsonl

DATA is the folder of a prepared data set, results/…/data/<name>, whose tokenizer should have about
49,152 tokens, as the source's has. Each optimizer trains one reporting run, as the workflow would,
into a folder of OUT, with the fixed learning rates of `--adamw` and `--muon` (these are not tuned:
the losses say nothing about the optimizers). A finished run is read and not trained again; one that
was made with other options is refused.
"ms/update" and the rates are those of the median stretch of updates between two entries of the
log; the first stretch, which compiles, does not count. "MFU" is the model's flops
(`models.size.flops_per_token`) per second over those of the fastest matrix product measured in the
same process, in the runs' precision.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from muonlab.io.atomic import replacing  # noqa: E402
from muonlab.measure.throughput import matmul_ceiling  # noqa: E402
from muonlab.models.size import flops_per_token  # noqa: E402
from muonlab.plan.kept import KEEP_NOTHING  # noqa: E402
from muonlab.plan.runs import Run, load_plan  # noqa: E402
from muonlab.training.build import build_model  # noqa: E402
from muonlab.training.run import train_run  # noqa: E402

CONFIG = [ROOT / "config.yaml", ROOT / "studies" / "dynamics.yaml"]
TAIL = 0.2  # share of a run's recorded training losses that its last loss is the mean of
HEADER = (
    "optimizer   steps      tokens  loss at end  ms/update  tokens/s    MFU"
    "  records: s, share of the time   peak GB   all: s"
)


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    facts = json.loads((options.data / "digest.json").read_text())
    records = []
    print(HEADER)
    for arm in options.optimizers:
        run = reporting_run(arm, options)
        folder = options.out / arm
        # Without the snapshots, whose time is that of the disk.
        config = run.config | {"keep": KEEP_NOTHING}
        if not (folder / "run.json").exists():
            train_run(
                config,
                code="benchmark",
                observer_code="benchmark",
                data=options.data,
                folder=folder,
                device=options.device,
                threads=options.threads,
                checkpoint_seconds=1e9,
            )
        elif json.loads((folder / "run.json").read_text())["config"] != config:
            sys.exit(f"{folder} holds a run with other options; remove it or name another folder")
        records.append(read(arm, folder, facts, options))
        print(table_row(records[-1]), flush=True)
    if options.json:
        with replacing(options.json) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in records))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder of a prepared data set")
    parser.add_argument("out", type=Path, help="folder for the runs")
    parser.add_argument("--optimizers", nargs="+", default=["adamw", "muon"])
    parser.add_argument(
        "--adamw",
        type=json.loads,
        default={"lr": 0.001, "embedding_ratio": 1.0},
        help="AdamW's tuned fields, as JSON",
    )
    parser.add_argument(
        "--muon",
        type=json.loads,
        default={"lr": 0.003, "embedding_ratio": 1.0},
        help="Muon's tuned fields, as JSON",
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8, help="sequences of 2,048 tokens in a step")
    parser.add_argument("--records-every", type=int, default=500)
    parser.add_argument("--eval-every", type=int, default=500)
    parser.add_argument("--compile", action="store_true", help="as training.compile (on a GPU)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write one JSON record per line")
    return parser.parse_args()


def reporting_run(arm: str, options: argparse.Namespace) -> Run:
    """The reporting run of the published study with seed 42, of another length."""
    training = {
        "steps": options.steps,
        "batch_size": options.batch,
        # An entry of the log waits for the GPU, which would otherwise be given work ahead.
        "log_every": max(5, options.steps // 100),
        "eval_every": options.eval_every,
        "geometry_every": options.records_every,
        "components_every": options.records_every,
        "compile": options.compile,
    }
    plan = load_plan(CONFIG, {"studies": {"dynamics": {"training": training}}})
    runs = plan.studies["dynamics"].reporting_runs(arm, getattr(options, arm))
    return next(run for run in runs if run.seed == 42)


def read(arm: str, folder: Path, facts: dict, options: argparse.Namespace) -> dict:
    """What the run's own record says of its time and memory."""
    record = json.loads((folder / "run.json").read_text())
    made, config = record["provenance"], record["config"]
    model = build_model(config, facts)
    flops = flops_per_token(model, config["model"]["context"])
    precision = getattr(torch, config["training"]["precision"])
    ceiling = matmul_ceiling(precision, options.device)
    spent = sum(made["seconds_in_observers"].values())
    steps, updates = record["summary"]["steps"], made["seconds_in_updates"]
    # A run of one stretch has no median.
    step_seconds = made["step_seconds"] or updates / steps
    rate = made["tokens"] / steps / step_seconds
    return {
        "optimizer": arm,
        "device": made["device"],
        "steps": steps,
        "tokens": made["tokens"],
        "loss": loss_at_the_end(folder),
        "step_seconds": step_seconds,
        "tokens_per_second": rate,
        "model_flops_utilisation": rate * flops / ceiling,
        "ceiling_flops_per_second": ceiling,
        "record_seconds": made["seconds_in_observers"],
        "record_share": spent / (spent + updates),
        "seconds": made["seconds"],
        "peak_bytes": made["peak_device_bytes"] or made["peak_host_bytes"],
    }


def loss_at_the_end(folder: Path) -> float:
    """Mean training loss over the last fifth of the steps with one."""
    import pandas as pd

    metrics = pd.read_parquet(folder / "metrics.parquet")
    losses = metrics.query("split == 'train' and metric == 'loss'").sort_values("step").value
    return float(losses.tail(max(1, int(TAIL * len(losses)))).mean())


def table_row(r: dict) -> str:
    spent = sum(r["record_seconds"].values())
    return (
        f"{r['optimizer']:9} {r['steps']:7,} {r['tokens']:11,} {r['loss']:12.4f}"
        f" {r['step_seconds'] * 1e3:10.1f} {r['tokens_per_second']:9,.0f}"
        f" {r['model_flops_utilisation']:6.2f} {spent:12.1f} {r['record_share']:10.1%}"
        f" {r['peak_bytes'] / 1e9:19.1f} {r['seconds']:8.0f}"
    )


if __name__ == "__main__":
    main()
