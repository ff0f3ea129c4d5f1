"""Mixture of experts: each token goes to the top k of E feed-forward experts.

Shapes: N tokens, E experts, k choices, S = N · k slots, R ≥ S rows (slots and padding), d width,
f hidden.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from muonlab.models.feedforward import ACTIVATIONS, GATED
from muonlab.models.forward_pass import ForwardPass
from muonlab.models.grouped import Slots, grouped_linear, row_multiple


class MixtureOfExperts(nn.Module):
    """A router (E, d) and stacks of expert matrices: up, gate (E, f, d) and down (E, d, f).

    A token's output is the sum over its k experts, weighted by the softmax of its k largest router
    logits (Shazeer et al. 2017, arXiv 1701.06538). With k = 1 that weight would always be 1, and
    the router would learn nothing from the loss; the weight is then the probability of the chosen
    expert among all experts (Switch, arXiv 2101.03961).

    noise     standard deviation of the normal noise on the router logits in training mode
    balance   weight of the balance loss; `z` is that of the z loss (`ForwardPass.losses` gets the
              weighted sum)
    capacity  None, or a factor: an expert serves at most ⌈capacity · S / E⌉ slots, first choices
              before second ones and in the order of tokens. A slot beyond that adds nothing to its
              token; it is computed, but weighted by zero, so that shapes do not depend on the data.
    """

    def __init__(
        self,
        layer: int,
        width: int,
        hidden: int,
        experts: int,
        top_k: int,
        activation: str,
        noise: float,
        balance: float,
        z: float,
        capacity: float | None,
    ):
        super().__init__()
        self.layer, self.experts, self.top_k = layer, experts, top_k
        self.activation = ACTIVATIONS[activation]
        self.noise, self.balance, self.z, self.capacity = noise, balance, z, capacity
        self.counts: Tensor | None = None  # (E,) slots of each expert in the last forward pass
        self.router = nn.Parameter(torch.empty(experts, width))
        self.up = nn.Parameter(torch.empty(experts, hidden, width))
        gate = torch.empty(experts, hidden, width) if activation in GATED else None
        self.gate = None if gate is None else nn.Parameter(gate)
        self.down = nn.Parameter(torch.empty(experts, width, hidden))

    def forward(self, x: Tensor, run: ForwardPass) -> Tensor:
        """Maps (b, t, d) to the same shape."""
        tokens = x.flatten(0, 1)
        logits = self.router_logits(tokens, run)
        best, chosen = logits.topk(self.top_k)
        dtype = dtype_of_products(x)
        slots = Slots(chosen, self.experts, row_multiple(x.device.type, dtype))
        self.counts = slots.counts
        self._note(logits, slots, run)
        share = best.softmax(-1) if self.top_k > 1 else (best - logits.logsumexp(-1, True)).exp()
        share = share.T.reshape(-1).index_select(0, slots.order)  # (S,)
        limit = self.limit(slots.order.numel())
        if limit is not None:
            share = share * (slots.rank() < limit)
        y = self._experts(slots.spread(tokens.to(dtype)), slots.ends)
        return slots.collect(y * slots.factors(share).unsqueeze(1)).view_as(x)

    def router_logits(self, tokens: Tensor, run: ForwardPass) -> Tensor:
        """(N, E) logits. They are float32 under autocast, too, because rounding them would change
        the choice of experts."""
        with torch.autocast(tokens.device.type, enabled=False):
            logits = F.linear(tokens.to(self.router.dtype), self.router)
        if self.noise and self.training:
            noise = torch.empty_like(logits).normal_(generator=run.randomness())
            logits = logits + self.noise * noise
        return logits

    def limit(self, slots: int) -> int | None:
        """The largest number of slots that one expert serves; None if there is no limit."""
        if self.capacity is None:
            return None
        return math.ceil(self.capacity * slots / self.experts)

    def _experts(self, x: Tensor, ends: Tensor) -> Tensor:
        """Applies the experts to rows (R, d) that are ordered by expert."""
        hidden = grouped_linear(x, self.up.to(x.dtype), ends)
        if self.gate is None:
            hidden = self.activation(hidden)
        else:
            hidden = self.activation(grouped_linear(x, self.gate.to(x.dtype), ends)) * hidden
        return grouped_linear(hidden, self.down.to(x.dtype), ends)

    def _note(self, logits: Tensor, slots: Slots, run: ForwardPass) -> None:
        """Adds the weighted auxiliary loss to `run`, and records the watched values."""
        if run.seen is None and not (self.balance or self.z):
            return
        balance = balance_loss(logits, slots.counts)
        loss = self.balance * balance
        if self.z or run.seen is not None:
            z = z_loss(logits)
            loss = loss + self.z * z if self.z else loss
        run.losses.append(loss)
        if run.seen is not None:
            run.note("balance_loss", self.layer, balance)
            run.note("z_loss", self.layer, z)
            self._note_load(logits.detach(), slots, run)

    def _note_load(self, logits: Tensor, slots: Slots, run: ForwardPass) -> None:
        total = slots.order.numel()
        load = slots.counts / total
        run.note("expert_load", self.layer, load)
        run.note("expert_load_entropy", self.layer, relative_entropy(load))
        limit = self.limit(total)
        over = slots.counts * 0 if limit is None else (slots.counts - limit).clamp_min(0)
        run.note("dropped_fraction", self.layer, over.sum() / total)
        run.note("router_entropy", self.layer, relative_entropy(logits.softmax(-1)).mean())


def dtype_of_products(x: Tensor) -> torch.dtype:
    """The dtype in which matrix products of `x` are made: that of autocast where it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def balance_loss(logits: Tensor, counts: Tensor) -> Tensor:
    """E · Σ_e f_e P_e: Fedus et al., Switch Transformers (arXiv 2101.03961), eq. 4-6.

    f_e is the fraction of the S routed slots that went to expert e (`counts` (E,) over their sum,
    before capacity), P_e the mean of the tokens' probabilities softmax(`logits` (N, E)). With k
    choices f is taken over slots, so even routing gives 1 for every k. Gradients flow through P.
    """
    fraction = counts.to(logits.dtype) / counts.sum()
    return counts.numel() * torch.dot(fraction, logits.softmax(-1).mean(0))


def z_loss(logits: Tensor) -> Tensor:
    """Mean over tokens of (log Σ_e exp logits)²: Zoph et al., ST-MoE (arXiv 2202.08906), eq. 5."""
    return logits.logsumexp(-1).square().mean()


def relative_entropy(p: Tensor) -> Tensor:
    """−Σ p ln p / ln E over the last axis, of length E.

    It is 1 if all p are equal and 0 if one of them is 1. For E = 1 it is 1.
    """
    if p.size(-1) == 1:
        return torch.ones_like(p[..., 0])
    return torch.special.entr(p).sum(-1) / math.log(p.size(-1))
