"""One update of the weights: batches, gradients, clipping, learning rate, the optimizer's step."""

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from muonlab.optim.factory import set_lr_factor
from muonlab.optim.schedules import lr_factor
from muonlab.streams import stream_key
from muonlab.training.build import build_batches, streams
from muonlab.training.team import Team


class Update:
    """Makes the updates of one run. The batches and the random numbers of a step depend on the step
    alone, so a resumed run does not need the state of earlier random draws."""

    def __init__(
        self,
        config: dict,
        model: nn.Module,
        optimizer: Optimizer,
        split,
        device: str,
        team: Team | None = None,
    ):
        self.training, self.model, self.split = config["training"], model, split
        self.team = team or Team()
        self.optimizer, self.device, self.stream = optimizer, device, streams(config)
        self.batches = build_batches(config, len(split))
        self.per_epoch = -(-self.batches.per_epoch // self.training["accumulation"])
        self.total = self.training["steps"] or self.training["epochs"] * self.per_epoch
        # Model and loss together, so that the logits are not written in float32 on the way.
        self.compiled = torch.compile(split.objective) if self.training["compile"] else None
        self.noise: torch.Generator | None = None
        if hasattr(model, "set_noise"):
            self.noise = torch.Generator(device)
            model.set_noise(self.noise)

    def autocast(self):
        """The context of forward passes."""
        if self.training["precision"] == "float32":
            return nullcontext()
        return torch.autocast(self.device, torch.bfloat16)

    def gradients(self, step: int, watched: bool = False) -> Tensor:
        """Writes the mean gradient over the examples of `step` (0-based) to the parameters; returns
        their mean loss. A `watched` step does not use the compiled model, which cannot be
        watched."""
        self.optimizer.zero_grad()
        if self.noise is not None:
            # The processes of a team see different tokens, so each draws noise of its own.
            member = (self.team.rank,) if self.team.rank else ()
            self.noise.manual_seed(stream_key(*self.stream, "noise", step, *member))
        count = self.training["accumulation"]
        parts = [self.batches.indices(step * count + k) for k in range(count)]
        examples = sum(map(len, parts))
        recorded: list[Tensor] = []
        for part in parts:
            own = self.team.share(part)
            weight = len(part) / examples * self._share_of_targets(own)
            if not len(own):
                continue
            objective, loss = self.forward_pass(own, watched)
            if weight != 1:
                objective, loss = objective * weight, loss * weight
            self.backward_pass(objective)
            recorded.append(loss)
        loss = sum(recorded[1:], recorded[0] if recorded else torch.zeros((), device=self.device))
        self._sum_over_team(loss)
        return loss

    def _share_of_targets(self, own: np.ndarray) -> float:
        """What part of a batch's targets the examples `own` of this process have. A mean over the
        batch is the sum of the processes' means, each times this."""
        if self.team.size == 1:
            return 1.0
        targets = self.split.targets(own) if len(own) else 0
        total = torch.tensor(targets, dtype=torch.float64, device=self.device)
        self.team.sum([total])
        return targets / total.item()

    def _sum_over_team(self, loss: Tensor) -> None:
        """Sums the loss and all gradients over the team. A process without examples adds zeros."""
        if self.team.size == 1:
            return
        trained = [p for p in self.model.parameters() if p.requires_grad]
        for p in trained:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        self.team.sum([loss, *(p.grad for p in trained)])

    def forward_pass(self, part: np.ndarray, watched: bool) -> tuple[Tensor, Tensor]:
        """The loss that is minimised and the one that is recorded for the examples `part`."""
        with self.autocast():
            if self.compiled is None or watched:
                objective, loss = self.split.loss(self.model, part)
            else:
                objective, loss = self.compiled(self.model, *self.split.batch(part))
        return objective, loss.detach()

    def backward_pass(self, objective: Tensor) -> None:
        """Adds the gradient of `objective` to the parameters' gradients."""
        objective.backward()

    def clip(self) -> Tensor | None:
        """Scales the gradient down to the norm `clip`; returns its norm before that, or None if the
        run does not clip."""
        if self.training["clip"] is None:
            return None
        return nn.utils.clip_grad_norm_(self.model.parameters(), self.training["clip"])

    def gradient_norm(self) -> Tensor:
        """The norm of the whole gradient."""
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        return nn.utils.get_total_norm(grads)

    def lr_factor(self, step: int) -> float:
        """The factor on every peak learning rate at `step`."""
        return lr_factor(
            step,
            self.training["schedule_steps"] or self.total,
            self.training["schedule"],
            self.training["warmup_steps"],
            self.training["final_lr_fraction"],
            self.training["warmup_from_zero"],
        )

    def apply(self, step: int) -> None:
        """Moves the weights."""
        set_lr_factor(self.optimizer, self.lr_factor(step))
        self.optimizer.step()

    def tokens(self, steps: int) -> int:
        """Tokens (or images) of the first `steps` updates."""
        whole = self.training["accumulation"] * self.training["batch_size"]
        return steps * whole * self.split.tokens_per_example
