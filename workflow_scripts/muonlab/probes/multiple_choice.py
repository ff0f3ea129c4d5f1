"""Benchmarks of multiple choice on finished models: the log-likelihood of every ending."""

from collections.abc import Iterator

from muonlab.declare import measurement
from muonlab.probes.choice_items import read_items
from muonlab.probes.finished import FinishedRun
from muonlab.probes.likelihood import encode_pair, log_likelihoods

COLUMNS = {
    "task": str,
    "item": int,
    "ending": int,
    "gold": int,
    "log_likelihood": float,
    "bytes": int,
    "tokens": int,
    "cut": bool,
}


@measurement(of="arm", memory_mb=4000)
def multiple_choice(run: FinishedRun, settings: dict, device: str) -> Iterator[dict]:
    """One row for each ending of each item, at the end of the run.

    `log_likelihood` is the sum over the ending's tokens given the context, in nats (accuracy is of
    the largest one); `bytes` is the length of the ending's UTF-8, by which the normalised accuracy
    divides it; `tokens` of them are scored, and `cut` says that the window was longer than the
    model's context and lost its beginning. Texts are joined by one space, as in the
    lm-evaluation-harness. A diverged run has log-likelihoods that are not numbers.
    """
    model = run.model(run.weights(run.last)).to(device)
    encoder = run.encoder()
    length = run.config["model"]["context"]
    for task, asked in settings["tasks"].items():
        items = read_items(asked, task)
        places = [(i, j) for i, item in enumerate(items) for j in range(len(item.endings))]
        pairs = [
            encode_pair(items[i].context, f" {items[i].endings[j]}", encoder, run.end_of_text)
            for i, j in places
        ]
        found = log_likelihoods(model, pairs, length, device)
        for (i, j), scored in zip(places, found, strict=True):
            yield {
                "task": task,
                "item": i,
                "ending": j,
                "gold": items[i].gold,
                "log_likelihood": scored.value,
                "bytes": len(items[i].endings[j].encode()),
                "tokens": scored.tokens,
                "cut": scored.cut,
            }
