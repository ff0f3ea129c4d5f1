"""From a run's config to its data, model, batches and optimizers."""

import json
from pathlib import Path

import numpy as np
import torch

from muonlab.data.batches import BatchOrder
from muonlab.data.vision import Labelled, load_split
from muonlab.models.mlp import MLP
from muonlab.optim.factory import OptimizerSet, build_optimizers
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
    """The splits that the run reads: `train`, its evaluation split, and `report` if it has one."""
    training = config["training"]
    parts = [load_split(folder / f"{split}.safetensors") for split in training["train_on"]]
    joined = Labelled(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    wanted = {"train": joined}
    wanted[training["evaluate_on"]] = load_split(folder / f"{training['evaluate_on']}.safetensors")
    if config["report_on"] is not None:
        wanted["report"] = load_split(folder / f"{config['report_on']}.safetensors")
    return {
        name: Images(
            torch.from_numpy(part.images),
            torch.from_numpy(part.labels),
            facts["pixel_max"],
            device,
        )
        for name, part in wanted.items()
    }


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


def build_run_optimizers(model: MLP, config: dict) -> OptimizerSet:
    return build_optimizers(model, config["optimizer"])
