"""Documents from the Hugging Face hub, or one sentence where it is out of reach.

The libraries try again for 23 seconds where there is no network, so that one request of a few
seconds asks first; it also gives the commit, to which reading is then pinned.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from muonlab.data.documents import Mended
from muonlab.data.sections import Place, Text
from muonlab.io.errors import UserError, first_line

PATIENCE = 10  # seconds for the first request
ADVICE = "name local files (source: local) where there is no network"


class HubText(Text):
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

    def read(self, place: Place, mended: Mended) -> tuple[dict, Iterator[str]]:
        if self.max_tokens is None:
            raise UserError(f"{place('max_tokens')}: must be set for a streamed corpus, not null")
        revision = pinned_revision(self.name, self.revision, place("name")) or self.revision
        described = {
            "name": "hub",
            "dataset": self.name,
            "config": self.config,
            "split": self.split,
            "revision": revision,
        }
        return described, hub_documents(self, revision, place("name"))


def pinned_revision(name: str, revision: str | None, place: str) -> str | None:
    """The commit of a data set on the hub that `revision` (null: its newest) stands for; None for a
    folder of this machine. Raises UserError at once where the hub does not answer."""
    if Path(name).exists():
        return None
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name, revision=revision, timeout=PATIENCE).sha
    except Exception as failure:  # of the HTTP client and of the hub: they share no base class
        raise UserError(
            f"{place}: the data set {name} cannot be had from the hub ({first_line(failure)}); "
            f"{ADVICE}"
        ) from failure


def hub_documents(section: HubText, revision: str | None, place: str) -> Iterator[str]:
    """The `field` of each record of a streamed data set, in the order of the hub.

    Raises UserError where the data set, its split or its field is not there, or the network fails.
    """
    from datasets import load_dataset

    name, split, field = section.name, section.split, section.field
    try:
        stream = load_dataset(name, section.config, split=split, revision=revision, streaming=True)
    except Exception as failure:
        raise UserError(
            f"{place}: the split {split} of {name} cannot be opened ({first_line(failure)})"
        ) from failure
    for number, record in enumerate(_records(stream, place), start=1):
        if not isinstance(record.get(field), str):
            there = ", ".join(map(str, record))
            raise UserError(
                f"{place}: record {number} of {name} has no text in the field {field!r}; its "
                f"fields are {there}"
            )
        yield record[field]


def _records(stream: Any, place: str) -> Iterator[dict]:
    records, number = iter(stream), 0
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except Exception as failure:
            raise UserError(
                f"{place}: reading stopped after {number} records ({first_line(failure)})"
            ) from failure
        number += 1
        yield record
