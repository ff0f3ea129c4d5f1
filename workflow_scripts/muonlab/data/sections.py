"""What the sources of data have in common; each is a module of `sources`, found by its name.

A source has a section of the config, whose `source` is the module's name, and in it two methods:
`inputs` lists the files that are read, for the rules, and `read` reads them, for the job that
prepares the data set. A module is imported wherever the rules are read, so that it imports what is
slow inside its methods.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from muonlab.data.documents import Mended
from muonlab.io.errors import UserError
from muonlab.section import Section, Seed

IMAGES, TEXT = "images", "text"
Fraction = Annotated[float, Field(gt=0, lt=1)]
# How a sentence about the data set, or about one of its fields, starts.
Place = Callable[..., str]


class Source(Section):
    """What every source has."""

    kind: ClassVar[str]

    def inputs(self, place: Place) -> list[Path]:
        """The files behind the data set; UserError for one that is not there."""
        return []


class Images(Source):
    """What every source of images has."""

    kind = IMAGES

    def read(self, place: Place) -> tuple[dict, int]:
        """The splits train, validation and test as `Labelled`, and the largest value that a pixel
        can have."""
        raise NotImplementedError


class Text(Source):
    """What every corpus has. Documents, never windows, are split into train, validation, test."""

    kind = TEXT

    vocab_size: int = Field(default=4096, ge=257)
    """Entries of the byte-level BPE that is trained on the training documents."""
    tokenizer: str | None = None
    """A tokenizer.json or a hub name to use instead of training one."""
    max_tokens: int | None = Field(default=None, ge=1000)
    """Token budget of all splits together; null reads everything."""
    validation: Fraction = 0.1
    """Share of the documents held out for choosing settings."""
    test: Fraction = 0.1
    """Share of the documents held out for the final report."""
    split_seed: Seed = 0
    """Seed of the split by document."""
    near_duplicates: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity from which two documents count as near duplicates, whose rate is told."""

    @model_validator(mode="after")
    def _consistent(self) -> "Text":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must leave a share of the documents for training")
        return self

    def inputs(self, place: Place) -> list[Path]:
        return [Path(self.tokenizer)] if self.has_tokenizer_file(place) else []

    def has_tokenizer_file(self, place: Place) -> bool:
        """Whether `tokenizer` is the path of a file; UserError where that does not exist."""
        if self.tokenizer is None or not self.tokenizer.endswith(".json"):
            return False
        if not Path(self.tokenizer).is_file():
            raise UserError(f"{place('tokenizer')}: the file {self.tokenizer} does not exist")
        return True

    def read(self, place: Place, mended: Mended) -> tuple[dict, Iterator[str]]:
        """What `digest.json` says of the source, and its documents as they are."""
        raise NotImplementedError


def source_class(name: str) -> type[Source]:
    """The section of the source of that name."""
    module = import_module(f"muonlab.data.sources.{name}")
    own = (value for value in vars(module).values() if isinstance(value, type))
    return next(c for c in own if issubclass(c, Source) and c.__module__ == module.__name__)


def opened(config: dict) -> Source:
    """The section of a data set that the plan has checked."""
    return source_class(config["source"]).model_construct(**config)


def place_of(name: str) -> Place:
    """How sentences about the data set `name` start, where the config's files are not known."""
    return lambda *field: ".".join(("data", name, *field))
