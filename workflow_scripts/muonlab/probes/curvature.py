"""Curvature of a finished run's loss along its way, on one batch that all runs share."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from muonlab.declare import measurement
from muonlab.measure.hessian import HessianVectorProduct, flat_vector
from muonlab.measure.hessian_spectrum import (
    directional_sharpness,
    gradient_hessian_cosine,
    hutchinson_trace,
    spectral_density,
    top_eigenvalues,
)
from muonlab.probes.finished import FinishedRun, Place
from muonlab.streams import numpy_generator, torch_generator

DTYPE = torch.float64  # makes the top eigenvalues exact to rounding, at twice the cost of float32
COLUMNS = {
    "point": str,
    "step": int,
    "rung": int,
    "loss": float,
    "metric": str,
    "index": int,
    "value": float,
    "examples": int,
    "dtype": str,
    "backend": str,
}

Loss = Callable[[nn.Module], torch.Tensor]
Row = tuple[str, int, float]  # metric, index, value


def fixed_loss(split: Any, examples: int) -> Loss:
    """The loss on the first `examples` of a fixed permutation of a split. The choice depends on the
    data set alone, so it is the same for all arms and seeds. Examples of text are windows."""
    order = numpy_generator(0, "curvature batch").permutation(len(split))[:examples]
    return split.loss_in(order, DTYPE)


@measurement(split="train", memory_mb=2500)
def curvature(
    run: FinishedRun, places: Sequence[Place], split: Any, settings: dict, device: str
) -> Iterator[dict]:
    """Rows of every place, where `loss` is that of the batch. A Hessian's graph is freed before the
    next one is built. The density is estimated at the start and at the end only."""
    examples = min(settings["examples"], len(split))
    loss = fixed_loss(split, examples)
    facts = {"examples": examples, "dtype": str(DTYPE).removeprefix("torch.")}
    facts["backend"] = settings["backend"]
    for place in places:
        density = settings["density"] and place.point != "rung"
        rows = rows_at(run, place.step, loss, settings, density, device)
        own = next(value for metric, _, value in rows if metric == "loss")
        for metric, index, value in rows:
            row = {"metric": metric, "index": index, "value": value}
            yield place._asdict() | {"loss": own} | row | facts


def rows_at(
    run: FinishedRun, step: int, loss: Loss, settings: dict, density: bool, device: str
) -> list[Row]:
    """Everything that is measured at one snapshot, in evaluation mode."""
    model = run.model(run.weights(step)).to(device, DTYPE)
    parameters = dict(model.named_parameters())
    hvp = HessianVectorProduct(lambda: loss(model), parameters.values())
    rows = [("loss", 0, hvp.loss), ("gradient_norm", 0, float(hvp.gradient.norm()))]
    rows += _eigenvalues(hvp, settings)
    trace = hutchinson_trace(hvp, settings["trace_samples"], torch_generator(0, "curvature trace"))
    rows += [("hessian_trace", 0, trace.mean), ("hessian_trace_error", 0, trace.standard_error)]
    update = run.update(step)
    if update is not None:
        direction = flat_vector(update[name] for name in parameters)
        rows.append(("directional_sharpness", 0, directional_sharpness(hvp, direction)))
    if density:
        found = spectral_density(hvp, generator=torch_generator(0, "curvature density"))
        rows += [("density_node", i, x) for i, x in enumerate(found.nodes.tolist())]
        rows += [("density_weight", i, x) for i, x in enumerate(found.weights.tolist())]
    return rows


def _eigenvalues(hvp: HessianVectorProduct, settings: dict) -> list[Row]:
    top = top_eigenvalues(
        hvp,
        min(settings["eigenvalues"], hvp.n),
        settings["backend"],
        tol=settings["tolerance"] if settings["backend"] == "lanczos" else None,
    )
    rows = [("sharpness", 0, float(top.values[0]))]
    rows += [("eigenvalue", i, value) for i, value in enumerate(top.values.tolist())]
    rows += [("eigenvalue_residual", i, r) for i, r in enumerate(top.residuals.tolist())]
    cosine = gradient_hessian_cosine(hvp, top.vectors[0])
    return [*rows, ("gradient_hessian_cosine", 0, cosine)]
