"""Which weights of a reporting run are kept for what is measured later."""

from collections.abc import Mapping
from typing import Any

KEEP_NOTHING = {"snapshots": "none", "updates": False}
# Measurements that read the weights at the end of a run alone.
AT_THE_END = ("multiple_choice", "samples", "attention_patterns")


def kept_weights(measure: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of the weights of a reporting run, given the section `measure`.

    All snapshots if something is measured along the run, only the last one if only the end is read,
    and otherwise nothing.
    """
    descent = "descent" in measure["also"]
    along = measure["spectra"] or measure["curvature"] or measure["quantization"] or descent
    directed = measure["ranking"] or "direction" in measure["also"]
    if along:
        updates = bool(measure["curvature"] or directed or descent)
        return {"snapshots": "all", "updates": updates}
    at_the_end = directed or measure["also"] or any(measure[name] for name in AT_THE_END)
    return {"snapshots": "end", "updates": bool(directed)} if at_the_end else KEEP_NOTHING
