"""Items of benchmarks of multiple choice, put to a model as the lm-evaluation-harness does.

Sources: EleutherAI's lm-evaluation-harness (arXiv 2405.14782), its tasks hellaswag and arc_easy /
arc_challenge; HellaSwag (arXiv 1905.07830), whose WikiHow part marks titles in brackets; ARC
(arXiv 1803.05457).
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from muonlab.io.errors import UserError, first_line

BRACKETS = re.compile(r"\[.*?\]")


class Item(NamedTuple):
    """A context, the endings among which a model chooses, and the place of the right one."""

    context: str
    endings: tuple[str, ...]
    gold: int


def cleaned(text: str) -> str:
    """A text of HellaSwag without the marks of its WikiHow part: " [title]" ends a sentence,
    everything else in brackets is left out, and pairs of spaces become one."""
    text = text.strip().replace(" [title]", ". ")
    return BRACKETS.sub("", text).replace("  ", " ")


def hellaswag(record: Mapping[str, Any]) -> Item:
    """The activity, a colon and the context. The second part of the context starts with a capital;
    a record that has the parts joined in `ctx` alone is taken as it stands."""
    if "ctx_a" in record and "ctx_b" in record:
        context = f"{record['ctx_a']} {record['ctx_b'].capitalize()}"
    else:
        context = record["ctx"]
    endings = tuple(cleaned(ending) for ending in record["endings"])
    return Item(cleaned(f"{record['activity_label']}: {context}"), endings, int(record["label"]))


def arc(record: Mapping[str, Any]) -> Item:
    """The question and "Answer:" on a new line; the endings are the answers' texts."""
    choices = record["choices"]
    gold = list(choices["label"]).index(record["answerKey"])
    context = f"Question: {record['question']}\nAnswer:"
    return Item(context, tuple(choices["text"]), gold)


FORMATS: dict[str, Callable[[Mapping], Item]] = {"hellaswag": hellaswag, "arc": arc}


def read_items(task: Mapping[str, Any], name: str) -> list[Item]:
    """The items of a benchmark, from its files or through `datasets`.

    `task` is the section `ChoiceTask` as plain values, `name` its key, for messages. Raises
    UserError for a record that is not an item, a file that is not JSONL, and a data set that cannot
    be read.
    """
    place = f"measure.multiple_choice.tasks.{name}"
    records = from_files(task["files"], place) if task["files"] else from_hub(task, place)
    make, items = FORMATS[task["format"]], []
    for number, record in enumerate(islice(records, task["items"]), start=1):
        try:
            item = make(record)
        except (KeyError, ValueError, TypeError, AttributeError) as failure:
            told = f"{type(failure).__name__}: {failure}"
            raise UserError(
                f"{place}: record {number} is not an item of {task['format']} ({told})"
            ) from failure
        if not 0 <= item.gold < len(item.endings) or not all(item.endings):
            raise UserError(f"{place}: record {number} has an empty ending, or no right one")
        items.append(item)
    if not items:
        raise UserError(f"{place}: has no items")
    return items


def from_files(files: Iterable[str], place: str) -> Iterator[dict]:
    """The records of JSONL files, one after the other; empty lines are left out."""
    for file in files:
        with open(Path(file), encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    yield json.loads(line)
                except ValueError as failure:
                    raise UserError(
                        f"{place}.files: {file}, line {number}: is not JSON ({failure})"
                    ) from failure


def from_hub(task: Mapping[str, Any], place: str) -> Iterable[dict]:
    """The records of a data set on the hub; `datasets` keeps them in its cache."""
    from datasets import load_dataset

    try:
        return load_dataset(
            task["name"], task["config"], split=task["split"], revision=task["revision"]
        )
    except Exception as failure:  # errors of the HTTP client and the hub have no common base class
        raise UserError(
            f"{place}.name: the split {task['split']} of {task['name']} cannot be read "
            f"({first_line(failure)}); give files in its place"
        ) from failure
