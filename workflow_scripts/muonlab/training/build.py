"""From a run's config to its data, model and batches; what measures a finished run uses it too, and
knows nothing of optimizers."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from muonlab.data.batches import BatchOrder
from muonlab.data.vision import load_split
from muonlab.models.mlp import MLP
from muonlab.training.evaluate import Images


def streams(config: dict) -> tuple[str | int, ...]:
    """The start of the names of the run's random streams.

    Paired runs share them by seed; unpaired runs, as the published sources had them, have streams
    of their own for each optimizer setting.
    """
    if config["training"]["paired"]:
        return (config["seed"],)
    return (config["seed"], json.dumps(config["optimizer"], sort_keys=True))


def build_splits(config: dict, folder: Path, facts: dict, device: str) -> dict[str, Images]:
    """The splits that the run reads: `train`, its evaluation split, and, for reporting runs alone,
    the test split as `report`."""
    training = config["training"]
    wanted = {"train": training["train_on"], training["evaluate_on"]: [training["evaluate_on"]]}
    if config["phase"] == "reporting":
        wanted["report"] = ["test"]
    return {
        name: load_images([folder / f"{split}.safetensors" for split in splits], facts, device)
        for name, splits in wanted.items()
    }


def load_images(files: Sequence[Path], facts: dict, device: str) -> Images:
    """The images of one or more splits of a prepared data set, joined."""
    parts = [load_split(file) for file in files]
    images, labels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Images(torch.from_numpy(images), torch.from_numpy(labels), facts["pixel_max"], device)


def build_model(config: dict, facts: dict) -> MLP:
    """The run's model with its initial weights; `facts` is the data set's digest.json."""
    model = config["model"]
    network = MLP(
        inputs=facts["inputs"],
        classes=facts["classes"],
        width=model["width"],
        depth=model["depth"],
        bias=model["bias"],
        activation=model["activation"],
    )
    network.initialise(*streams(config), "init")
    return network


def build_batches(config: dict, examples: int) -> BatchOrder:
    return BatchOrder(examples, config["training"]["batch_size"], *streams(config), "data")
