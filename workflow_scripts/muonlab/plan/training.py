"""The `training` section of a study: how a run is trained, and what is recorded meanwhile."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from muonlab.plan.optimizers import Component, GroupOfComponents, spelled_out
from muonlab.section import Section

# Settings of observers, which only reporting runs have.
WATCHED = ("rung_ratio", "snapshot_every", "geometry_every", "components_every")


class Training(Section):
    """How a run is trained, and what is recorded meanwhile. A step is one update of the weights."""

    epochs: int = Field(default=20, ge=1)
    """Number of passes over the training examples; used if `steps` is null."""
    steps: int | None = Field(default=None, ge=1)
    """Number of updates of the run; null trains for `epochs`."""
    batch_size: int = Field(default=64, ge=1)
    """Number of examples (images, or sequences of text) in a batch. The last batch of an epoch may
    be smaller."""
    accumulation: int = Field(default=1, ge=1)
    """Number of batches whose gradients are averaged for one update."""
    clip: float | None = Field(default=None, gt=0)
    """Largest allowed norm of the whole gradient; null does not clip it."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate changes from update to update after the warm-up."""
    warmup_steps: int = Field(default=0, ge=0)
    """Number of updates over which the learning rate rises linearly to its peak."""
    final_lr_fraction: float = Field(default=0.0, ge=0, le=1)
    """Learning rate at the last update, as a fraction of the peak (for linear and cosine)."""
    schedule_steps: int | None = Field(default=None, ge=1)
    """Number of updates for which the schedule is planned; null takes the length of the run. If it
    is longer than the run, the learning rate hardly decays; that happened in published sources
    which planned for the number of batches but advanced the schedule once per update."""
    warmup_from_zero: bool = False
    """Whether the first update of the warm-up has learning rate 0 (a fault of a published
    source)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the matrix products in the forward and backward pass. Weights and optimizer
    state are always float32."""
    compile: bool = False
    """Whether torch.compile compiles the model. It does so only on a GPU."""
    train_on: list[Literal["train", "validation"]] = Field(default=["train"], min_length=1)
    """The splits that models are trained on."""
    evaluate_on: Literal["validation", "test"] = "validation"
    """The split on which loss and accuracy are evaluated during training, and by which tuning
    chooses settings."""
    evaluation_examples: int | None = Field(default=None, ge=1)
    """Number of examples of that split that the evaluations along a run read, always the same ones;
    null reads all. After the last update the whole split is evaluated as well; final losses, and
    the losses by which tuning chooses, are those of the whole split."""
    windows: Literal["disjoint", "overlapping"] = "disjoint"
    """How a text is cut into sequences. disjoint: one after the other. overlapping, as in a
    published source: one starts at every token, and they are divided at random between training and
    evaluation, so that a low evaluation loss shows memorisation. An evaluation of the whole split
    then reads as many of them as hold the split's tokens once."""
    mask_documents: bool = False
    """Whether attention is restricted to tokens of the same document."""
    frozen: list[Literal[Component, GroupOfComponents]] = Field(default=[])
    """Components of the model whose matrices keep their initial values. An arm that freezes the
    hidden matrices is an anchor: a tuned arm that does not end below it is broken."""
    paired: bool = True
    """Whether the runs of all arms with one seed share initial weights and data order."""
    log_every: int = Field(default=10, ge=1)
    """Number of steps between records of the training loss."""
    eval_every: int = Field(default=200, ge=1)
    """Number of steps between evaluations. The start and the end are always evaluated."""
    rung_ratio: float = Field(default=1.1, ge=1.01)
    """Ratio of two neighbouring rungs of the ladder of losses. Reporting runs whose weights are
    measured keep a snapshot at their first evaluation at or under each rung; the rungs are the
    powers of this ratio, and so the same for all runs."""
    snapshot_every: int | None = Field(default=None, ge=1)
    """Number of steps between further snapshots of such runs; null keeps none but those at the
    rungs and at the end. It must be a multiple of eval_every, so that the loss is known there."""
    geometry_every: int | None = Field(default=50, ge=1)
    """Number of steps between records of the geometry of weights and updates, in reporting runs;
    null records nothing."""
    components_every: int | None = Field(default=None, ge=1)
    """Number of steps between records of the gradients, weights, updates and activations of each
    component and layer, in reporting runs; null records nothing."""

    @field_validator("frozen")
    @classmethod
    def _one_spelling(cls, value: list[str]) -> list[Component]:
        return spelled_out(value)

    @model_validator(mode="after")
    def _consistent(self) -> "Training":
        if self.snapshot_every is not None and self.snapshot_every % self.eval_every:
            raise ValueError(
                f"snapshot_every ({self.snapshot_every}) must be a multiple of eval_every "
                f"({self.eval_every})"
            )
        if self.evaluate_on in self.train_on:
            raise ValueError(f"evaluate_on ({self.evaluate_on}) must not be one of train_on")
        return self
