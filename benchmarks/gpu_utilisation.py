"""Tries what may raise the model flops utilisation of a compiled model on a GPU, a row for each.

    python benchmarks/gpu_utilisation.py --shape 88m --json utilisation.jsonl

Each variant trains the shape of `benchmarks/lm_training.py` with Muon on random tokens in bfloat16,
as the workflow does, and differs from the first row, which is the workflow's own way, in what its
name says: other attention kernels, more sequences in a step, other choices of the compiler. The
variants run one after the other in this process; "ms/step" is the median of `--steps` steps that
follow `--warmup` steps, in the first of which the model is compiled. "MFU" is the model's flops
(`models.size.flops_per_token`) per second over those of the fastest matrix product measured in the
same process. The last lines say in which kernels the fastest variant spends its time; the JSON file
says it of each. A variant that this machine or this torch does not support has its reason in its
row.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from lm_training import SHAPES, config, prepared
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from muonlab.measure.throughput import matmul_ceiling
from muonlab.probes.overhead import interleaved, model_flops
from muonlab.probes.stopwatch import TimedUpdate

KERNELS_SHOWN = 15


class Variant(NamedTuple):
    """Something that is tried: its name, how many times the source's batch a step has, and the
    context in which the model is compiled and trained."""

    name: str
    batch_factor: int = 1
    context: Callable[[], AbstractContextManager] = nullcontext


def cudnn_attention() -> AbstractContextManager:
    """Attention by cuDNN's kernels where they apply, and by torch's own elsewhere."""
    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(order, set_priority=True)


def compiler(**choices) -> Callable[[], AbstractContextManager]:
    """Other choices of torch's compiler, named as in `torch._inductor.config`."""
    return lambda: torch._inductor.config.patch(choices)


@contextmanager
def cudnn_and(other: Callable[[], AbstractContextManager]) -> Iterator[None]:
    """cuDNN's attention together with another context."""
    with cudnn_attention(), other():
        yield


TUNED = compiler(coordinate_descent_tuning=True)
# The most promising first, for those who have little time.
VARIANTS = [
    Variant("as the workflow trains"),
    Variant("cuDNN's attention", context=cudnn_attention),
    Variant("cuDNN's attention, 4 times the batch", 4, cudnn_attention),
    Variant("the same with tuned fused kernels", 4, lambda: cudnn_and(TUNED)),
    Variant("CUDA graphs", context=compiler(**{"triton.cudagraphs": True})),
    Variant("4 times the batch", 4),
    Variant("tuned fused kernels", context=TUNED),
]


def main() -> None:
    options = parse_options()
    ceiling = matmul_ceiling(torch.bfloat16, options.device)
    print(f"torch {torch.__version__}, device {options.device}, {ceiling / 1e12:.1f} Tflop/s")
    print(f"{'variant':37} tokens/step  ms/step  tokens/s   MFU  peak GB")
    records = []
    for variant in VARIANTS[: options.variants]:
        records.append(measured(variant, ceiling, options))
        print(row(records[-1]), flush=True)
    if options.json:
        options.json.write_text("".join(json.dumps(r) + "\n" for r in records))
    tried = [r for r in records if "reason" not in r]
    if tried:
        fastest = max(tried, key=lambda r: r["model_flops_utilisation"])
        print(f"\n{fastest['variant']}: milliseconds of a step in its longest kernels")
        for name, seconds in list(fastest["kernel_seconds"].items())[:KERNELS_SHOWN]:
            print(f"{seconds * 1e3:9.3f}  {name[:100]}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", default="88m", choices=list(SHAPES))
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each variant")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--batch", type=int, help="sequences in a step of the first variant")
    parser.add_argument("--variants", type=int, help="try only so many, from the first on")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write one JSON record per line")
    return parser.parse_args()


def measured(variant: Variant, ceiling: float, options: argparse.Namespace) -> dict:
    """The record of a variant."""
    own = {"variant": variant.name, "shape": options.shape, "optimizer": "muon"}
    own |= {"device": options.device}
    on_gpu = options.device == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    try:
        with variant.context():
            update, settings = warm(variant, options)
            rounds = interleaved({variant.name: update}, options.warmup, options.steps)
            kernels = kernel_seconds(update, options)
    except Exception as error:  # A variant that fails must not cost the GPU's time for the others.
        return own | {"reason": f"{type(error).__name__}: {error}".split("\n")[0]}
    tokens, step = update.tokens(1), median(rounds[variant.name]["step"])
    utilisation = model_flops(update, settings) / step / ceiling
    return own | {
        "tokens": tokens,
        "step_seconds": step,
        "tokens_per_second": tokens / step,
        "model_flops_utilisation": utilisation,
        "ceiling_flops_per_second": ceiling,
        "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        "kernel_seconds": kernels,
    }


def warm(variant: Variant, options: argparse.Namespace) -> tuple[TimedUpdate, dict]:
    """The variant's run after its first steps, and its config. Nothing that was compiled for
    another variant is used."""
    torch.compiler.reset()
    shape = SHAPES[options.shape]
    batch = (options.batch or shape.full_batch) * variant.batch_factor
    settings = config("muon", shape, batch, "bfloat16", compiled=True)
    update = prepared(settings, shape.vocab, options.device)
    for step in range(options.warmup):
        update.step(step)
    update.watch.read()
    return update, settings


def kernel_seconds(update: TimedUpdate, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step by kernel, the longest first, under the profiler."""
    on_gpu = options.device == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as found:
        for k in range(options.steps):
            update.step(options.warmup + options.steps + k)
        update.watch.read()
    spent: Counter[str] = Counter()
    for event in found.key_averages():
        spent[event.key] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    return {name: us / 1e6 / options.steps for name, us in spent.most_common()}


def row(r: dict) -> str:
    if "reason" in r:
        return f"{r['variant']:37} {r['reason'][:100]}"
    peak = f"{r['peak_bytes'] / 1e9:.1f}" if r["peak_bytes"] else ""
    return (
        f"{r['variant']:37} {r['tokens']:11,} {r['step_seconds'] * 1e3:8.1f}"
        f" {r['tokens_per_second']:9,.0f} {r['model_flops_utilisation']:5.2f} {peak:>8}"
    )


if __name__ == "__main__":
    main()
