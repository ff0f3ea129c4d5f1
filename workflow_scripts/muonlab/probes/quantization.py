"""A finished run's model in fewer bits: how much quantized matrices lose on the test split."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from muonlab.declare import measurement
from muonlab.measure.quantizers import quantization_error, quantize
from muonlab.probes.finished import FinishedRun, Point

FULL = "full"  # the scheme's name in rows about the weights as they were trained
FULL_BITS = 32
WHOLE = "all"
COLUMNS = {
    "point": str,
    "step": int,
    "reached": bool,
    "scheme": str,
    "bits": int,
    "tensor": str,
    "component": str,
    "metric": str,
    "value": float,
}


@measurement(split="test")
def quantization(
    run: FinishedRun, matched: dict, split: Any, settings: dict, device: str
) -> Iterator[dict]:
    """Loss and accuracy (tensor `all`) and each matrix's error, for every scheme and number of
    bits, at matched loss and at the end, on the examples of `split`. Biases and activations stay in
    full precision."""
    for point in run.points(matched)[1:]:
        weights = {name: w.to(device) for name, w in run.weights(point.step).items()}
        model = run.model(weights).to(device)
        yield from _rows(run, point, FULL, FULL_BITS, WHOLE, split.evaluate(model))
        if not all(w.isfinite().all() for w in weights.values()):
            continue  # the weights of a diverged run cannot be quantized
        for scheme in settings["schemes"]:
            for bits in settings["bits"]:
                quantized, errors = _quantize(weights, bits, scheme)
                model.load_state_dict(quantized)
                yield from _rows(run, point, scheme, bits, WHOLE, split.evaluate(model))
                for name, error in errors.items():
                    yield from _rows(run, point, scheme, bits, name, error)


def _quantize(
    weights: dict[str, Tensor], bits: int, scheme: str
) -> tuple[dict[str, Tensor], dict[str, dict]]:
    """The weights with every matrix quantized, and each matrix's error."""
    matrices = {n: quantize(w, bits, scheme).values for n, w in weights.items() if w.ndim >= 2}
    errors = {name: quantization_error(weights[name], q) for name, q in matrices.items()}
    return weights | matrices, errors


def _rows(
    run: FinishedRun, point: Point, scheme: str, bits: int, tensor: str, values: dict[str, float]
) -> Iterator[dict]:
    for metric, value in values.items():
        yield {
            "point": point.name,
            "step": point.step,
            "reached": point.reached,
            "scheme": scheme,
            "bits": bits,
            "tensor": tensor,
            "component": run.components.get(tensor, WHOLE),
            "metric": metric,
            "value": value,
        }
