"""How the time of a step divides into parts in two arms, and the cost of Newton–Schulz by shape."""

import os
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from muonlab.io.atomic import replacing
from muonlab.measure.throughput import matmul_ceiling
from muonlab.optim.factory import build_optimizer
from muonlab.optim.iteration import plain_flops
from muonlab.optim.muon import Muon
from muonlab.optim.precision import working_dtype
from muonlab.probes.stopwatch import ORTHOGONALIZATION, Stopwatch, TimedUpdate
from muonlab.training.build import build_model, build_splits


def profile_overhead(
    configs: dict[str, dict], data: Path, facts: dict, settings: dict, device: str, trace: Path
) -> dict:
    """The record of the profile of some arms' runs on the prepared data set in `data`.

    `configs`: each arm's run. After `warmup_steps` the arms take turns, `steps` times, in
    alternating order, so that disturbances of the machine affect all arms alike. Then
    `traced_steps` of each are written to the profiler's Chrome trace `trace` (gzip), which Perfetto
    opens. Seconds are those of this process with its number of threads; the weights are initial
    ones, not those of a finished run.
    """
    load = os.getloadavg()[0]
    arms = {arm: prepared(config, data, facts, device) for arm, config in configs.items()}
    for update in arms.values():
        for step in range(settings["warmup_steps"]):
            update.step(step)
        update.time_orthogonalization()
        update.watch.read()
    rounds = interleaved(arms, settings["warmup_steps"], settings["steps"])
    write_trace(arms, settings["warmup_steps"] + settings["steps"], settings["traced_steps"], trace)
    records = []
    for arm, update in arms.items():
        record = {"arm": arm, "seconds": rounds[arm], "memory": memory(update.optimizer)}
        record |= {"tokens": update.tokens(1), "flops": model_flops(update, configs[arm])}
        record |= {"precision": update.training["precision"]}
        record["shapes"] = shape_records(update.optimizer, settings["steps"], device)
        records.append(record)
    dtypes = {update.training["precision"] for update in arms.values()}
    dtypes |= {shape["dtype"] for record in records for shape in record["shapes"]}
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "ceiling_flops_per_second": {d: matmul_ceiling(getattr(torch, d), device) for d in dtypes},
        "arms": records,
    }


def prepared(config: dict, data: Path, facts: dict, device: str) -> TimedUpdate:
    """A run's model, optimizer and training split, ready for its first update."""
    # A tuning run reads no test split; otherwise a step does not depend on the phase.
    split: Any = build_splits(config | {"phase": "tuning"}, data, facts, device)["train"]
    model = build_model(config, facts).to(device)
    return TimedUpdate(config, model, build_optimizer(model, config["optimizer"]), split, device)


def interleaved(
    arms: dict[str, TimedUpdate], start: int, steps: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each part of each of `steps` updates from `start` on, by arm and part."""
    found: dict[str, dict[str, list[float]]] = {arm: {} for arm in arms}
    for k in range(steps):
        for arm in list(arms)[:: 1 if k % 2 else -1]:
            update = arms[arm]
            if update.watch.on_gpu:
                torch.cuda.synchronize()
            update.step((start + k) % update.total)
            for part, seconds in update.seconds().items():
                found[arm].setdefault(part, []).append(seconds)
    return found


def write_trace(arms: dict[str, TimedUpdate], start: int, steps: int, path: Path) -> None:
    """Writes the profiler's trace of some updates of each arm. Every part of an update is a range
    with its name, and every stack of matrices that is orthogonalized is one with their shapes."""
    activities = [ProfilerActivity.CPU]
    if any(update.watch.on_gpu for update in arms.values()):
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for arm, update in arms.items():
            update.watch.labels = True
            for step in range(start, start + steps):
                with record_function(f"{arm}: step {step}"):
                    update.step(step % update.total)
            update.watch.labels = False
            update.watch.read()
    with replacing(path) as temporary:
        profiler.export_chrome_trace(str(temporary))


def memory(optimizer: Optimizer) -> dict[str, int]:
    """Bytes of the trained weights, of the optimizer's state and of its reused memory."""
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    state = [t for kept in optimizer.state.values() for t in kept.values()]
    return {
        "weight_bytes": sum(p.nbytes for p in weights),
        "state_bytes": sum(t.nbytes for t in state if isinstance(t, Tensor)),
        "workspace_bytes": getattr(optimizer, "workspace_bytes", 0),
    }


def model_flops(update: TimedUpdate, config: dict) -> int:
    """Flops of the forward and backward passes of one update; see `models.size` for a transformer,
    6 for each entry of a matrix and example for a perceptron."""
    if config["model"]["name"] == "transformer":
        from muonlab.models.size import flops_per_token

        return update.tokens(1) * flops_per_token(update.model, config["model"]["context"])
    entries = sum(p.numel() for p in update.model.parameters() if p.ndim > 1)
    return 6 * update.tokens(1) * entries


def shape_records(optimizer: Optimizer, repeats: int, device: str) -> list[dict]:
    """For each shape of the matrices that Muon trains: their number, and the seconds and flops of
    orthogonalizing them alone, from their last gradients.

    `plain_flops` are those of the textbook's iteration, `flops` those of the products that were
    made. Small matrices of several shapes share a batch in a real step, so the sum over shapes may
    exceed the step's seconds.
    """
    records = []
    for group in optimizer.matrix_groups if isinstance(optimizer, Muon) else []:
        params = [p for p in group["params"] if p.grad is not None]
        if not group["orthogonalize"]:
            continue
        for shape in dict.fromkeys(tuple(p.shape) for p in params):
            same = [p for p in params if tuple(p.shape) == shape]
            records.append(_shape_record(same, group, repeats, device))
    return records


def _shape_record(params: list[nn.Parameter], group: dict, repeats: int, device: str) -> dict:
    own = []
    for p in params:
        copy = nn.Parameter(p.detach().clone())
        copy.grad = p.grad
        own.append(copy)
    # With a rate of 0 the weights do not move, so that every repeat does the same work.
    fields = {name: group[name] for name in Muon.settings if name in group}
    optimizer = Muon(own, lr=0.0, **fields)
    with FlopCounterMode(display=False) as counter:
        optimizer.step()
    watch = Stopwatch(device)
    for bundle in optimizer.bundles:
        bundle.run = watch.timed(bundle.run, ORTHOGONALIZATION)
    seconds = []
    for _ in range(1 + repeats):
        optimizer.step()
        seconds.append(watch.read()[ORTHOGONALIZATION])
    shape = own[0].shape
    matrices = len(own) * (shape[0] if len(shape) == 3 else 1)
    m, n = sorted(shape[-2:])
    exact = group["ns_coefficients"] == "exact" or group.get("update_spectrum") is not None
    return {
        "shape": "x".join(map(str, shape)),
        "tensors": len(own),
        "matrices": matrices,
        "seconds": median(seconds[1:]),
        "flops": None if exact else counter.get_total_flops(),
        "plain_flops": None if exact else matrices * plain_flops(group["ns_steps"], m, n),
        "dtype": str(working_dtype(own[0], group["dtype"])).removeprefix("torch."),
    }
