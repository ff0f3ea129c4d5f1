"""The `data` section of the config: data sets of images and of text, by their source."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from muonlab.section import Section, Seed

DIGITS = 1797  # images that scikit-learn bundles
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Digits(Section):
    """scikit-learn's bundled 8 × 8 digits; needs no file and no network."""

    source: Literal["digits"]
    validation: int = Field(default=300, ge=1)
    """Images held out of the training images, for choosing learning rates."""
    test: int = Field(default=360, ge=1)
    """Images held out first, for the final report."""
    split_seed: Seed = 0
    """Seed of both splits."""

    @model_validator(mode="after")
    def _consistent(self) -> "Digits":
        if self.validation + self.test >= DIGITS:
            raise ValueError(
                f"validation ({self.validation}) and test ({self.test}) must leave some of the "
                f"{DIGITS} digits for training"
            )
        return self


class FashionMNIST(Section):
    """FashionMNIST with its official test split."""

    source: Literal["fashion_mnist"]
    folder: str | None = None
    """Folder that holds the four IDX files, plain or .gz; null downloads them by torchvision."""
    validation: int = Field(default=5000, ge=1)
    """Images held out of the 60,000 training images, for choosing learning rates."""
    split_seed: Seed = 0
    """Seed of the held-out split."""


class _Text(Section):
    """What every corpus has. Documents, never windows, are split into train, validation, test."""

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
    def _consistent(self) -> "_Text":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must leave a share of the documents for training")
        return self


class StandardLibrary(_Text):
    """The source text of Python's standard library, without tests; needs no network."""

    source: Literal["stdlib"]
    max_bytes: int | None = Field(default=None, ge=10_000)
    """Bytes that are read; null reads everything."""


class LocalText(_Text):
    """Text (.txt and others), JSONL or parquet files."""

    source: Literal["local"]
    files: list[str] = Field(min_length=1)
    """Files, or patterns such as corpus/*.jsonl."""
    field: str = "text"
    """Field of JSONL records or parquet columns that holds the text."""
    document_start: str | None = None
    """Regular expression for the line that starts a document in plain text, such as '^ = [^=]' for
    WikiText; null separates documents by blank lines."""


class HubText(_Text):
    """A data set of the hub, streamed by `datasets`."""

    source: Literal["hub"]
    name: str
    """The data set's name on the hub."""
    config: str | None = None
    """Its configuration."""
    split: str = "train"
    """The part of it that is read."""
    revision: str | None = None
    """Commit or tag, so that the data stay what they were."""
    field: str = "text"
    """Column that holds the text."""


IMAGES, TEXT = "images", "text"
DataConfig = Annotated[
    Digits | FashionMNIST | StandardLibrary | LocalText | HubText, Field(discriminator="source")
]
KINDS = {"digits": IMAGES, "fashion_mnist": IMAGES, "stdlib": TEXT, "local": TEXT, "hub": TEXT}
