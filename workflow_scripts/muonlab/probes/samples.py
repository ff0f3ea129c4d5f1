"""Text that finished models write after fixed prompts, greedily and sampled."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from muonlab.declare import measurement
from muonlab.probes.finished import FinishedRun
from muonlab.streams import torch_generator

COLUMNS = {"prompt": int, "text": str, "kind": str, "written": str, "repeated": float}
GREEDY, SAMPLED = "greedy", "sampled"


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
    for number, prompt in enumerate(settings["prompts"]):
        tokens = encode(prompt) or [run.end_of_text]
        for kind in (GREEDY, SAMPLED) if finite else ():
            made = written(model, tokens, settings, length, kind, number)
            yield {
                "prompt": number,
                "text": prompt,
                "kind": kind,
                "written": run.decode(made),
                "repeated": repeated_share(made),
            }


@torch.no_grad()
def written(
    model: nn.Module, tokens: list[int], settings: dict, length: int, kind: str, stream: int
) -> list[int]:
    """The `settings["tokens"]` tokens that the model writes after `tokens`, reading the last
    `length` each time."""
    device = next(model.parameters()).device
    generator = torch_generator(settings["seed"], "samples", stream)
    made = list(tokens)
    for _ in range(settings["tokens"]):
        logits = model(torch.tensor([made[-length:]], device=device))[0, -1]
        made.append(
            int(logits.argmax())
            if kind == GREEDY
            else sampled(logits.cpu(), settings["temperature"], settings["top_k"], generator)
        )
    return made[len(tokens) :]


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
