"""Text that finished models write after fixed prompts, greedily and sampled."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from muonlab.declare import measurement
from muonlab.probes.finished import FinishedRun
from muonlab.streams import torch_generator

COLUMNS = {"prompt": int, "text": str, "kind": str, "written": str, "repeated": float}
GREEDY, SAMPLED = "greedy", "sampled"


class Asked(NamedTuple):
    """The number of a prompt, how it is continued, and its tokens."""

    prompt: int
    kind: str
    tokens: list[int]


@measurement(of="arm")
def samples(run: FinishedRun, settings: dict, device: str) -> Iterator[dict]:
    """For each prompt (`text`), what the model writes after it: greedily, and from the `top_k` most
    likely tokens at a temperature. `repeated` is the share of pairs of neighbouring tokens that
    were written before. Random numbers are the same for all arms and seeds. A diverged run writes
    nothing."""
    weights = run.weights(run.last)
    finite = all(bool(w.isfinite().all()) for w in weights.values())
    model, encode = run.model(weights).to(device), run.encoder()
    length = run.config["model"]["context"]
    asked = [
        Asked(number, kind, encode(prompt) or [run.end_of_text])
        for number, prompt in enumerate(settings["prompts"])
        for kind in (GREEDY, SAMPLED)
        if finite
    ]
    for one, made in zip(asked, written(model, asked, settings, length), strict=True):
        yield {
            "prompt": one.prompt,
            "text": settings["prompts"][one.prompt],
            "kind": one.kind,
            "written": run.decode(made),
            "repeated": repeated_share(made),
        }


@torch.no_grad()
def written(
    model: nn.Module, asked: Sequence[Asked], settings: dict, length: int
) -> list[list[int]]:
    """The `settings["tokens"]` tokens that the model writes after each of `asked`, reading the last
    `length` each time.

    All are read in one batch, padded on the right, where causal attention does not see the padding;
    a model whose experts have a capacity reads one at a time, because what an expert drops depends
    on the other tokens of a batch. A sampled text draws from the stream of its prompt.
    """
    if len(asked) > 1 and any(getattr(module, "capacity", None) for module in model.modules()):
        return [written(model, [one], settings, length)[0] for one in asked]
    streams = [torch_generator(settings["seed"], "samples", one.prompt) for one in asked]
    made = [list(one.tokens) for one in asked]
    for _ in range(settings["tokens"] if asked else 0):
        for own, one, stream, logits in zip(
            made, asked, streams, last_logits(model, made, length), strict=True
        ):
            greedy = one.kind == GREEDY
            taken = (settings["temperature"], settings["top_k"], stream)
            own.append(int(logits.argmax()) if greedy else sampled(logits, *taken))
    return [own[len(one.tokens) :] for own, one in zip(made, asked, strict=True)]


def last_logits(model: nn.Module, texts: Sequence[list[int]], length: int) -> Tensor:
    """The logits (texts, V) for the token after each text, of which the last `length` are read."""
    windows = [own[-length:] for own in texts]
    longest = max(map(len, windows))
    padded = torch.tensor([own + [0] * (longest - len(own)) for own in windows])
    ends = torch.tensor([len(own) - 1 for own in windows])
    device = next(model.parameters()).device
    return model(padded.to(device))[torch.arange(len(windows)), ends].cpu()


def sampled(logits: Tensor, temperature: float, top_k: int, generator: torch.Generator) -> int:
    """A token drawn from softmax(logits / temperature) over the `top_k` largest of logits (V,).

    Fan et al. 2018 (arXiv 1805.04833), section 5.4.
    """
    best, places = logits.double().topk(min(top_k, logits.numel()))
    chosen = torch.multinomial((best / temperature).softmax(0), 1, generator=generator)
    return int(places[chosen])


def repeated_share(tokens: list[int]) -> float:
    """The share of pairs of neighbouring tokens that occurred before in the text; 0 for fewer than
    two pairs."""
    pairs = list(zip(tokens, tokens[1:], strict=False))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0
