"""A finished run's model in fewer bits: how much quantized matrices lose on the test split."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from muonlab.declare import measurement
from muonlab.measure.quantizers import quantization_error, quantize
from muonlab.probes.finished import FinishedRun, Place

FULL = "full"  # the scheme's name in rows about the weights as they were trained
FULL_BITS = 32
WHOLE = "all"
COLUMNS = {
    "point": str,
    "step": int,
    "rung": int,
    "loss": float,
    "scheme": str,
    "bits": int,
    "tensor": str,
    "component": str,
    "metric": str,
    "value": float,
}


@measurement(of="arm", split="test")
def quantization(
    run: FinishedRun, places: Sequence[Place], split: Any, settings: dict, device: str
) -> Iterator[dict]:
    """Loss and accuracy (tensor `all`) and each matrix's error, for every scheme and number of
    bits, at every place, on the examples of `split`. The column `loss` is that of the same weights
    in full precision on these examples. Biases and activations stay in full precision."""
    for moment in places:
        weights = {name: w.to(device) for name, w in run.weights(moment.step).items()}
        model = run.model(weights).to(device)
        full = split.evaluate(model)
        place = moment._replace(loss=full["loss"])
        yield from _rows(run, place, FULL, FULL_BITS, WHOLE, full)
        if not all(w.isfinite().all() for w in weights.values()):
            continue  # the weights of a diverged run cannot be quantized
        for scheme in settings["schemes"]:
            for bits in settings["bits"]:
                quantized, errors = _quantize(weights, bits, scheme)
                model.load_state_dict(quantized)
                yield from _rows(run, place, scheme, bits, WHOLE, split.evaluate(model))
                for name, error in errors.items():
                    yield from _rows(run, place, scheme, bits, name, error)


def _quantize(
    weights: dict[str, Tensor], bits: int, scheme: str
) -> tuple[dict[str, Tensor], dict[str, dict]]:
    """The weights with every matrix quantized, and each matrix's error."""
    matrices = {n: quantize(w, bits, scheme).values for n, w in weights.items() if w.ndim >= 2}
    errors = {name: quantization_error(weights[name], q) for name, q in matrices.items()}
    return weights | matrices, errors


def _rows(
    run: FinishedRun, place: Place, scheme: str, bits: int, tensor: str, values: dict[str, float]
) -> Iterator[dict]:
    for metric, value in values.items():
        yield {
            **place._asdict(),
            "scheme": scheme,
            "bits": bits,
            "tensor": tensor,
            "component": run.components.get(tensor, WHOLE),
            "metric": metric,
            "value": value,
        }
