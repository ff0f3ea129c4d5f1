"""Documents and tokenizers from the Hugging Face hub, or one sentence where it is out of reach.

The libraries try again for 23 seconds where there is no network, so that one request of a few
seconds asks first; it also gives the commit, to which reading is then pinned.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from muonlab.io.errors import UserError

PATIENCE = 10  # seconds for the first request
ADVICE = "name local files (source: local) where there is no network"


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
            f"{place}: the data set {name} cannot be had from the hub ({_first_line(failure)}); "
            f"{ADVICE}"
        ) from failure


def hub_documents(config: dict, revision: str | None, place: str) -> Iterator[str]:
    """The `field` of each record of a streamed data set, in the order of the hub.

    Raises UserError where the data set, its split or its field is not there, or the network fails.
    """
    from datasets import load_dataset

    name, split, field = config["name"], config["split"], config["field"]
    try:
        stream = load_dataset(
            name, config["config"], split=split, revision=revision, streaming=True
        )
    except Exception as failure:
        raise UserError(
            f"{place}: the split {split} of {name} cannot be opened ({_first_line(failure)})"
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
                f"{place}: reading stopped after {number} records ({_first_line(failure)})"
            ) from failure
        number += 1
        yield record


def hub_tokenizer(name: str, place: str) -> Path:
    """The tokenizer.json of a model on the hub, from its cache where the hub does not answer."""
    from huggingface_hub import HfApi, hf_hub_download

    try:
        commit = HfApi().model_info(name, timeout=PATIENCE).sha
        return Path(hf_hub_download(name, "tokenizer.json", revision=commit))
    except Exception as failure:
        try:
            return Path(hf_hub_download(name, "tokenizer.json", local_files_only=True))
        except Exception:
            raise UserError(
                f"{place}: the tokenizer {name} cannot be had from the hub "
                f"({_first_line(failure)}); name the path of a tokenizer.json"
            ) from failure


def _first_line(failure: Exception) -> str:
    return next(iter(str(failure).splitlines()), type(failure).__name__)
