"""Spectra of a finished run along its way from the start to the end."""

from collections.abc import Iterator, Sequence

from muonlab.declare import measurement
from muonlab.measure.singular_values import spectral_records
from muonlab.probes.finished import FinishedRun, Place

COLUMNS = {
    "point": str,
    "step": int,
    "rung": int,
    "loss": float,
    "object": str,
    "tensor": str,
    "component": str,
    "expert": int,
    "metric": str,
    "index": int,
    "value": float,
}


@measurement(of="arm")
def spectra(run: FinishedRun, places: Sequence[Place]) -> Iterator[dict]:
    """Every spectral metric and the whole spectrum of each matrix (object `weight`) and of its
    change since the start (object `from_start`, W_t − W_0, in float64), of which the whole spectrum
    is kept at the end alone. `loss` is that of the evaluation at the step."""
    start = run.matrices(0)
    for place in places:
        weights = run.matrices(place.step)
        objects = {"weight": weights}
        if place.step > 0:
            objects["from_start"] = {n: w.double() - start[n].double() for n, w in weights.items()}
        for kind, matrices in objects.items():
            whole = kind == "weight" or place.point == "end"
            for record in spectral_records(matrices, whole_spectrum=whole):
                component = run.components[record["tensor"]]
                yield {**place._asdict(), "object": kind, "component": component, **record}
