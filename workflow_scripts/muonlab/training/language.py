"""Text as a run sees it: sequences of tokens, their loss, and evaluation over a split."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from muonlab.data.batches import evenly
from muonlab.data.tokens import join, load_tokens
from muonlab.data.windows import IGNORED, OverlappingWindows, Windows
from muonlab.models.cross_entropy import mean_cross_entropy
from muonlab.training.team import Team

# Logits that an evaluation holds at a time, which bounds memory; on a CPU they fit into its caches.
LOGITS, CPU_LOGITS = 2**26, 2**22
EVALUATION_SHARE = 0.1  # share of overlapping windows for evaluation, as in the published source


class Text:
    """A split as windows of tokens; they stay in their memory-mapped file until they are used.

    `windows` has a length, a `length` in tokens, and `batch(indices)` giving inputs, targets and
    documents, each (batch, length), as numpy arrays.
    """

    unit = "tokens"

    def __init__(self, windows, vocab: int, mask_documents: bool, device: str):
        self.windows, self.vocab = windows, vocab
        self.mask_documents, self.device = mask_documents, device
        self.tokens_per_example = windows.length

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor, Tensor | None]:
        """Inputs and targets, and the documents' numbers if attention is kept inside documents."""
        arrays = self.windows.batch(indices)
        inputs, targets, documents = (on_device(a, self.device) for a in arrays)
        return inputs, targets, documents if self.mask_documents else None

    def loss(self, model: nn.Module, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """`objective` on these windows."""
        return self.objective(model, *self.batch(indices))

    @staticmethod
    def objective(
        model: nn.Module, inputs: Tensor, targets: Tensor, documents: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The loss that is minimised, which includes the router's auxiliary losses, and the one
        that is recorded: the mean cross-entropy in nats of the tokens that have a target."""
        logits = model(inputs, documents)
        loss = mean_cross_entropy(logits.flatten(0, 1), targets.flatten(), IGNORED)
        return loss + model.auxiliary_loss(), loss

    def loss_in(self, indices: np.ndarray, dtype: torch.dtype) -> Callable[[nn.Module], Tensor]:
        """The mean cross-entropy on those windows as a function of a model, in the model's
        precision. Attention uses no fused kernels, which cannot be differentiated twice."""
        inputs, targets, documents = self.batch(indices)

        def loss(model: nn.Module) -> Tensor:
            with sdpa_kernel(SDPBackend.MATH):
                logits = model(inputs, documents).flatten(0, 1)
            return cross_entropy(logits, targets.flatten(), ignore_index=IGNORED)

        return loss

    def targets(self, indices: np.ndarray) -> int:
        """The number of tokens that the loss on these windows is a mean over."""
        return int((self.windows.batch(indices)[1] != IGNORED).sum())

    @torch.no_grad()
    def evaluate(
        self, model: nn.Module, examples: int | None = None, team: Team | None = None
    ) -> dict[str, float]:
        """Mean cross-entropy in nats, its exponential, and accuracy, over all tokens that have a
        target, summed in float64. With `examples`, only that many windows, evenly spread, are
        evaluated; otherwise as many as cover the split (`Windows.covering`). Each process of a
        `team` evaluates a part, and all get the result."""
        was_training, team = model.training, team or Team()
        model.eval()
        logits = CPU_LOGITS if self.device == "cpu" else LOGITS
        at_once = max(1, logits // (self.vocab * self.windows.length))
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        count = torch.zeros((), dtype=torch.int64, device=self.device)
        wanted = self.windows.covering if examples is None else examples
        chosen = team.share(evenly(len(self), wanted))
        for start in range(0, len(chosen), at_once):
            inputs, targets, documents = self.batch(chosen[start : start + at_once])
            logits, targets = model(inputs, documents).flatten(0, 1), targets.flatten()
            each = cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="none")
            loss += each.double().sum()
            correct += (logits.argmax(dim=1) == targets).sum()
            count += (targets != IGNORED).sum()
        model.train(was_training)
        team.sum([loss, correct, count])
        mean = loss.item() / count.item()
        return {
            "loss": mean,
            "perplexity": math.exp(mean) if mean < 700 else math.inf,
            "accuracy": correct.item() / count.item(),
        }


def on_device(array: np.ndarray, device: str) -> Tensor:
    """The array as a tensor. A copy to a GPU is not waited for: the next update is prepared while
    the GPU still works on the last one."""
    tensor = torch.from_numpy(array)
    if device == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def text_splits(
    wanted: dict[str, list[str]], folder: Path, facts: dict, config: dict, device: str
) -> dict[str, Text]:
    """Each wanted name with the windows of its splits.

    `training.windows: overlapping` reproduces a published source's fault: the training and
    evaluation splits are joined, windows start at every token, and these overlapping windows are
    divided between training and evaluation. The test split stays separate.
    """
    training, length = config["training"], config["model"]["context"]

    def windows(name: str, splits: list[str]) -> Windows:
        text = join([load_tokens(folder, split, facts) for split in splits])
        return Windows(text.tokens, text.offsets, length, f"{folder.name}, {name}")

    def overlapping(evaluation: bool) -> Windows:
        splits = dict.fromkeys([*training["train_on"], training["evaluate_on"]])
        text = join([load_tokens(folder, split, facts) for split in splits])
        return OverlappingWindows(*text, length, EVALUATION_SHARE, evaluation, seed=0)

    def of(name: str, splits: list[str]) -> Windows:
        if training["windows"] == "disjoint" or name == "report":
            return windows(name, splits)
        return overlapping(evaluation=name != "train")

    return {
        name: Text(of(name, splits), facts["vocab"], training["mask_documents"], device)
        for name, splits in wanted.items()
    }
