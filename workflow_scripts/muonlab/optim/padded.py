"""Many small matrices of different shapes as one batch in Gram space.

For small matrices most of the cost is that of calling kernels, so all of them share each call.
Every matrix, transposed to wide if it is tall, is written into the corner of a zero-padded one, and
all Gram matrices form one batch (k, side, side). Matrices whose long side is also small share one
stack; the others are stacked by their long side. Zero padding does not change the polar factor.
"""

import math

import torch
from torch import Tensor

from muonlab.optim.iteration import SMALLEST_NORM, Plan
from muonlab.optim.scale import RMS, fix_rms, update_scale

# Sides are padded to whole vector registers: the Gram matrix of a 15 × 784 matrix takes 25 µs, of
# a 16 × 784 one 10 µs.
MULTIPLE = 8


class PaddedBatch:
    """Polar factors of small matrices; fill `sources`, `run()`, read `results`.

    `shapes` are those of the parameters, (m, n) or (experts, m, n); the results are scaled.
    The padding of the sources is never written to, so a NaN does not spread to other matrices.
    """

    def __init__(self, shapes: list[torch.Size], scale: str, small: int, plan: Plan, device):
        self.plan, self.fixed_rms = plan, scale == "fixed_rms"
        self.sources: list[Tensor] = [None] * len(shapes)
        self.results: list[Tensor] = [None] * len(shapes)
        side = _padded(max(min(s[-2:]) for s in shapes))
        stacks: dict[int, list[int]] = {}
        for i, shape in enumerate(shapes):
            stacks.setdefault(max(shape[-2:]) if max(shape[-2:]) > small else 0, []).append(i)
        self.stacks, factors = [], []
        for members in stacks.values():
            long = _padded(max(max(shapes[i][-2:]) for i in members))
            counts = [shapes[i][0] if len(shapes[i]) == 3 else 1 for i in members]
            buffers = torch.zeros(3, sum(counts), side, long, dtype=plan.dtype, device=device)
            start = len(factors)
            for i, count in zip(members, counts, strict=True):
                place = slice(len(factors) - start, len(factors) - start + count)
                self.sources[i] = _corner(buffers[0, place], shapes[i])
                self.results[i] = _corner(buffers[1, place], shapes[i])
                factors += [_factor(*shapes[i][-2:], scale)] * count
            self.stacks.append((slice(start, len(factors)), *buffers.unbind()))
        square = dict(dtype=plan.dtype, device=device)
        self.R, self.S, self.Q, self.P, self.P_next = torch.empty(
            5, len(factors), side, side, **square
        ).unbind()
        self.trace_of = self.R.diagonal(dim1=-2, dim2=-1)
        self.factors = torch.tensor(factors, **square)[:, None, None]
        self.eye = torch.eye(side, **square)
        self.diagonals = [[self.eye * a for a, _, _ in s] for s in plan.segments]

    def run(self) -> None:
        """Writes the scaled polar factors of the sources to the results, in one thread.

        Waking a second thread would take longer than it saves: milliseconds on a busy machine.
        """
        threads = torch.get_num_threads()
        if threads == 1:
            return self._run()
        torch.set_num_threads(1)
        try:
            self._run()
        finally:
            torch.set_num_threads(threads)

    def _run(self) -> None:
        last = len(self.plan.segments) - 1
        for k in range(last + 1):
            for place, X, result, spare in self.stacks:
                start = X if k == 0 else (result, spare)[(last - k + 1) % 2]
                torch.bmm(start, start.mT, out=self.R[place])
            if k == 0:
                norm = self._normalise()
            P = self._segment(k)
            if k == 0:
                P.mul_(norm)
            if k == last and not self.fixed_rms:
                P.mul_(self.factors)
            for place, X, result, spare in self.stacks:
                start = X if k == 0 else (result, spare)[(last - k + 1) % 2]
                torch.bmm(P[place], start, out=(result, spare)[(last - k) % 2])
        if self.fixed_rms:
            for place, _, result, _ in self.stacks:
                fix_rms(result, self.factors[place])

    def _normalise(self) -> Tensor:
        """Divides each R by its trace, the squared norm of its matrix; returns 1 / norm."""
        trace = self.trace_of.sum(-1).clamp_min_(SMALLEST_NORM**2).view(-1, 1, 1)
        if self.plan.norm_factor != 1:
            trace.mul_(self.plan.norm_factor**2)
        self.R.div_(trace)
        return trace.rsqrt_()

    def _segment(self, k: int) -> Tensor:
        """The product P of the segment's Q = aI + bR + cR², R ← QRQ after each."""
        R, P, spare = self.R, None, self.P_next
        steps = self.plan.segments[k]
        for j, ((_, b, c), diagonal) in enumerate(zip(steps, self.diagonals[k], strict=True)):
            torch.bmm(R, R, out=self.S)
            Q = self.P if P is None else self.Q
            torch.add(diagonal, R, alpha=b, out=Q).add_(self.S, alpha=c)
            if P is None:
                P = Q
            else:
                P, spare = torch.bmm(Q, P, out=spare), P
            if j < len(steps) - 1:
                torch.bmm(Q, R, out=self.S)
                torch.bmm(Q, self.S, out=R)
        return P


def _factor(m: int, n: int, scale: str) -> float:
    """The factor that multiplies the polar factor, or, for fixed_rms, the norm that it gets."""
    return RMS * math.sqrt(m * n) if scale == "fixed_rms" else update_scale(m, n, scale)


def _padded(size: int) -> int:
    return -(-size // MULTIPLE) * MULTIPLE


def _corner(buffer: Tensor, shape: torch.Size) -> Tensor:
    """The view of `buffer` (count, side, long) that holds a parameter of this shape."""
    m, n = shape[-2:]
    view = buffer[:, :n, :m].mT if m > n else buffer[:, :m, :n]
    return view if len(shape) == 3 else view[0]
