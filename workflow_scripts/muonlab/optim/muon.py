"""Muon: momentum, orthogonalized by Newton–Schulz.

Muon is for hidden weight matrices. Embeddings, output heads, norms and biases belong to AdamW:
`whole_model.muon_with_adamw` builds one optimizer of both for any model, and `factory` does so for
a config section of the workflow.
"""

from typing import Annotated

import torch
from torch import Tensor, nn

from muonlab.optim.bundles import Bundle, Scratch, Settings, make_bundles
from muonlab.optim.coefficients import Coefficients
from muonlab.optim.compiled import compiled_update, without_looking
from muonlab.optim.foreign_state import translated
from muonlab.optim.hyperparameters import (
    Beta,
    Component,
    NotNegative,
    Parts,
    Precision,
    Range,
    Scale,
    Spectrum,
    optimizer,
)
from muonlab.optim.matrix_optimizer import MatrixOptimizer
from muonlab.optim.precision import resolve_dtype
from muonlab.optim.sharded import (
    gathered,
    has_whole_matrices,
    like,
    local,
    own_part,
    stand_in,
)
from muonlab.optim.shares import Team, cost, shares
from muonlab.optim.split import blocks
from muonlab.optim.update_spectrum import RANDOM, advanced, new_stream


@optimizer
class Muon(MatrixOptimizer):
    """Muon for matrices (out, in) and stacks of matrices (experts, out, in).

    Each stacked matrix is orthogonalized on its own. With M the momentum and G the gradient:
    M ← μM + (1−μ)G; U = (1−μ)G + μM with Nesterov, else M; O = newton_schulz(U);
    W ← (1 − lr·weight_decay)·W − lr·s·O, where s is sqrt(max(1, out/in)) for scale "original",
    0.2·sqrt(max(out, in)) for "match_rms_adamw" (Liu et al., arXiv 2502.16982; the update
    then has AdamW's usual root mean square and can share its learning rate), 1 for "none", or
    0.2·√(out·in)/‖O‖_F for "fixed_rms" (then it has exactly that root mean square, 0.2).

    `orthogonalize=False` leaves U as it is (plain momentum), `momentum=0` is spectral descent.
    `update_spectrum` gives O other singular values than those of the iteration (`update_spectrum`).
    `dtype` is that of the matrix products: a torch dtype or its name, "auto" for bfloat16 where
    the hardware has it and float32 elsewhere, or None (float32 on a CPU, bfloat16 on a GPU).
    `split` cuts each parameter of the group into matrices of their own (`split.blocks`). With
    `independent_decay` the decay is weight_decay·lr/peak lr, so that it follows the schedule and
    not the rate (Wortsman et al., arXiv 2309.14322, section 3.2.2); the peak is the group's
    "peak_lr", at first its lr. `compile` (True, or torch.compile's options) runs the update of
    every stack of equal matrices as one compiled function; worth it on a GPU. Gradients are never
    written to, state has the parameter's dtype.

    Raises ValueError for a parameter that is not a floating-point matrix or stack of matrices, for
    a sparse gradient, for a hyperparameter out of range and for a spectrum of updates that are not
    to be orthogonalized. Source: K. Jordan, Muon (2024). What
    is computed together, and how, is said in `bundles` and `iteration`.
    """

    SHARDED = True

    weight_decay: NotNegative = 0.1
    """Decoupled weight decay."""
    ns_steps: Annotated[int, Range(ge=1, le=100)] = 5
    """Newton–Schulz steps."""
    ns_coefficients: Coefficients = "jordan"
    """Coefficient schedule by name, or explicit triples [a, b, c]."""
    scale: Scale = "match_rms_adamw"
    """Factor on the step: 0.2·sqrt(max(out, in)), sqrt(max(1, out/in)), 1, or, for fixed_rms, what
    gives each matrix's update the root mean square 0.2 exactly, whatever made it. Learning rates
    are comparable only under one scale."""
    orthogonalize: bool = True
    """Whether Newton–Schulz is applied at all."""
    update_spectrum: Spectrum = None
    """Singular values of the update in place of those that Newton–Schulz gives: a power p for
    those of the momentum to the power p (0 for the exact polar factor), random for random ones;
    all are scaled to the size of the polar factor. null leaves Newton–Schulz as it is."""
    dtype: Precision | None = "auto"
    """Precision of the matrix products; null is float32 on a CPU and bfloat16 on a GPU, auto is
    bfloat16 where the hardware multiplies it natively and float32 elsewhere."""
    split: dict[Component, Parts] | None = None
    """Components whose matrices are cut into blocks that are orthogonalized on their own."""
    independent_decay: bool = False
    """Whether weight decay follows the schedule and not the learning rate."""
    momentum: Beta = 0.95
    """Momentum; 0 turns it off."""
    nesterov: bool = True
    """Whether the update looks one gradient ahead."""

    def __init__(self, params, lr: float = 1e-3, *, compile: bool | dict = False, **settings):
        self.compile = {} if compile is True else compile
        self.team: Team | None = None
        self._forget()
        super().__init__(params, lr, **settings)

    def _forget(self) -> None:
        """Drops reused memory; it holds no state."""
        self._scratch = Scratch()
        self._bundles: dict[tuple, tuple[Settings, list[Bundle]]] = {}

    def __getstate__(self) -> dict:
        return super().__getstate__() | {"compile": self.compile}

    def __setstate__(self, state: dict) -> None:
        self._forget()
        super().__setstate__(state)
        self.__dict__.setdefault("compile", False)
        self.__dict__.setdefault("team", None)

    def load_state_dict(self, state_dict: dict) -> None:
        """Goes on from a `state_dict()` of this class, of torch.optim.Muon or of Keller Jordan's
        Muon (`foreign_state`). Raises ValueError where it does not fit these groups."""
        super().load_state_dict(translated(state_dict, self.param_groups))

    @property
    def bundles(self) -> list[Bundle]:
        """What has been orthogonalized together in the steps so far; for measurements."""
        return [bundle for _, bundles in self._bundles.values() for bundle in bundles]

    @property
    def workspace_bytes(self) -> int:
        """The reused memory beside the state, which no checkpoint holds."""
        storages = [t.untyped_storage() for bundle in self.bundles for t in bundle.buffers()]
        return sum({s.data_ptr(): s.nbytes() for s in storages}.values())

    def complete_group(self, group: dict) -> None:
        super().complete_group(group)
        if group["update_spectrum"] is not None and not group["orthogonalize"]:
            raise ValueError("update_spectrum: needs orthogonalize: true, whose place it takes")
        for p in group["params"]:
            blocks(torch.empty((1, *p.shape), device="meta"), group["split"])
        if group["params"]:
            first = group["params"][0]
            group["dtype"] = resolve_dtype(group["dtype"], first.device, first.dtype)

    def attach(self, model: nn.Module) -> None:
        """Takes the names and initial weights from which random spectra are drawn."""
        for group in self.matrix_groups:
            if group["update_spectrum"] == RANDOM:
                group["spectrum_stream"] = new_stream(model.named_parameters(), group["params"])

    def divide(self, team: Team) -> None:
        """Divides the update among the processes of a team, which all have the same weights and
        gradients: each orthogonalizes a part of the matrices and sends the others their weights.

        Every process moves the whole momentum, so each can save the whole state. A variant that
        keeps more than the momentum is not divided: every process makes the whole update."""
        if team.size > 1 and type(self) is Muon:
            self.team = team

    def update_group(self, place: int, group: dict) -> None:
        if group["update_spectrum"] == RANDOM:
            group["spectrum_stream"] = advanced(group)
        indices = [i for i, p in enumerate(group["params"]) if p.grad is not None]
        if self.team is None:
            for bundle in self._group_bundles(place, indices, group):
                self._update_bundle(bundle, group)
        else:
            self._update_divided(place, indices, group, self.team)

    def _update_divided(self, place: int, indices: list[int], group: dict, team: Team) -> None:
        """This process's part of the update; the other processes' weights are received."""
        parts = shares([cost(group["params"][i]) for i in indices], team.size)
        params = [[group["params"][indices[i]] for i in part] for part in parts]
        for owner, part in enumerate(parts):
            if owner == team.rank:
                for bundle in self._group_bundles(place, [indices[i] for i in part], group):
                    self._update_bundle(bundle, group)
            elif part:
                grads = [p.grad for p in params[owner]]
                buffers = [self.buffer(p, "momentum_buffer", p.shape) for p in params[owner]]
                torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        for owner, own in enumerate(params):
            team.send(own, owner)

    def _group_bundles(self, place: int, indices: list[int], group: dict) -> list[Bundle]:
        """The bundles of the parameters at `indices`; made once for each such set."""
        params = [stand_in(p) for p in group["params"]]
        indices = [i for i in indices if params[i].numel()]
        if not indices:
            return []
        settings = Settings(
            group["ns_coefficients"],
            group["ns_steps"],
            group["dtype"],
            group["split"],
            group["orthogonalize"],
            self.bundle_scale(group),
            group["update_spectrum"],
        )
        key = (place, *indices, params[indices[0]].device)
        known = self._bundles.get(key)
        if known is None or known[0] != settings:
            bundles = make_bundles(params, indices, settings, self._scratch)
            known = self._bundles[key] = (settings, bundles)
        return known[1]

    def _update_bundle(self, bundle: Bundle, group: dict) -> None:
        whole = [group["params"][i] for i, _ in bundle.members]
        for p in whole:
            self.check_gradient(p.grad)
        states = [self.buffer(p, "momentum_buffer", p.shape) for p in whole]
        params = bundle.pick([local(p) for p in whole])
        grads = bundle.pick([local(p.grad) for p in whole])
        buffers = bundle.pick([local(state) for state in states])
        if not all(map(has_whole_matrices, whole)):
            return self._update_sharded(whole, params, grads, buffers, bundle, group)
        if self.compile is not False and type(self) is Muon and bundle.plan is not None:
            return self._update_compiled(params, grads, buffers, bundle, group)
        move_momentum(grads, buffers, group["momentum"], group["nesterov"], bundle.sources)
        self._run(bundle, whole, group)
        self._apply(params, bundle.results, bundle.factor, group)

    def _run(self, bundle: Bundle, whole: list[Tensor], group: dict) -> None:
        """From the momentum in the bundle's sources to the updates in its results."""
        self.prepare(bundle, group)
        if group["update_spectrum"] == RANDOM:
            bundle.stream = group["spectrum_stream"]
        bundle.run()
        self.transform(whole, bundle, group)

    def _update_sharded(self, whole, params, grads, buffers, bundle: Bundle, group: dict) -> None:
        """The same for matrices of which each process has a part: `params`, `grads`, `buffers`."""
        moved = [torch.empty_like(buffer) for buffer in buffers]
        move_momentum(grads, buffers, group["momentum"], group["nesterov"], moved)
        for p, part, source in zip(whole, moved, bundle.sources, strict=True):
            source.copy_(gathered(part, p))
        self._run(bundle, whole, group)
        pairs = zip(bundle.results, whole, strict=True)
        updates = [own_part(result, p).clone() for result, p in pairs]
        self._apply(params, updates, bundle.factor, group)

    def _update_compiled(self, params, grads, buffers, bundle: Bundle, group: dict) -> None:
        """The same as one compiled function; new values of lr and decay compile nothing again."""
        one = dict(dtype=params[0].dtype, device=params[0].device)
        lr = torch.full((), float(group["lr"]), **one)
        rate = torch.full((), decay_rate(group), **one)
        update = compiled_update(tuple(sorted(self.compile.items())))
        settings = group["momentum"], group["nesterov"], without_looking(bundle.plan)
        factor = None if bundle.fixed_rms else bundle.factor
        update(params, grads, buffers, lr, rate, factor, *settings)

    def buffer(self, p: Tensor, name: str, shape: tuple) -> Tensor:
        """A parameter's state tensor, zeros at first, of the parameter's dtype and device."""
        state = self.state[p]
        if name not in state:
            state[name] = like(p, shape)
        return state[name]

    def bundle_scale(self, group: dict) -> str:
        """The scale of the bundles' results; a variant that rescales them itself says "none"."""
        return group["scale"]

    def prepare(self, bundle: Bundle, group: dict) -> None:
        """What a variant does to `bundle.sources`, in place, before they are orthogonalized."""

    def transform(self, whole: list[Tensor], bundle: Bundle, group: dict) -> None:
        """What a variant does to `bundle.results`, in place, before lr times them is applied.

        `whole` are the members' parameters; `bundle.pick` takes the members' parts of their state.
        """

    def _apply(self, params: list[Tensor], updates: list[Tensor], factor: float, group: dict):
        """W ← W − lr·(s·O + rate·W), which overwrites the updates O; `factor` is s."""
        rate = decay_rate(group)
        if rate:
            torch._foreach_add_(updates, params, alpha=rate / factor)
        torch._foreach_add_(params, updates, alpha=-float(group["lr"]) * factor)


def move_momentum(
    grads: list[Tensor], buffers: list[Tensor], momentum: float, nesterov: bool, out: list[Tensor]
) -> None:
    """Moves each buffer to μ·buffer + (1−μ)·grad; `out` gets what is to be orthogonalized.

    That is (1−μ)·grad + μ·buffer with Nesterov, else the buffer. `grads` are only read.
    """
    torch._foreach_lerp_(buffers, grads, 1 - momentum)
    if not nesterov:
        torch._foreach_copy_(out, buffers)
    elif grads[0].is_cpu:
        for grad, buffer, U in zip(grads, buffers, out, strict=True):
            torch.lerp(grad, buffer, momentum, out=U)
    else:
        torch._foreach_copy_(out, grads)
        torch._foreach_lerp_(out, buffers, momentum)


def decay_rate(group: dict) -> float:
    """What multiplies lr·W in the update: weight_decay, over the peak rate if it is independent."""
    if not group.get("independent_decay"):
        return group["weight_decay"]
    peak = float(group["peak_lr"])
    return group["weight_decay"] / peak if peak else 0.0
