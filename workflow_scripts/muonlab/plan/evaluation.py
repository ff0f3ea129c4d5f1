"""Sections of `measure` for what is read from finished models: benchmarks of multiple choice, text
that they write, and where their attention looks."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from muonlab.section import Name, Section, Seed

PROMPTS = ["def main(", "The", "import", "    return"]


class ChoiceTask(Section):
    """One benchmark: where its items are, and how an item is put to the model."""

    format: Literal["hellaswag", "arc"]
    """How a record becomes a context and its endings, as in the lm-evaluation-harness. hellaswag:
    activity_label, ctx (or ctx_a and ctx_b), endings, label; arc: question, choices, answerKey."""
    files: list[str] = Field(default=[])
    """JSONL files with the items, read one after the other. Either these or `name`."""
    name: str | None = None
    """Name of a data set on the hub, read through `datasets`, such as Rowan/hellaswag."""
    config: str | None = None
    """Configuration of that data set, such as ARC-Easy."""
    split: str = "validation"
    """Split of that data set."""
    revision: str | None = None
    """Commit or tag of that data set; null reads the newest."""
    items: int | None = Field(default=None, ge=1)
    """How many items are read, from the first; null reads all."""

    @model_validator(mode="after")
    def _consistent(self) -> "ChoiceTask":
        if bool(self.files) == (self.name is not None):
            raise ValueError("give either files or name (of a data set on the hub)")
        return self


class MultipleChoice(Section):
    """Benchmarks of multiple choice, scored by the log-likelihood of each ending."""

    tasks: dict[Name, ChoiceTask] = Field(min_length=1)
    """The benchmarks, by name."""
    resamples: int = Field(default=2000, ge=100)
    """Number of resamples of the items in bootstrap intervals."""


class Samples(Section):
    """Text that the finished models write after fixed prompts."""

    prompts: list[str] = Field(default=PROMPTS, min_length=1)
    """The prompts."""
    tokens: int = Field(default=48, ge=1)
    """Number of tokens that are written after each prompt."""
    temperature: float = Field(default=0.8, gt=0)
    """Temperature of the sampled text; each prompt is also continued greedily."""
    top_k: int = Field(default=50, ge=1)
    """Number of the most likely tokens from which is sampled."""
    seed: Seed = 0
    """Seed of the sampling, the same for all arms."""


class AttentionPatterns(Section):
    """Where attention looks, on fixed windows of the validation split."""

    examples: int = Field(default=64, ge=1)
    """Number of windows, evenly spread over the split."""
    map_size: int = Field(default=32, ge=2, le=256)
    """Number of rows and columns of the maps; longer windows are averaged in blocks."""


def outside_files(settings: Any) -> list[str]:
    """The local files that a measurement with these settings reads, besides runs and data."""
    tasks = settings.get("tasks", {}) if isinstance(settings, dict) else {}
    return [file for task in tasks.values() for file in task["files"]]


def missing_files(measure: Any) -> list[tuple[tuple[str, ...], str]]:
    """(path of the field, file) for each file of a benchmark that does not exist."""
    tasks = measure.multiple_choice.tasks if measure.multiple_choice else {}
    return [
        (("measure", "multiple_choice", "tasks", name, "files"), file)
        for name, task in tasks.items()
        for file in task.files
        if not Path(file).is_file()
    ]
