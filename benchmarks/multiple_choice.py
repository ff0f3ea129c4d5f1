"""How long a model of about ten million parameters takes to answer a file of HellaSwag.

    python benchmarks/multiple_choice.py validation.jsonl --threads 2

The file has one item per line, as HellaSwag is published. The model's weights are random: the time
does not depend on what it has learnt. A tokenizer of the model's vocabulary is trained on the
file's own endings, which makes tokens as long as those of a tokenizer of its domain. Loading,
encoding and reading all four endings of each item are counted, as in the workflow's measurement.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from muonlab.data.tokenizer import train_tokenizer  # noqa: E402
from muonlab.models.transformer import Transformer  # noqa: E402
from muonlab.probes.choice_items import read_items  # noqa: E402
from muonlab.probes.likelihood import encode_pair, log_likelihoods  # noqa: E402

MODEL = {"vocab": 8192, "context": 256, "width": 320, "layers": 6, "heads": 5, "feedforward": 1280}
END_OF_TEXT = 0  # the first entry of the tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--experts", type=int, default=0, help="0: a dense model")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encode = encoder(options.file)
    model = Transformer(**MODEL, experts=options.experts)
    model.initialise(0, "benchmark")
    model.eval()
    started = time.perf_counter()
    items = read_items(
        {"format": "hellaswag", "files": [str(options.file)], "items": None}, "hellaswag"
    )
    pairs = [
        encode_pair(item.context, f" {ending}", encode, END_OF_TEXT)
        for item in items
        for ending in item.endings
    ]
    log_likelihoods(model, pairs, MODEL["context"])
    seconds = time.perf_counter() - started
    parameters = sum(p.numel() for p in model.parameters())
    tokens = sum(len(pair.context) + len(pair.ending) for pair in pairs)
    print(
        f"{len(items):,} items, {tokens:,} tokens, {parameters:,} parameters, "
        f"{options.threads} threads: {seconds:.1f} s"
    )


def encoder(file: Path):
    """The encoding of a tokenizer that is trained on the endings."""
    endings = [
        ending
        for line in file.read_text(encoding="utf-8").splitlines()
        for ending in json.loads(line)["endings"]
    ]
    tokenizer = train_tokenizer(endings, MODEL["vocab"])
    return lambda text: tokenizer.encode(text).ids


if __name__ == "__main__":
    main()
