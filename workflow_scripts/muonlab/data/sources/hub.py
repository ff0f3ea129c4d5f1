"""Documents from the Hugging Face hub.

Without a network the libraries retry for 23 seconds, so one request with a short timeout comes
first. It also returns the current commit, from which the documents are then read.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from muonlab.data.documents import Mended
from muonlab.data.sections import Place, Text
from muonlab.io.errors import UserError, first_line

PATIENCE = 10  # seconds to wait for the answer to the first request
ADVICE = "without a network, use local files (source: local)"


class HubText(Text):
    """A data set on the Hugging Face hub, streamed through the package `datasets`."""

    source: Literal["hub"]
    name: str
    """Name of the data set on the hub."""
    config: str | None = None
    """Name of the data set's configuration on the hub."""
    split: str = "train"
    """The split of the data set that is read."""
    revision: str | None = None
    """Commit or tag to read, so that the data never change; null reads the newest."""
    field: str = "text"
    """Name of the column with the text, or with lists of token numbers of `tokenizer`, which are
    then turned back into text."""

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
    """The commit that `revision` stands for (None: the newest), for a data set on the hub.

    None if `name` is a folder on this machine. Raises UserError quickly if the hub does not answer.
    """
    if Path(name).exists():
        return None
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name, revision=revision, timeout=PATIENCE).sha
    except Exception as failure:  # errors of the HTTP client and the hub have no common base class
        raise UserError(
            f"{place}: the data set {name} cannot be read from the hub ({first_line(failure)}); "
            f"{ADVICE}"
        ) from failure


def hub_documents(section: HubText, revision: str | None, place: str) -> Iterator[str]:
    """The `field` of each record of a streamed data set, in the order of the hub; of a data set of
    tokens, the documents in them.

    Raises UserError if the data set, its split or its field does not exist, or the network fails.
    """
    from datasets import load_dataset

    name, split = section.name, section.split
    try:
        stream = load_dataset(name, section.config, split=split, revision=revision, streaming=True)
    except Exception as failure:
        raise UserError(
            f"{place}: the split {split} of {name} cannot be opened ({first_line(failure)})"
        ) from failure
    values = _values(stream, section, place)
    first = next(values, None)
    if first is not None and not isinstance(first, str):
        from muonlab.data.detokenized import documents_of

        tokenizer = own_tokenizer(section, place)
        yield from documents_of(chain([first], values), tokenizer)
    elif first is not None:
        yield first
        yield from values


def _values(stream: Any, section: HubText, place: str) -> Iterator[str | list[int]]:
    """The field's value in each record; the first says whether all must be text or tokens."""
    kind: type | None = None
    for number, record in enumerate(_records(stream, place), start=1):
        value = record.get(section.field)
        kind = kind or (list if _is_tokens(value) else str)
        if not isinstance(value, kind) or (kind is list and not _is_tokens(value)):
            there = ", ".join(map(str, record))
            what = "tokens" if kind is list else "text"
            raise UserError(
                f"{place}: record {number} of {section.name} has no {what} in the field "
                f"{section.field!r}; its fields are {there}"
            )
        yield value


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(type(token) is int for token in value)


def own_tokenizer(section: HubText, place: str) -> Any:
    """The tokenizer whose tokens the data set holds. Raises UserError if the section has none."""
    from muonlab.data.tokenizer import hub_tokenizer, read_tokenizer

    if section.tokenizer is None:
        raise UserError(
            f"{place}: the field {section.field!r} of {section.name} holds tokens; name the "
            "tokenizer that made them as tokenizer"
        )
    local = section.tokenizer.endswith(".json")
    file = Path(section.tokenizer) if local else hub_tokenizer(section.tokenizer, place)
    return read_tokenizer(file)


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
