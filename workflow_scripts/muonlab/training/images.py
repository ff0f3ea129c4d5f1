"""Images as a run sees them: batches, their loss, and evaluation over a whole split."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from muonlab.data.batches import evenly
from muonlab.data.labelled import load_split
from muonlab.training.team import Team

CHUNK = 4096  # images evaluated at a time, which bounds memory


class Images:
    """A split on a device: pixels as bytes (n, pixels), scaled to [0, 1] when they are used."""

    unit = "images"
    tokens_per_example = 1

    def __init__(self, images: Tensor, labels: Tensor, pixel_max: int, device: str):
        self.images, self.labels = images.to(device), labels.to(device, torch.int64)
        self.pixel_max = pixel_max

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (batch, pixels) in [0, 1] and labels (batch,)."""
        indices = torch.as_tensor(indices, device=self.labels.device)
        pixels = self.images.index_select(0, indices).to(torch.float32).div_(self.pixel_max)
        return pixels, self.labels.index_select(0, indices)

    def loss(self, model: nn.Module, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """`objective` on these images."""
        return self.objective(model, *self.batch(indices))

    @staticmethod
    def objective(model: nn.Module, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss that is minimised and the one that is recorded: both the mean cross-entropy."""
        loss = cross_entropy(model(pixels), labels)
        return loss, loss

    def loss_in(self, indices: np.ndarray, dtype: torch.dtype) -> Callable[[nn.Module], Tensor]:
        """The mean cross-entropy on those images, in that precision, as a function of a model."""
        chosen = torch.from_numpy(indices).to(self.labels.device)
        pixels = self.images.index_select(0, chosen).to(dtype) / self.pixel_max
        labels = self.labels.index_select(0, chosen)
        return lambda model: cross_entropy(model(pixels), labels)

    def targets(self, indices: np.ndarray) -> int:
        """The number of labels that the loss on these images is a mean over."""
        return len(indices)

    @torch.no_grad()
    def evaluate(
        self, model: nn.Module, examples: int | None = None, team: Team | None = None
    ) -> dict[str, float]:
        """Mean cross-entropy in nats and accuracy over the split, summed in float64. With
        `examples`, only that many of its images, evenly spread, are evaluated. Each process of a
        `team` evaluates a part, and all get the result."""
        was_training, team = model.training, team or Team()
        model.eval()
        places = evenly(len(self), examples)
        chosen = torch.from_numpy(team.share(places)).to(self.labels.device)
        loss = torch.zeros((), dtype=torch.float64, device=chosen.device)
        correct = torch.zeros((), dtype=torch.int64, device=chosen.device)
        for chunk in chosen.split(CHUNK):
            pixels, labels = self.batch(chunk)
            logits = model(pixels)
            loss += cross_entropy(logits, labels, reduction="none").double().sum()
            correct += (logits.argmax(dim=1) == labels).sum()
        model.train(was_training)
        team.sum([loss, correct])
        return {"loss": loss.item() / len(places), "accuracy": correct.item() / len(places)}


def load_images(files: Sequence[Path], facts: dict, device: str) -> Images:
    """The images of one or more splits of a prepared data set, joined."""
    parts = [load_split(file) for file in files]
    images, labels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Images(torch.from_numpy(images), torch.from_numpy(labels), facts["pixel_max"], device)


def image_splits(
    wanted: dict[str, list[str]], folder: Path, facts: dict, device: str
) -> dict[str, Images]:
    """Each wanted name with the images of its splits."""
    return {
        name: load_images([folder / f"{split}.safetensors" for split in splits], facts, device)
        for name, splits in wanted.items()
    }
