"""Floating-point operations of a run from its settings alone, so that a cost can be told before
anything is built. `models.size` counts the same from a model's tensors."""

from collections.abc import Mapping
from typing import Any

from muonlab.plan.datasets import IMAGES, SOURCES
from muonlab.plan.memory import VOCAB

FORWARD = 3  # a forward and a backward pass cost three times a forward pass
BYTES_PER_TOKEN = 3.4  # of a byte-level BPE of some thousand entries on English text or code


def flops_per_update(config: Mapping[str, Any], facts: Mapping[str, Any]) -> int:
    """Operations of one update: forward and backward passes of all its batches, and the iteration
    of an optimizer that orthogonalizes.

    `facts` is the data's digest.json or what `assumed_facts` gives in its place.
    """
    training = config["training"]
    examples = training["batch_size"] * training["accumulation"]
    return examples * flops_per_example(config, facts) + iteration_flops(config)


def flops_per_example(config: Mapping[str, Any], facts: Mapping[str, Any]) -> int:
    """Operations of the forward and the backward pass of one image or one sequence of tokens."""
    model = config["model"]
    if model["name"] == "transformer":
        return model["context"] * flops_per_token(model, facts["vocab"])
    sizes = [facts["inputs"], *[model["width"]] * model["depth"], facts["classes"]]
    return 6 * sum(a * b for a, b in zip(sizes, sizes[1:], strict=False))


def flops_per_token(model: Mapping[str, Any], vocab: int) -> int:
    """`models.size.flops_per_token` of a transformer with these settings: 6 operations for each
    entry of a matrix that the token is multiplied by, and attention's two products."""
    width, matrices = model["width"], matrices_of(model)
    products = sum(
        rows * columns * (min(count, model["top_k"]) if name.startswith("expert") else count)
        for name, rows, columns, count in matrices
    )
    attention = 6 * model["layers"] * width * (model["context"] + 1)
    return 6 * (model["layers"] * products + vocab * width) + attention


def matrices_of(model: Mapping[str, Any]) -> list[tuple[str, int, int, int]]:
    """(component, rows, columns, how many) of the matrices of one layer of a transformer."""
    width, hidden, experts = model["width"], model["feedforward"], model["experts"]
    shared = width * (model["kv_heads"] or model["heads"]) // model["heads"]
    found = [("query", width, width, 1), ("key", shared, width, 1), ("value", shared, width, 1)]
    found.append(("attention_output", width, width, 1))
    parts = ["up", "gate", "down"] if model["activation"] == "swiglu" else ["up", "down"]
    for part in parts:
        name = f"expert_{part}" if experts else part
        found.append((name, hidden, width, max(experts, 1)))
    return [*found, *([("router", experts, width, 1)] if experts else [])]


def iteration_flops(config: Mapping[str, Any]) -> int:
    """Operations of one orthogonalization of all matrices that the optimizer trains: for each step
    4 m² n + 2 m³ for an m × n matrix, m ≤ n (the plain iteration); 0 for other optimizers."""
    optimizer, model = config["optimizer"], config["model"]
    steps = optimizer.get("ns_steps")
    if not steps or not optimizer.get("orthogonalize", True) or model["name"] != "transformer":
        return 0
    trained = set(optimizer["components"])
    total = 0
    for name, rows, columns, count in matrices_of(model):
        if name in trained:
            m, n = sorted((rows, columns))
            total += count * (4 * m * m * n + 2 * m**3)
    return steps * model["layers"] * total


def updates_of(config: Mapping[str, Any], facts: Mapping[str, Any]) -> int:
    """Number of updates of the run."""
    training = config["training"]
    if training["steps"]:
        return training["steps"]
    examples = sum(examples_of(config, facts, split) for split in training["train_on"])
    batches = -(-examples // training["batch_size"])
    return training["epochs"] * -(-batches // training["accumulation"])


def evaluated_examples(config: Mapping[str, Any], facts: Mapping[str, Any]) -> int:
    """Number of examples that the run's evaluations read, along it and at its end."""
    training, split = config["training"], config["training"]["evaluate_on"]
    whole = examples_of(config, facts, split)
    part = min(training["evaluation_examples"] or whole, whole)
    times = updates_of(config, facts) // training["eval_every"] + 1
    report = examples_of(config, facts, "test") if config["phase"] == "reporting" else 0
    return times * part + (whole if part < whole else 0) + report


def examples_of(config: Mapping[str, Any], facts: Mapping[str, Any], split: str) -> int:
    """Number of images, or of sequences of the model's length, in a split."""
    own = facts["splits"][split]
    if "examples" in own:
        return own["examples"]
    return max(1, own["tokens"] // config["model"]["context"])


def assumed_facts(section: Mapping[str, Any], kind: str) -> dict:
    """What is taken for the digest of a data set that is not prepared yet: the size of its splits
    and vocabulary, from its section of the config."""
    if kind == IMAGES:
        source = SOURCES[section["source"]]
        own = section.get("test")  # None: the test split is official
        splits = {"validation": section["validation"], "test": own or source.test_images}
        splits["train"] = source.training_images - section["validation"] - (own or 0)
        sizes = {name: {"examples": count} for name, count in splits.items()}
        return {"inputs": source.pixels, "classes": source.classes, "splits": sizes}
    tokens = section.get("max_tokens") or (section.get("max_bytes") or 1e7) / BYTES_PER_TOKEN
    shares = {name: section[name] for name in ("validation", "test")}
    shares["train"] = 1 - sum(shares.values())
    vocab = VOCAB if section["tokenizer"] else section["vocab_size"]
    return {
        "vocab": vocab,
        "splits": {name: {"tokens": int(tokens * share)} for name, share in shares.items()},
    }
