"""The `measure` section of a study: what is measured on its runs, what its arms are compared by."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from muonlab.section import Name, Section

POINTS = ("end", "matched")
RUN_OUTCOMES = {
    "final_loss": "final loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "matched_step": "steps to the matched loss",
}
CURVATURE_OUTCOMES = {
    "sharpness": "sharpness",
    "hessian_trace": "Hessian trace",
    "directional_sharpness": "directional sharpness",
}
SPECTRAL_OUTCOMES = {
    "spectral_entropy": "spectral entropy",
    "effective_rank": "effective rank",
    "condition_number": "condition number",
}


class Curvature(Section):
    """Curvature of the loss on one fixed batch, the same for all runs of the study."""

    snapshots: int = Field(default=12, ge=2)
    """Snapshots measured along each run, evenly spread, the first and the last among them."""
    eigenvalues: int = Field(default=3, ge=1)
    """Top eigenvalues of the Hessian; the first is the sharpness."""
    examples: int = Field(default=1024, ge=1)
    """Training images in the batch."""
    trace_samples: int = Field(default=32, ge=2)
    """Random vectors of the trace's estimate."""
    density: bool = True
    """Whether the density of all eigenvalues is estimated, at start, matched loss and end."""
    backend: Literal["lanczos", "pyhessian"] = "lanczos"
    """Solver of the top eigenvalues."""
    tolerance: float = Field(default=1e-6, gt=0)
    """Lanczos: residual of an eigenpair in units of the spectral radius, at which it is taken; the
    eigenvalue's own error is of second order in it. PyHessian: its own stopping rule."""


class Quantization(Section):
    """Weight-only quantization after training; activations stay in full precision."""

    bits: list[Literal[8, 4, 3, 2]] = Field(default=[8, 4, 3, 2], min_length=1)
    """Bits of a weight; with 2 it is ternary."""
    schemes: list[
        Literal["tensor_quantile", "channel_minmax", "group_minmax", "tensor_mse", "channel_mse"]
    ] = Field(
        default=["tensor_quantile", "channel_minmax", "group_minmax", "tensor_mse", "channel_mse"],
        min_length=1,
    )
    """Which weights share a scale, and how it is chosen; tensor_quantile is the source's."""

    @model_validator(mode="after")
    def _consistent(self) -> "Quantization":
        for field in ("bits", "schemes"):
            if len(set(getattr(self, field))) != len(getattr(self, field)):
                raise ValueError(f"{field} must not name anything twice")
        return self


class Contrasts(Section):
    """How arms are compared."""

    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Level of tests, and one minus that of intervals."""
    smallest_difference: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """Smallest difference that matters, by outcome and in its unit; arms that are shown to differ
    by less are called equivalent."""
    pairs: Literal["all", "base"] = "all"
    """Which arms are compared: every two of them, or each with its base (and arms without one with
    the first arm)."""


class Factorial(Section):
    """Four arms that have two components of the optimizer, one of them, or neither."""

    label: str
    """Name in tables and figures."""
    both: Name
    """The arm with both components."""
    without_first: Name
    """The arm that lacks the first component."""
    without_second: Name
    """The arm that lacks the second."""
    neither: Name
    """The arm that lacks both."""
    first: str = "Newton–Schulz"
    """What the first component is called."""
    second: str = "momentum"
    """What the second is called."""


class Overhead(Section):
    """Where the time of a step goes, measured alone on the machine."""

    arms: list[Name] = Field(min_length=2, max_length=2)
    """The arm whose overhead is measured, and the one that it is weighed against."""
    warmup_steps: int = Field(default=5, ge=1)
    """Steps before anything is measured."""
    steps: int = Field(default=20, ge=2)
    """Steps that are timed."""
    traced_steps: int = Field(default=2, ge=1)
    """Steps of the profiler's trace."""

    @model_validator(mode="after")
    def _consistent(self) -> "Overhead":
        if self.arms[0] == self.arms[1]:
            raise ValueError("arms must name two arms, not one twice")
        return self


class Measure(Section):
    """What is measured on the reporting runs, and how it is compared."""

    spectra: bool = True
    """Whether the spectra of weights and updates are measured at start, matched loss and end."""
    curvature: Curvature | None = Curvature()
    """Curvature of the loss; null measures none."""
    quantization: Quantization | None = Quantization()
    """Quantization of the weights; null makes none."""
    contrasts: Contrasts = Contrasts()
    factorials: list[Factorial] = Field(default=[])
    """Contributions of two components, and their interaction, over four arms each."""
    ranking: Name | None = None
    """Arm against which all others are ranked; null makes no ranking."""
    also: list[Name] = Field(default=[])
    """Further measurements, by the names of their functions in `muonlab/probes/`."""
    overhead: Overhead | None = None
    """Profile of the optimizer's share of a step; null makes none."""

    @model_validator(mode="after")
    def _consistent(self) -> "Measure":
        known = [outcome["name"] for outcome in outcomes(self.model_dump())]
        for name in self.contrasts.smallest_difference:
            if name not in known:
                raise ValueError(
                    f"contrasts.smallest_difference: {name!r} is not an outcome (there are "
                    f"{', '.join(known)})"
                )
        return self


def outcomes(measure: dict) -> list[dict]:
    """Every outcome on which arms are compared: name, quantity, point ("" for a run as a whole),
    label, and for quantization its bits and scheme."""
    found = [
        {"name": name, "quantity": name, "point": "", "label": label}
        for name, label in RUN_OUTCOMES.items()
    ]
    at_points = CURVATURE_OUTCOMES if measure["curvature"] else {}
    at_points = at_points | (SPECTRAL_OUTCOMES if measure["spectra"] else {})
    for point in POINTS:
        for name, label in at_points.items():
            found.append(
                {"name": f"{name}_{point}", "quantity": name, "point": point, "label": label}
            )
        if measure["quantization"] is None:
            continue
        for scheme in measure["quantization"]["schemes"]:
            for bits in measure["quantization"]["bits"]:
                found.append(
                    {
                        "name": f"accuracy_drop_int{bits}_{scheme}_{point}",
                        "quantity": "accuracy_drop",
                        "point": point,
                        "label": f"accuracy drop, {bits} bits, {scheme.replace('_', ' ')}",
                        "bits": bits,
                        "scheme": scheme,
                    }
                )
    return found
