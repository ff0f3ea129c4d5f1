"""Log-likelihoods of endings given contexts, in batches of sequences of similar length."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# Logits that one batch holds, which bounds memory; on a CPU they fit into its caches.
LOGITS, CPU_LOGITS = 2**26, 2**22

Encode = Callable[[str], list[int]]


class Pair(NamedTuple):
    """The tokens of a context and of the ending after it, of which the last ones are scored."""

    context: list[int]
    ending: list[int]


class Scored(NamedTuple):
    """The sum of the log-probabilities of an ending's tokens in nats, the number of these tokens,
    and whether tokens were left out since the model's context is shorter."""

    value: float
    tokens: int
    cut: bool


def encode_pair(context: str, ending: str, encode: Encode, end_of_text: int) -> Pair:
    """Context and ending as tokens: those of the joined text that follow the context's own.

    The harness does the same: spaces at the end of the context belong to the ending, and a token
    that joins both is the ending's. Without a context the model starts from the end of text.
    """
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, ending = context[:-spaces], context[-spaces:] + ending
    first, whole = encode(context), encode(context + ending)
    return Pair(first or [end_of_text], whole[len(first) :])


def window(pair: Pair, length: int) -> tuple[list[int], int]:
    """The tokens that the model reads and is asked for: the last `length` + 1 of both, and how many
    of them, from the end, are scored."""
    tokens = (pair.context + pair.ending)[-(length + 1) :]
    return tokens, min(len(pair.ending), len(tokens) - 1)


@torch.no_grad()
def log_likelihoods(
    model: nn.Module, pairs: Sequence[Pair], length: int, device: str = "cpu"
) -> list[Scored]:
    """The score of every pair, in their order. `model` maps tokens (b, t) to logits (b, t, V), in
    evaluation mode; `length` is the longest sequence that it reads.

    A window that occurs twice is read once. Sequences are padded on the right, where causal
    attention does not see the padding. A model whose experts have a capacity reads one sequence at
    a time, because what an expert drops depends on the other tokens of a batch.
    """
    windows = [window(pair, length) for pair in pairs]
    distinct = sorted({(tuple(tokens), scored) for tokens, scored in windows}, key=_by_length)
    alone = any(getattr(module, "capacity", None) for module in model.modules())
    found: dict[tuple, float] = {}
    for group in _groups(distinct, 1 if alone else _most(model, device)):
        values = _scores(model, group, device)
        found |= dict(zip(group, values, strict=True))
    return [
        Scored(found[tuple(tokens), scored], scored, len(tokens) < sum(map(len, pair)))
        for pair, (tokens, scored) in zip(pairs, windows, strict=True)
    ]


def _by_length(one: tuple) -> tuple:
    return len(one[0]), one


def _most(model: nn.Module, device: str) -> int:
    """How many tokens a batch may have."""
    return max(1, (CPU_LOGITS if device == "cpu" else LOGITS) // model.vocab)


def _groups(windows: Sequence[tuple], most: int) -> Iterator[list[tuple]]:
    """The windows, which are sorted by length, in groups of at most `most` tokens with padding."""
    group: list[tuple] = []
    for one in windows:
        if group and (len(group) + 1) * len(one[0]) > most:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _scores(model: nn.Module, group: Sequence[tuple], device: str) -> list[float]:
    longest = max(len(tokens) for tokens, _ in group)
    padded = np.zeros((len(group), longest), dtype=np.int64)
    scored = np.zeros((len(group), longest - 1), dtype=bool)
    for row, (tokens, count) in enumerate(group):
        padded[row, : len(tokens)] = tokens
        scored[row, len(tokens) - 1 - count : len(tokens) - 1] = True
    whole, asked = torch.from_numpy(padded).to(device), torch.from_numpy(scored).to(device)
    logits: Tensor = model(whole[:, :-1])[asked]  # (scored tokens, V)
    targets = whole[:, 1:][asked]
    each = logits.gather(1, targets[:, None])[:, 0].double() - logits.double().logsumexp(1)
    rows = torch.arange(len(group), device=device)[:, None].expand_as(asked)[asked]
    sums = torch.zeros(len(group), dtype=torch.float64, device=device)
    return sums.index_add(0, rows, each).tolist()
