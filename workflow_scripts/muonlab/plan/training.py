"""The `training` section of a study: how a run is trained and watched."""

from typing import Literal

from pydantic import Field, model_validator

from muonlab.section import Section

# What only reporting runs are watched by.
WATCHED = ("geometry_every", "components_every")


class Training(Section):
    """How a run is trained and watched. A step is one update of the weights."""

    epochs: int = Field(default=20, ge=1)
    """Passes over the training examples, where `steps` is null."""
    steps: int | None = Field(default=None, ge=1)
    """Updates of the run; null trains for `epochs`."""
    batch_size: int = Field(default=64, ge=1)
    """Examples (images, or sequences of text) in a batch; an epoch's last one may be smaller."""
    accumulation: int = Field(default=1, ge=1)
    """Batches whose gradients are averaged for one update."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the whole gradient; null does not clip."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate over the optimizer's updates, after warm-up."""
    warmup_steps: int = Field(default=0, ge=0)
    """Updates of linear warm-up."""
    final_lr_fraction: float = Field(default=0.0, ge=0, le=1)
    """Learning rate at the last update as a fraction of the peak (linear and cosine)."""
    schedule_steps: int | None = Field(default=None, ge=1)
    """Length of the run that the schedule assumes; null is the run's own. Longer, as in sources
    that count batches and index updates, the rate hardly decays."""
    warmup_from_zero: bool = False
    """Whether the first update of the warm-up has rate 0 (a published source's fault)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the products in forward and backward; weights and optimizer state stay in float32."""
    compile: bool = False
    """Whether the model is compiled by torch.compile; on a GPU alone."""
    train_on: list[Literal["train", "validation"]] = Field(default=["train"], min_length=1)
    """Splits that are trained on."""
    evaluate_on: Literal["validation", "test"] = "validation"
    """Split on which loss and accuracy are followed and learning rates are chosen."""
    evaluation_examples: int | None = Field(default=None, ge=1)
    """Examples of that split that every evaluation but the last one reads, the same ones each
    time; null reads all."""
    windows: Literal["disjoint", "overlapping"] = "disjoint"
    """Sequences cut one after the other, or, as in a published source, at every token and then
    divided at random between training and evaluation, so that evaluation is memorisation."""
    mask_documents: bool = False
    """Whether attention stays inside a document."""
    paired: bool = True
    """Whether all arms of a seed share initial weights and data order."""
    log_every: int = Field(default=10, ge=1)
    """Steps between records of the training loss."""
    eval_every: int = Field(default=200, ge=1)
    """Steps between evaluations; the start and the end are always evaluated."""
    snapshot_every: int = Field(default=200, ge=1)
    """Steps between snapshots of the weights; a multiple of eval_every, since a snapshot at
    matched loss needs the loss at that step."""
    geometry_every: int | None = Field(default=50, ge=1)
    """Steps between records of the geometry of weights and updates, in reporting runs; null keeps
    none."""
    components_every: int | None = Field(default=None, ge=1)
    """Steps between records of gradients, weights, updates and activations of each component and
    layer, in reporting runs; null keeps none."""

    @model_validator(mode="after")
    def _consistent(self) -> "Training":
        if self.snapshot_every % self.eval_every:
            raise ValueError(
                f"snapshot_every ({self.snapshot_every}) must be a multiple of eval_every "
                f"({self.eval_every})"
            )
        if self.evaluate_on in self.train_on:
            raise ValueError(f"evaluate_on ({self.evaluate_on}) must not be one of train_on")
        return self
