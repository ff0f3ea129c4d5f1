"""Loss and accuracy of a classifier on a whole split."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

CHUNK = 4096  # images at a time, which bounds memory


class Images:
    """A split on a device: pixels as bytes (n, pixels), scaled to [0, 1] when they are used."""

    def __init__(self, images: Tensor, labels: Tensor, pixel_max: int, device: str):
        self.images, self.labels = images.to(device), labels.to(device, torch.int64)
        self.pixel_max = pixel_max

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (batch, pixels) in [0, 1] and labels (batch,)."""
        pixels = self.images.index_select(0, indices).to(torch.float32).div_(self.pixel_max)
        return pixels, self.labels.index_select(0, indices)


@torch.no_grad()
def evaluate(model: nn.Module, split: Images) -> dict[str, float]:
    """Mean cross-entropy in nats and accuracy over `split`, summed in float64."""
    was_training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=split.labels.device)
    correct = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    for chunk in torch.arange(len(split), device=split.labels.device).split(CHUNK):
        pixels, labels = split.batch(chunk)
        logits = model(pixels)
        loss += cross_entropy(logits, labels, reduction="none").double().sum()
        correct += (logits.argmax(dim=1) == labels).sum()
    model.train(was_training)
    return {"loss": loss.item() / len(split), "accuracy": correct.item() / len(split)}
