"""Types of the public names, for editors and type checkers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from muonlab.optim.routing import RoutingTable

__all__ = ["Muon", "muon_with_adamw", "newton_schulz"]

PUBLIC: Mapping[str, str]

_Triples: TypeAlias = Sequence[Sequence[float]]
_Coefficients: TypeAlias = (
    Literal[
        "jordan",
        "quintic",
        "polar_express",
        "cans",
        "polar8",
        "conservative",
        "mild_aggressive",
        "ultra_stable",
        "exact",
    ]
    | _Triples
)
_Scale: TypeAlias = Literal["match_rms_adamw", "original", "none", "fixed_rms"]
_Precision: TypeAlias = (
    Literal["auto", "float16", "bfloat16", "float32", "float64"] | torch.dtype | None
)
_Split: TypeAlias = int | list[int] | dict[Literal["columns"], int | list[int]] | None
_Chosen: TypeAlias = str | Sequence[str] | Callable[[str, nn.Parameter], bool]

class Muon(Optimizer):
    settings: dict[str, tuple[Any, Any]]
    def __init__(
        self,
        params: ParamsT | Iterable[dict[str, Any]],
        lr: float | Tensor = 1e-3,
        *,
        compile: bool | dict[str, Any] = False,
        weight_decay: float = 0.1,
        ns_steps: int = 5,
        ns_coefficients: _Coefficients = "jordan",
        scale: _Scale = "match_rms_adamw",
        orthogonalize: bool = True,
        update_spectrum: float | Literal["random"] | None = None,
        dtype: _Precision = "auto",
        split: _Split = None,
        independent_decay: bool = False,
        momentum: float = 0.95,
        nesterov: bool = True,
    ) -> None: ...
    @property
    def routing(self) -> RoutingTable: ...
    @property
    def workspace_bytes(self) -> int: ...
    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

def muon_with_adamw(
    model: nn.Module,
    lr: float = 1e-3,
    *,
    embedding_lr_ratio: float = 1.0,
    head_lr_ratio: float = 1.0,
    vector_lr_ratio: float = 1.0,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    use_muon: _Chosen = (),
    use_adamw: _Chosen = (),
    compile: bool | dict[str, Any] = False,
    ns_steps: int = 5,
    ns_coefficients: _Coefficients = "jordan",
    scale: _Scale = "match_rms_adamw",
    orthogonalize: bool = True,
    update_spectrum: float | Literal["random"] | None = None,
    dtype: _Precision = "auto",
    independent_decay: bool = False,
    momentum: float = 0.95,
    nesterov: bool = True,
) -> Muon: ...
def newton_schulz(
    G: Tensor,
    coefficients: _Coefficients = "jordan",
    steps: int = 5,
    dtype: torch.dtype | None = None,
) -> Tensor: ...
