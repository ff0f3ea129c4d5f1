"""Makes a run's data, model and batches from its config. Measurements of finished runs use it too,
so it does not depend on optimizers."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from muonlab.data.batches import BatchOrder


def streams(config: dict) -> tuple[str | int, ...]:
    """The start of the names of the run's random streams.

    Paired runs with the same seed share them. Unpaired runs, as in the published sources, have
    their own streams for each optimizer setting.
    """
    if config["training"]["paired"]:
        return (config["seed"],)
    return (config["seed"], json.dumps(config["optimizer"], sort_keys=True))


def build_splits(config: dict, folder: Path, facts: dict, device: str) -> dict[str, Any]:
    """The splits that the run reads: `train`, its evaluation split, and, for reporting runs alone,
    the test split as `report`."""
    training = config["training"]
    wanted = {"train": training["train_on"], training["evaluate_on"]: [training["evaluate_on"]]}
    if config["phase"] == "reporting":
        wanted["report"] = ["test"]
    return load_splits(wanted, config, folder, facts, device)


def load_splits(
    wanted: dict[str, list[str]], config: dict, folder: Path, facts: dict, device: str
) -> dict[str, Any]:
    """Each wanted name with its splits' examples, joined: `images.Images` or `language.Text`."""
    # Only the module of the run's kind of data is imported, so that no other code affects the run.
    if facts.get("kind") == "text":
        from muonlab.training.language import text_splits

        return text_splits(wanted, folder, facts, config, device)
    from muonlab.training.images import image_splits

    return image_splits(wanted, folder, facts, device)


def build_model(config: dict, facts: dict) -> nn.Module:
    """The run's model with its initial weights; `facts` is the data set's digest.json."""
    settings = {field: value for field, value in config["model"].items() if field != "name"}
    if config["model"]["name"] == "transformer":
        from muonlab.models.transformer import Transformer

        network = Transformer(vocab=facts["vocab"], **settings)
    else:
        from muonlab.models.mlp import MLP

        network = MLP(inputs=facts["inputs"], classes=facts["classes"], **settings)
    network.initialise(*streams(config), "init")
    return network


def build_batches(config: dict, examples: int) -> BatchOrder:
    return BatchOrder(examples, config["training"]["batch_size"], *streams(config), "data")
