"""Tokens per second of training a language model, and where the time of a step goes.

    python benchmarks/lm_training.py --shapes moe-d256 --threads 1 2 --json training.jsonl

A model of each shape is trained on random tokens by the workflow's own update (`training.update`)
with AdamW and with Muon (and AdamW for the other tensors), which take turns step by step. Medians
over `--steps` steps are printed, and in brackets the value of the fastest step, which a busy
machine disturbs least. `opt/(f+b)` is the optimizer's time over that of forward and backward: the
optimizer's overhead for a step of that many tokens. `at full batch` is the same for the batch that
the shape's source trains with, if the batch here is smaller (`--full-batch` uses the source's):
forward and backward grow with the batch, the optimizer does not. `MFU` is the model's flops
(`models.size.flops_per_token`) per second over those of the fastest matrix product measured in the
same minute with as many threads, in the same precision. bfloat16 is autocast over float32 weights;
the precision of Newton–Schulz is `--ns-dtype`. Use `--device cuda` on a GPU.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from muonlab.data.windows import Windows  # noqa: E402
from muonlab.measure.throughput import matmul_ceiling  # noqa: E402
from muonlab.optim.factory import build_optimizer  # noqa: E402
from muonlab.plan.models import MODELS  # noqa: E402
from muonlab.plan.optimizers import OPTIMIZERS  # noqa: E402
from muonlab.plan.training import Training  # noqa: E402
from muonlab.probes.overhead import interleaved, memory, model_flops  # noqa: E402
from muonlab.probes.stopwatch import TimedUpdate  # noqa: E402
from muonlab.training.build import build_model  # noqa: E402
from muonlab.training.language import Text  # noqa: E402

PARTS = ("data", "forward", "backward", "clip", "optimizer", "newton_schulz")


class Shape(NamedTuple):
    """A model, its vocabulary, and the sequences of a step, here and in the shape's source."""

    model: dict
    vocab: int
    batch: int
    full_batch: int


MOE = {"layers": 6, "heads": 8, "experts": 8, "top_k": 2, "router_noise": 0.1}
SHAPES = {
    "moe": Shape(MOE | {"width": 384, "feedforward": 1536, "context": 512}, 49152, 2, 24 * 4),
    "moe-d256": Shape(
        MOE | {"layers": 4, "width": 256, "feedforward": 1024, "context": 256}, 256, 8, 8
    ),
    "ablation": Shape(
        {"width": 256, "layers": 4, "heads": 8, "feedforward": 1024, "context": 256}, 49152, 4, 32
    ),
    "88m": Shape(
        {"width": 512, "layers": 22, "heads": 8, "kv_heads": 4, "feedforward": 2048}
        | {"context": 2048, "activation": "relu2", "qk_norm": True},
        49152,
        1,
        8,
    ),
    "124m": Shape(
        {"width": 768, "layers": 12, "heads": 12, "feedforward": 3072}
        | {"context": 1024, "activation": "gelu"},
        50304,
        1,
        512,
    ),
}


def main() -> None:
    options = parse_options()
    print(
        f"torch {torch.__version__}, {platform.processor() or platform.machine()}, "
        f"CPU capability {torch.backends.cpu.get_cpu_capability()}, device {options.device}"
    )
    records = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        for precision in options.dtypes:
            print(f"\n{threads} thread(s), {precision}")
            print(HEADER)
            for name in options.shapes:
                for record in measure(name, precision, options):
                    records.append(record | {"threads": threads})
                    print(table_row(record), flush=True)
    if options.json:
        options.json.write_text("".join(json.dumps(r) + "\n" for r in records))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--optimizers", nargs="+", default=["adamw", "muon"])
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each optimizer")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--ns-dtype", help="float32, bfloat16 or auto; by default the config's")
    parser.add_argument("--batch", type=int, help="sequences of a step, for every shape")
    parser.add_argument(
        "--full-batch", action="store_true", help="use as many sequences as the source's step"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--compile", action="store_true", help="use torch.compile for the model (on a GPU)"
    )
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="measure processor time, for one thread on a busy CPU",
    )
    parser.add_argument("--json", type=Path, help="write one JSON record per line")
    return parser.parse_args()


def measure(name: str, precision: str, options: argparse.Namespace) -> list[dict]:
    """A record for each optimizer on one shape."""
    shape = SHAPES[name]
    batch = options.batch or (shape.full_batch if options.full_batch else shape.batch)
    configs = {
        o: config(o, shape, batch, precision, options.ns_dtype, options.compile)
        for o in options.optimizers
    }
    arms = {o: prepared(c, shape.vocab, options.device) for o, c in configs.items()}
    for update in arms.values():
        update.watch.clock = time.process_time if options.cpu_time else time.perf_counter
        for step in range(options.warmup):
            update.step(step)
        update.time_orthogonalization()
        update.watch.read()
    rounds = interleaved(arms, options.warmup, options.steps)
    ceiling = matmul_ceiling(getattr(torch, precision), options.device)
    records = []
    for optimizer, update in arms.items():
        seconds = {part: median(rounds[optimizer][part]) for part in ("step", *PARTS)}
        own = {"shape": name, "optimizer": optimizer, "precision": precision, "batch": batch}
        own |= {"compiled": options.compile}
        own |= {"parameters": sum(p.numel() for p in update.model.parameters())}
        own |= {"tokens": update.tokens(1), "full_batch": shape.full_batch, "seconds": seconds}
        own["fastest"] = {part: min(rounds[optimizer][part]) for part in ("step", *PARTS)}
        records.append(
            own
            | rates(own, model_flops(update, configs[optimizer]), ceiling)
            | memory(update.optimizer)
        )
    return records


def rates(record: dict, flops: int, ceiling: float) -> dict:
    seconds, best = record["seconds"], record["fastest"]
    overhead, least = (s["optimizer"] / (s["forward"] + s["backward"]) for s in (seconds, best))
    return {
        "tokens_per_second": record["tokens"] / seconds["step"],
        "tokens_per_second_fastest": record["tokens"] / best["step"],
        "optimizer_over_passes": overhead,
        "optimizer_over_passes_fastest": least,
        "optimizer_over_passes_at_full_batch": overhead * record["batch"] / record["full_batch"],
        "flops_per_second": flops / seconds["step"],
        "ceiling_flops_per_second": ceiling,
        "model_flops_utilisation": flops / seconds["step"] / ceiling,
    }


def config(
    optimizer: str,
    shape: Shape,
    batch: int,
    precision: str,
    ns_dtype: str | None = None,
    compiled: bool = False,
) -> dict:
    """A run's config as the workflow would make it."""
    section = OPTIMIZERS[optimizer](name=optimizer).model_dump() | {"lr": 1e-3}
    if ns_dtype and "dtype" in section:
        section["dtype"] = ns_dtype
    return {
        "model": MODELS["transformer"](name="transformer", **shape.model).model_dump(),
        "training": Training(
            steps=1000, batch_size=batch, clip=1.0, precision=precision, compile=compiled
        ).model_dump(),
        "optimizer": section,
        "seed": 0,
        "phase": "tuning",
    }


def prepared(settings: dict, vocab: int, device: str) -> TimedUpdate:
    """A run on random tokens, ready for its first update."""
    context, batch = settings["model"]["context"], settings["training"]["batch_size"]
    count = 64 * batch * context + 1
    dtype = np.uint16 if vocab <= 2**16 else np.uint32
    tokens = np.random.default_rng(0).integers(0, vocab, count).astype(dtype)
    split = Text(Windows(tokens, np.array([0, count]), context), vocab, False, device)
    model = build_model(settings, {"vocab": vocab}).to(device)
    optimizer = build_optimizer(model, settings["optimizer"])
    return TimedUpdate(settings, model, optimizer, split, device)


HEADER = (
    "shape     optimizer  tokens/step  tokens/s (fastest)   ms/step"
    "   %: data  fwd  bwd clip  opt (NS)  opt/(f+b) (fastest)  at full batch  GFLOP/s   MFU"
)


def table_row(r: dict) -> str:
    seconds = r["seconds"]
    share = {part: 100 * seconds[part] / seconds["step"] for part in PARTS}
    return (
        f"{r['shape']:9} {r['optimizer']:9} {r['tokens']:12,} {r['tokens_per_second']:9,.0f}"
        f" {'(' + format(r['tokens_per_second_fastest'], ',.0f') + ')':9}"
        f" {seconds['step'] * 1e3:9.1f}    "
        f" {share['data']:4.1f} {share['forward']:4.0f} {share['backward']:4.0f}"
        f" {share['clip']:4.1f} {share['optimizer']:4.0f} ({share['newton_schulz']:2.0f})"
        f" {r['optimizer_over_passes']:10.3f} ({r['optimizer_over_passes_fastest']:.3f})"
        f" {r['optimizer_over_passes_at_full_batch']:16.3f}"
        f" {r['flops_per_second'] / 1e9:8.1f} {r['model_flops_utilisation']:5.2f}"
    )


if __name__ == "__main__":
    main()
