"""Compares Muon's step with that of torch.optim.Muon, and with fused AdamW as the lower limit.

    python benchmarks/optimizer_step.py --sets fashion moe --threads 1 2 --json steps.jsonl

Each round times one step of torch's Muon, of ours and of AdamW on the same gradients, one after the
other, the first two in alternating order. The ratio is torch's time over ours in the same round;
its median and range over the rounds are printed. With `--dtypes auto`, which is taken unless others
are named, each has its defaults: ours works in bfloat16 where the machine has it and in float32
elsewhere, torch's Muon always in bfloat16. With `bfloat16` ours works in bfloat16, too; with
`float32` ours works in float32, and torch's has its cast turned off. The other columns are: the
flops of the plain iteration (torch's) over those of ours, GFLOP/s of both (compare them with the
matrix product measured in the same minute), and the relative Frobenius distance of both results
from the same iteration in float64, the larger one of a Gaussian matrix and of one whose singular
values fall as 1/rank (a ratio is meaningful only if ours is no larger).
Large models repeat one layer: one is stepped (`--all-layers`: all), and all times are per layer.
Use `--device cuda` on a GPU. To imitate a CPU without native bfloat16, set
ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 in the environment.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from shape_sets import SHAPE_SETS, ShapeSet  # noqa: E402

from muonlab.measure.throughput import matmul_ceiling  # noqa: E402
from muonlab.optim.iteration import gram_flops, plain_flops  # noqa: E402
from muonlab.optim.muon import Muon  # noqa: E402
from muonlab.optim.newton_schulz import newton_schulz, shape_plan  # noqa: E402
from muonlab.optim.precision import resolve_dtype  # noqa: E402

STEPS = 5
# One timing repeats the step until it takes at least this long.
SECONDS_PER_TIMING = 0.02
RATE = 1e-6


def main() -> None:
    options = parse_options()
    torch.manual_seed(0)
    print(
        f"torch {torch.__version__}, {platform.processor() or platform.machine()}, "
        f"CPU capability {torch.backends.cpu.get_cpu_capability()}, device {options.device}"
    )
    records = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        for dtype in options.dtypes:
            working = resolve_dtype(dtype, torch.device(options.device))
            ceiling = matmul_ceiling(working, options.device) / 1e9
            print(
                f"\n{threads} thread(s), {dtype} ({working}); "
                f"matrix product ceiling {ceiling:.0f} GFLOP/s"
            )
            print(HEADER)
            for name in options.sets:
                record = compare(name, dtype, working, options)
                record |= dict(threads=threads, ceiling_gflops=ceiling)
                records.append(record)
                print(table_row(record), flush=True)
                if options.shapes:
                    for row in by_shape(name, dtype, working, options):
                        print(
                            f"  {row['shape']:>14} {row['torch_ms']:9.3f} {row['ours_ms']:9.3f}"
                            f" {row['ratio']:6.2f}",
                            flush=True,
                        )
                        records.append(row | dict(set=name, threads=threads))
    if options.json:
        options.json.write_text("".join(json.dumps(r) + "\n" for r in records))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=list(SHAPE_SETS), choices=list(SHAPE_SETS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument(
        "--dtypes", nargs="+", default=["auto"], choices=["auto", "bfloat16", "float32"]
    )
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--all-layers", action="store_true", help="step every layer of a model")
    parser.add_argument("--shapes", action="store_true", help="also time each shape alone")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write one JSON record per line")
    return parser.parse_args()


def parameters(shapes: list[tuple[int, ...]], device: str, apart: bool) -> list:
    """Parameters with gradients; `apart` makes each expert a parameter, as torch's Muon needs."""
    params = []
    for k, shape in enumerate(shapes):
        generator = torch.Generator().manual_seed(k)
        weight = torch.randn(shape, generator=generator).to(device) * 0.02
        grad = torch.randn(shape, generator=generator).to(device)
        pairs = zip(weight, grad, strict=True) if apart and len(shape) == 3 else [(weight, grad)]
        for w, g in pairs:
            p = torch.nn.Parameter(w.clone())
            p.grad = g.clone()
            params.append(p)
    return params


def contestants(shapes, dtype: str, working: torch.dtype, device: str) -> dict[str, Callable]:
    """For each optimizer, a function that makes one step on parameters of its own."""
    own = parameters(shapes, device, apart=False)
    theirs = parameters(shapes, device, apart=True)
    floor = parameters(shapes, device, apart=False)
    # With its defaults as a user writes it, which is what "auto" stands for.
    ours = Muon(own, lr=RATE) if dtype == "auto" else Muon(own, lr=RATE, dtype=working)
    reference = torch.optim.Muon(theirs, lr=RATE, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(floor, lr=RATE, fused=True)
    step = in_float32(reference.step) if dtype == "float32" else reference.step
    return {"torch": step, "ours": ours.step, "adamw": adamw.step}


def in_float32(step: Callable) -> Callable:
    """torch.optim.Muon's step with its cast to bfloat16 turned off."""

    def stepped() -> None:
        cast = patch.object(torch.Tensor, "bfloat16", lambda t: t.to(torch.float32, copy=True))
        with cast:
            step()

    return stepped


def interleaved(steps: dict[str, Callable], pairs: int, device: str) -> dict[str, list[float]]:
    """Seconds per step of each contestant in each round; every other round runs them backwards."""
    repeats = {}
    for name, step in steps.items():
        seconds(step, 2, device)
        repeats[name] = max(1, round(SECONDS_PER_TIMING / seconds(step, 1, device)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(pairs):
        for name in list(steps)[:: 1 if k % 2 else -1]:
            times[name].append(seconds(steps[name], repeats[name], device))
    return times


def seconds(step: Callable, repeats: int, device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    if device != "cpu":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def compare(name: str, dtype: str, working: torch.dtype, options) -> dict:
    """One record: the rounds' times, ratios, flops and errors of a shape set."""
    shape_set = SHAPE_SETS[name]
    layers = shape_set.layers if options.all_layers else shape_set.timed
    shapes = shape_set.layer * layers
    times = interleaved(
        contestants(shapes, dtype, working, options.device), options.pairs, options.device
    )
    ratios = [a / b for a, b in zip(times["torch"], times["ours"], strict=True)]
    plain, executed = flops(shape_set, working, options.device)
    median = {k: statistics.median(v) / layers for k, v in times.items()}
    errors = rounding_errors(shape_set, dtype, working, options.device)
    return dict(
        set=name,
        dtype=dtype,
        working=str(working),
        layers_timed=layers,
        pairs=options.pairs,
        torch_ms=median["torch"] * 1e3,
        ours_ms=median["ours"] * 1e3,
        adamw_ms=median["adamw"] * 1e3,
        ratio=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        flop_ratio=plain / executed,
        torch_gflops=plain / median["torch"] / 1e9,
        ours_gflops=executed / median["ours"] / 1e9,
        torch_error=errors[0],
        ours_error=errors[1],
    )


def by_shape(name: str, dtype: str, working: torch.dtype, options) -> list[dict]:
    """Times of the parameters of each shape alone, per layer."""
    rows = []
    layer = SHAPE_SETS[name].layer
    for shape in dict.fromkeys(layer):
        shapes = [s for s in layer if s == shape]
        steps = contestants(shapes, dtype, working, options.device)
        steps.pop("adamw")
        times = interleaved(steps, 7, options.device)
        ratios = [a / b for a, b in zip(times["torch"], times["ours"], strict=True)]
        rows.append(
            dict(
                shape=f"{len(shapes)} x {'x'.join(map(str, shape))}",
                torch_ms=statistics.median(times["torch"]) * 1e3,
                ours_ms=statistics.median(times["ours"]) * 1e3,
                ratio=statistics.median(ratios),
            )
        )
    return rows


def flops(shape_set: ShapeSet, working: torch.dtype, device: str) -> tuple[int, int]:
    """Flops of Newton–Schulz for one layer: of the plain iteration, and of ours."""
    plain = executed = 0
    for shape in shape_set.layer:
        experts = shape[0] if len(shape) == 3 else 1
        m, n = sorted(shape[-2:])
        matrix = torch.empty(shape[-2:], device=device)
        plan = shape_plan("jordan", STEPS, matrix, working)
        plain += experts * plain_flops(STEPS, m, n)
        own = gram_flops(plan.spread_segments, m, n) if plan.gram else plain_flops(STEPS, m, n)
        executed += experts * own
    return plain, executed


def rounding_errors(
    shape_set: ShapeSet, dtype: str, working: torch.dtype, device: str
) -> tuple[float, float]:
    """Largest relative distance to the same iteration in float64 over examples: torch's, ours."""
    theirs, ours = [0.0], [0.0]
    for G in examples(shape_set, device):
        expected = newton_schulz(G.double(), dtype=torch.float64)
        for errors, found in (
            (theirs, torchs_update(G, dtype)),
            (ours, newton_schulz(G, dtype=working)),
        ):
            errors.append(((found - expected).norm() / expected.norm()).item())
    return max(theirs), max(ours)


def examples(shape_set: ShapeSet, device: str) -> Iterator[torch.Tensor]:
    """Of each shape a Gaussian matrix, and one whose singular values fall as 1/rank."""
    for shape in dict.fromkeys(s[-2:] for s in shape_set.layer):
        G = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        U, S, Vh = torch.linalg.svd(G, full_matrices=False)
        yield G.to(device)
        yield ((U / torch.arange(1, len(S) + 1)) @ Vh).to(device)


def torchs_update(G: torch.Tensor, dtype: str) -> torch.Tensor:
    """What torch.optim.Muon makes of a gradient, without its factor for tall matrices."""
    p = torch.nn.Parameter(torch.zeros_like(G))
    p.grad = G.clone()
    muon = torch.optim.Muon([p], lr=1.0, weight_decay=0.0, momentum=0.0)
    (in_float32(muon.step) if dtype == "float32" else muon.step)()
    return -p.detach() / max(1.0, G.size(0) / G.size(1)) ** 0.5


HEADER = (
    "set        torch ms   ours ms  adamw ms  ratio (min-max)      flops   GFLOP/s torch, ours"
    "   error torch, ours"
)


def table_row(r: dict) -> str:
    spread = f"({r['ratio_min']:.2f}-{r['ratio_max']:.2f})"
    return (
        f"{r['set']:9} {r['torch_ms']:9.3f} {r['ours_ms']:9.3f} {r['adamw_ms']:9.3f}"
        f"  {r['ratio']:5.2f} {spread:13} {r['flop_ratio']:6.2f}"
        f"  {r['torch_gflops']:9.1f} {r['ours_gflops']:9.1f}"
        f"  {r['torch_error']:9.3f} {r['ours_error']:9.3f}"
    )


if __name__ == "__main__":
    main()
