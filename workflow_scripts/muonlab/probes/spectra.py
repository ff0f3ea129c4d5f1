"""Spectra of a finished run at its start, at matched loss and at its end."""

from collections.abc import Iterator

from muonlab.declare import measurement
from muonlab.measure.singular_values import spectral_records
from muonlab.probes.finished import FinishedRun

COLUMNS = {
    "point": str,
    "step": int,
    "reached": bool,
    "object": str,
    "tensor": str,
    "component": str,
    "expert": int,
    "metric": str,
    "index": int,
    "value": float,
}


@measurement()
def spectra(run: FinishedRun, matched: dict) -> Iterator[dict]:
    """Every spectral metric and the whole spectrum of each matrix (object `weight`) and of its
    change since the start (object `from_start`, W_t − W_0, in float64)."""
    start = run.matrices(0)
    for point in run.points(matched):
        weights = run.matrices(point.step)
        objects = {"weight": weights}
        if point.step > 0:
            objects["from_start"] = {n: w.double() - start[n].double() for n, w in weights.items()}
        for kind, matrices in objects.items():
            for record in spectral_records(matrices, whole_spectrum=True):
                yield {
                    "point": point.name,
                    "step": point.step,
                    "reached": point.reached,
                    "object": kind,
                    "component": run.components[record["tensor"]],
                    **record,
                }
