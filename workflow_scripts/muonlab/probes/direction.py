"""How far a run's last update is from the polar factor that Muon's iteration approximates.

Muon moves W by −lr·(s·O + decay·W), where O is the result of the Newton–Schulz iteration on the
momentum. O can therefore be computed back from a kept update: O = −(ΔW + lr·decay·W) / (lr·s).
O = UΣVᵀ has the polar factor UVᵀ, and every distance between the two is a distance of Σ from 1:
singular values that the iteration did not raise to 1 count as error, as they should.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from muonlab.declare import measurement
from muonlab.optim.scale import update_scale
from muonlab.optim.schedules import lr_factor
from muonlab.optim.split import Split, blocks
from muonlab.probes.finished import FinishedRun

COLUMNS = {
    "step": int,
    "lr": float,
    "tensor": str,
    "component": str,
    "matrix": int,
    "normalised": bool,
    "metric": str,
    "value": float,
}
# The optimizers whose update is lr·s·O. The others transform O before it is applied, or change the
# weights afterwards.
PLAIN = ("muon", "spectral")
ROUNDING = torch.finfo(torch.float32).eps / math.sqrt(12)  # rms of a rounding error, per unit


class Kept(NamedTuple):
    """A kept update: the number of updates made by then, and its factor on the peak rates."""

    step: int
    factor: float


@measurement(of="arm")
def direction(run: FinishedRun) -> Iterator[dict]:
    """Metrics of every matrix that Muon trains, at the last kept update with a rate above 0.

    For each matrix (each one of a stack or split parameter): `polar_error` ‖O − UVᵀ‖_F/‖UVᵀ‖_F,
    `direction_error` min_c ‖cO − UVᵀ‖_F/‖UVᵀ‖_F, `rms_singular_value`, `min_singular_value`,
    `max_singular_value`, and `recovery_error`, the relative error that rounding of the weights
    leaves in O. With the scale fixed_rms the size of O cannot be recovered and is taken to be that
    of the polar factor (`normalised`). There are no rows for optimizers other than Muon and
    spectral descent, or for a run without a kept update whose learning rate was above 0.
    """
    optimizer = run.config["optimizer"]
    kept = last_kept(run) if optimizer["name"] in PLAIN else None
    if kept is None:
        return
    weights, update = run.weights(kept.step), run.update(kept.step)
    fixed = optimizer.get("scale") == "fixed_rms"
    for route in run.routes:
        if route["optimizer"] != optimizer["name"]:
            continue
        name, peak = route["tensor"], route["lr"]
        lr, component = peak * kept.factor, run.components[name]
        facts = {"step": kept.step, "lr": lr, "tensor": name, "component": component}
        W, decay = weights[name].double(), decay_rate(route["weight_decay"], peak, optimizer)
        U = moved(W, update[name].double(), lr, decay)
        split = (optimizer.get("split") or {}).get(component)
        for place, (block, weight) in enumerate(zip(cut(U, split), cut(W, split), strict=True)):
            s = update_scale(*block.shape, optimizer.get("scale", "none"))
            values = polar_metrics(block / s, fixed)
            values["recovery_error"] = ROUNDING * float(weight.norm() / (lr * block.norm()))
            for metric, value in values.items():
                row = {"matrix": place, "normalised": fixed, "metric": metric, "value": value}
                yield facts | row


def cut(stack: Tensor, split: Split) -> list[Tensor]:
    """The matrices (m', n') of a weight (m, n) or (experts, m, n) that Muon orthogonalizes."""
    return [matrix for block in blocks(stack[None], split) for matrix in block]


def last_kept(run: FinishedRun) -> Kept | None:
    """The last update that was kept and moved the weights; None where there is none."""
    training = run.config["training"]
    for step in reversed(run.kept):
        factor = lr_factor(
            step - 1,
            training["schedule_steps"] or training["steps"] or run.last,
            training["schedule"],
            training["warmup_steps"],
            training["final_lr_fraction"],
            training["warmup_from_zero"],
        )
        if factor > 0 and run.update(step) is not None:
            return Kept(step, factor)
    return None


def decay_rate(weight_decay: float, peak: float, optimizer: dict) -> float:
    """The factor that multiplied lr·W in the update, as in `optim.muon.decay_rate`."""
    return weight_decay / peak if optimizer.get("independent_decay") else weight_decay


def moved(W: Tensor, update: Tensor, lr: float, decay: float) -> Tensor:
    """s·O, computed from W_t (…, m, n) and W_t − W_{t−1} in their dtype: the part of the update
    that lr multiplied, without the decay."""
    return -(update + lr * decay * (W - update)) / lr


def polar_metrics(O: Tensor, normalise: bool = False) -> dict[str, float]:  # noqa: E741 (the paper's)
    """Distances of O (m, n) from its polar factor, from its singular values in float64.

    With r = min(m, n): `polar_error` is the root mean square of σ − 1, `direction_error` is
    √(1 − (Σσ)² / (rΣσ²)), which no factor on O changes. `normalise` first gives O the size of its
    polar factor, rms σ = 1. A matrix that is zero or not finite has no polar factor: all are NaN.
    """
    names = ("polar_error", "direction_error", "rms_singular_value")
    names = (*names, "min_singular_value", "max_singular_value")
    if not torch.isfinite(O).all() or not O.any():
        return dict.fromkeys(names, math.nan)
    sigma = torch.linalg.svdvals(O.double())
    rms = sigma.square().mean().sqrt()
    if normalise:
        sigma, rms = sigma / rms, torch.ones_like(rms)
    # Computed from deviations from the mean: 1 − share would lose half of its digits near 0.
    apart = (sigma - sigma.mean()).square().mean().sqrt() / rms
    values = ((sigma - 1).square().mean().sqrt(), apart, rms, sigma.min(), sigma.max())
    return dict(zip(names, map(float, values), strict=True))
