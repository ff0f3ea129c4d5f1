"""Which matrices of a parameter group are orthogonalized together, and in which reused memory.

The rule comes from measurements on CPUs. Parameters whose matrices have a short side of at most 32
share one padded batch of Gram matrices (`padded`). Parameters of one shape with a short side of at
most 256 form stacks. Larger matrices and experts of one shape are updated one at a time, with more
than one thread two at a time, from momentum to weight, which keeps their Gram matrices in the
cache. On a GPU all parameters of one shape form a stack. Tall matrices are multiplied from the
right rather than transposed: the copy would cost 4–8 % of a step.

Nothing in here is state. A bundle depends only on the number of threads, on the shapes of the
parameters that have a gradient and on their group's settings, so a resumed run forms the same
bundles.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from muonlab.optim.iteration import Plan, Square, frobenius, iterate
from muonlab.optim.newton_schulz import exact_polar_factor, shape_plan
from muonlab.optim.padded import PaddedBatch
from muonlab.optim.scale import fix_rms, update_scale
from muonlab.optim.split import blocks
from muonlab.optim.update_spectrum import RANDOM, draw, with_spectrum

PADDED_SIDE = 32
STACKED_SIDE = 256
# The most elements in one stack, on a CPU and elsewhere; this bounds the reused memory.
STACK_ELEMENTS, GPU_STACK_ELEMENTS = 2**22, 2**27
# How many larger matrices are updated together on a CPU, at the most.
LARGE_MATRICES = 2

# A parameter's place in its group, and which of its experts (None: the whole parameter).
Member = tuple[int, int | None]


class Settings(NamedTuple):
    """The settings of a parameter group that decide how its matrices are orthogonalized."""

    coefficients: str | list
    steps: int
    dtype: torch.dtype | None
    split: object
    orthogonalize: bool
    scale: str
    # Singular values that take the place of the iteration's; see `update_spectrum`.
    spectrum: float | str | None = None

    @property
    def fixed_rms(self) -> bool:
        return self.scale == "fixed_rms"

    def plan(self, matrices: Tensor) -> Plan | None:
        """The iteration for matrices (…, m, n); None where there is nothing to iterate."""
        decomposes = self.coefficients == "exact" or self.spectrum is not None
        if not self.orthogonalize or decomposes:
            return None
        return shape_plan(self.coefficients, self.steps, matrices, self.dtype)


class Scratch:
    """Reused tensors by name, shape, dtype and device; each is made when it is first needed."""

    def __init__(self):
        self.kept: dict[tuple, Tensor] = {}

    def __call__(self, name: str, shape: tuple, dtype: torch.dtype, device) -> Tensor:
        key = (name, tuple(shape), dtype, device)
        if key not in self.kept:
            self.kept[key] = torch.empty(shape, dtype=dtype, device=device)
        return self.kept[key]

    def square(self, shape: tuple, dtype: torch.dtype, device) -> Square:
        """The buffers of `iterate` for Gram matrices of this shape (…, m, m)."""
        return Square(*(self(name, shape, dtype, device) for name in Square._fields))


class Bundle:
    """Parameters, or experts of them, that are orthogonalized together.

    Fill `sources`, which have the members' shapes; `run()` then writes the polar factors to
    `results` and overwrites the sources. Each result still has to be multiplied by `factor`.
    """

    members: list[Member]
    sources: list[Tensor]
    results: list[Tensor]
    factor: float
    # Whether the results of `run()` all have the same root mean square.
    fixed_rms: bool
    # The common plan of all its matrices; None unless they are whole members of one shape.
    plan: Plan | None = None
    # Whether `run()` orthogonalizes at all.
    orthogonalizes: bool = True

    def pick(self, tensors: list[Tensor]) -> list[Tensor]:
        """The members' parts of tensors that belong to the members' parameters."""
        if self.members[0][1] is None:
            return tensors
        return [t[expert] for t, (_, expert) in zip(tensors, self.members, strict=True)]

    def buffers(self) -> list[Tensor]:
        """The reused tensors that the bundle works in; some are shared with other bundles."""
        raise NotImplementedError


class Padded(Bundle):
    """Parameters of small matrices of any shapes."""

    factor = 1.0

    def __init__(self, members: list[Member], params: list[Tensor], settings: Settings):
        self.members, self.fixed_rms = members, settings.fixed_rms
        plan = settings.plan(params[0])
        shapes = [p.shape for p in params]
        self.batch = PaddedBatch(shapes, settings.scale, PADDED_SIDE, plan, params[0].device)
        self.sources, self.results, self.run = (
            self.batch.sources,
            self.batch.results,
            self.batch.run,
        )

    def buffers(self) -> list[Tensor]:
        return [X for _, X, *_ in self.batch.stacks] + [self.batch.R]


class Stack(Bundle):
    """Parameters of one shape, each cut into blocks where the group's split says so.

    With random spectra, `stream` has to be set to the group's before each `run()`.
    """

    stream: dict

    def __init__(self, members: list[Member], like: Tensor, settings: Settings, scratch: Scratch):
        self.members, self.settings, self.scratch = members, settings, scratch
        self.fixed_rms, self.orthogonalizes = settings.fixed_rms, settings.orthogonalize
        shape = (len(members), *like.shape)
        source = scratch("source", shape, like.dtype, like.device)
        parts = blocks(source, settings.split)
        plans = [settings.plan(U) for U in parts]
        result = source
        # If the products ran in the sources' own precision, they would overwrite them too early.
        if any(plan is not None and plan.dtype == like.dtype for plan in plans):
            result = scratch("result", shape, like.dtype, like.device)
        self.sources, self.results = list(source.unbind()), list(result.unbind())
        self.blocks = list(zip(parts, blocks(result, settings.split), plans, strict=True))
        self.plan = self.blocks[0][2] if settings.split is None else None
        self.scales = [update_scale(*U.shape[-2:], settings.scale) for U, _, _ in self.blocks]
        self.factor = self.scales[0] if len(set(self.scales)) == 1 else 1.0

    def run(self) -> None:
        """Writes the sources' polar factors to the results, scaled if the blocks' scales differ."""
        for part, (source, result, plan) in enumerate(self.blocks):
            scale = self.scales[part]
            if plan is not None:
                polar(source, result, plan, self.scratch)
            elif self.settings.spectrum is not None:
                result.copy_(self._reshaped(part, source))
            elif self.settings.orthogonalize:
                result.copy_(exact_polar_factor(source))
            if self.fixed_rms:
                fix_rms(result)
            elif scale != self.factor:
                result.mul_(scale)

    def _reshaped(self, part: int, source: Tensor) -> Tensor:
        spectrum, drawn = self.settings.spectrum, None
        if spectrum == RANDOM:
            drawn = draw(self.stream, self.members, part, source)
        return with_spectrum(source, spectrum, drawn)

    def buffers(self) -> list[Tensor]:
        return list(self.scratch.kept.values())


def make_bundles(
    params: list[Tensor], indices: list[int], settings: Settings, scratch: Scratch
) -> list[Bundle]:
    """The bundles of the group's parameters at `indices`, by the rule in the module's docstring."""
    bundles: list[Bundle] = []
    padded: dict[torch.dtype, list[int]] = {}
    stacks: dict[tuple, list[int]] = {}
    large: dict[tuple, list[Member]] = {}
    for i in indices:
        p = params[i]
        if fits_padded(p, settings):
            padded.setdefault(p.dtype, []).append(i)
        elif not p.is_cpu or min(p.shape[-2:]) <= STACKED_SIDE:
            stacks.setdefault((p.shape, p.dtype, p.device), []).append(i)
        else:
            experts = range(len(p)) if p.ndim == 3 else [None]
            large.setdefault((p.shape, p.dtype), []).extend((i, expert) for expert in experts)
    for members in large.values():
        i, expert = members[0]
        like = params[i] if expert is None else params[i][expert]
        most = min(LARGE_MATRICES, torch.get_num_threads())
        size = max(1, min(most, STACK_ELEMENTS // like.numel()))
        for start in range(0, len(members), size):
            bundles.append(Stack(members[start : start + size], like, settings, scratch))
    for places in padded.values():
        bundles.append(Padded([(i, None) for i in places], [params[i] for i in places], settings))
    for places in stacks.values():
        like = params[places[0]]
        most = STACK_ELEMENTS if like.is_cpu else GPU_STACK_ELEMENTS
        size = max(1, most // like.numel())
        for start in range(0, len(places), size):
            members = [(i, None) for i in places[start : start + size]]
            bundles.append(Stack(members, like, settings, scratch))
    return bundles


def fits_padded(p: Tensor, settings: Settings) -> bool:
    """Whether a parameter's matrices are small enough, on a CPU, for the padded batch."""
    if not p.is_cpu or settings.split is not None or min(p.shape[-2:]) > PADDED_SIDE:
        return False
    plan = settings.plan(p)
    return plan is not None and plan.dtype == p.dtype and plan.gram_is_safe


def polar(source: Tensor, result: Tensor, plan: Plan, scratch: Scratch) -> None:
    """Polar factors of matrices (k, m, n); the source is overwritten."""
    if source.size(0) == 1:  # a batch of one is multiplied more slowly than a matrix
        source, result = source[0], result[0]
    source.div_(frobenius(source).mul_(plan.norm_factor))
    m, place = min(source.shape[-2:]), (plan.dtype, source.device)
    direct = source.dtype == plan.dtype and source.is_contiguous()
    X = source if direct else scratch("X", source.shape, *place).copy_(source)
    square = scratch.square((*source.shape[:-2], m, m), *place)
    spare = scratch("Y", source.shape, *place)
    Y = iterate(X, plan, square, spare, result if direct else None)
    if Y is not result:
        result.copy_(Y)
