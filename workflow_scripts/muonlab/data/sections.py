"""What all sources of data have in common. Each source is a module of `sources`.

A source defines its section of the config, in which `source` is the name of the module. The section
has two methods: `inputs` lists the files that are read, for the rules, and `read` reads them, for
the job that prepares the data set. The modules are imported at every start of the workflow, so they
import slow packages inside their methods only.
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
# A function that returns how messages refer to the data set or to one of its fields.
Place = Callable[..., str]


class Source(Section):
    """Base class of all sources."""

    kind: ClassVar[str]

    def inputs(self, place: Place) -> list[Path]:
        """The files that the data set is read from. Raises UserError if one does not exist."""
        return []


class Images(Source):
    """Base class of all sources of images. How many there are, of how many pixels and classes, is
    what a cost is computed from before they are read: FashionMNIST's, unless a source says so."""

    kind = IMAGES
    training_images: ClassVar[int] = 60_000
    """Images that training and validation, and the test split unless it is official, share."""
    test_images: ClassVar[int] = 10_000
    """Images of an official test split, where the section has no field `test`."""
    pixels: ClassVar[int] = 784
    classes: ClassVar[int] = 10

    def read(self, place: Place) -> tuple[dict, int]:
        """The splits train, validation and test as `Labelled`, and the largest value that a pixel
        can have."""
        raise NotImplementedError


class Text(Source):
    """Fields of every source of text. Whole documents are divided into train, validation and
    test."""

    kind = TEXT

    vocab_size: int = Field(default=4096, ge=257)
    """Number of entries of the byte-level BPE tokenizer that is trained on the training
    documents."""
    tokenizer: str | None = None
    """Path of a tokenizer.json, or name of a tokenizer on the hub, to use instead of training
    one."""
    max_tokens: int | None = Field(default=None, ge=1000)
    """Largest number of tokens of all splits together; null reads everything."""
    validation: Fraction = 0.1
    """Fraction of the documents that is held out for choosing settings."""
    test: Fraction = 0.1
    """Fraction of the documents that is held out for the final evaluation."""
    split_seed: Seed = 0
    """Seed by which documents are assigned to splits."""
    near_duplicates: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity from which two documents count as near duplicates. digest.json reports how
    many evaluation documents have one in the training split."""

    @model_validator(mode="after")
    def _consistent(self) -> "Text":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must leave a share of the documents for training")
        return self

    def inputs(self, place: Place) -> list[Path]:
        return [Path(self.tokenizer)] if self.has_tokenizer_file(place) else []

    def has_tokenizer_file(self, place: Place) -> bool:
        """Whether `tokenizer` is a path. Raises UserError if that file does not exist."""
        if self.tokenizer is None or not self.tokenizer.endswith(".json"):
            return False
        if not Path(self.tokenizer).is_file():
            raise UserError(f"{place('tokenizer')}: the file {self.tokenizer} does not exist")
        return True

    def read(self, place: Place, mended: Mended) -> tuple[dict, Iterator[str]]:
        """What `digest.json` says about the source, and its documents before they are cleaned."""
        raise NotImplementedError


def source_class(name: str) -> type[Source]:
    """The section of the source with this name."""
    module = import_module(f"muonlab.data.sources.{name}")
    own = (value for value in vars(module).values() if isinstance(value, type))
    return next(c for c in own if issubclass(c, Source) and c.__module__ == module.__name__)


def opened(config: dict) -> Source:
    """The section of a data set, from plain values that the plan has already checked."""
    return source_class(config["source"]).model_construct(**config)


def place_of(name: str) -> Place:
    """How messages refer to the data set `name` in jobs, which do not know the config files."""
    return lambda *field: ".".join(("data", name, *field))
