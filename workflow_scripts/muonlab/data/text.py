"""Text data sets: from documents to three splits of tokens that share nothing with training.

A prepared corpus is a folder with, for each of `train`, `validation` and `test`, the files of
`tokens.py`, `tokenizer.json`, and `digest.json`, which is written last and says what they hold. The
steps: read and mend documents, leave out duplicates, split by document; train the tokenizer on
training documents, or take the one that is given; encode up to the token budget; count near
duplicates; cut out of validation and test what they share with training.

The same input gives the same bytes. Memory is bounded by the longest document, plus 16 bytes a
document (its digest, its offset), whatever the corpus holds.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain, tee
from pathlib import Path
from typing import TextIO

from muonlab.data.corpus import SPLITS, Document, Reading, Spool, split_documents
from muonlab.data.documents import Mended
from muonlab.data.near_duplicates import near_duplicate_rates
from muonlab.data.sections import Text, opened, place_of
from muonlab.data.spans import SPAN, Cut, cut_out, shared_runs
from muonlab.data.tokenizer import (
    Encoder,
    hub_tokenizer,
    read_tokenizer,
    train_tokenizer,
    use_threads,
)
from muonlab.data.tokens import SplitFiles, TokenWriter
from muonlab.io.atomic import write_json, write_text
from muonlab.io.errors import UserError

# A tokenizer is trained on this much of the training text, taken evenly over what was read.
TOKENIZER_BYTES = 20_000_000
# Where a tokenizer is to be trained for a budget of tokens, this much text a token is read before:
# twice what a token of a large vocabulary stands for.
BYTES_PER_BUDGETED_TOKEN = 8


def prepare(
    name: str,
    config: dict,
    folder: Path,
    threads: int = 1,
    progress: TextIO | None = None,
) -> None:
    """Writes the corpus `name`, described by its section of the config, into `folder`.

    Raises UserError for a source that cannot be read and for splits without documents.
    """
    use_threads(threads)
    work = folder / ".work"
    shutil.rmtree(work, ignore_errors=True)  # of an attempt that was killed
    work.mkdir(parents=True)
    try:
        _prepare(name, opened(config), folder, work, progress)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _prepare(name: str, corpus: Text, folder: Path, work: Path, progress: TextIO | None) -> None:
    mended, reading = Mended(), Reading()
    source, texts = corpus.read(place_of(name), mended)
    documents = split_documents(
        mended.kept(texts), corpus.validation, corpus.test, corpus.split_seed, reading
    )
    encoder, documents = make_encoder(name, corpus, documents, work)
    files = {split: SplitFiles(work, split, encoder.dtype) for split in SPLITS}
    text_bytes = write_splits(documents, files, encoder, corpus.max_tokens, progress)
    _check_splits(name, files, reading.documents)
    held_out = SPLITS[1:]
    near = near_duplicate_rates(
        {split: files[split] for split in held_out}, files["train"], corpus.near_duplicates
    )
    cuts = {split: separate(files[split], files["train"], encoder) for split in held_out}
    _check_splits(name, files, reading.documents, f" once {SPAN}-token spans of training are cut")
    for split in held_out:
        text_bytes[split] -= cuts[split].bytes_removed
    facts = {
        "kind": "text",
        "dataset": name,
        "source": source,
        "read": {
            "documents": reading.documents,
            "bytes": reading.bytes,
            "sha256": reading.sha256,
        },
        "policy": asdict(mended),
        "duplicates_removed": reading.duplicates,
        "near_duplicates": {"jaccard": corpus.near_duplicates, **near},
        "shared_spans": {
            "tokens_in_a_span": SPAN,
            **{split: asdict(cut) for split, cut in cuts.items()},
        },
    }
    write_text(folder / "tokenizer.json", encoder.saved)
    _publish(files, folder)
    write_json(folder / "digest.json", facts | describe(corpus, encoder, files, text_bytes))


def make_encoder(
    name: str, corpus: Text, documents: Iterator[Document], work: Path
) -> tuple[Encoder, Iterator[Document]]:
    """The tokenizer, and the documents that are to be encoded with it.

    To train one, documents are first read into a file: all, or with a token budget as many as it
    can take. A sample of the training documents among them trains it.
    """
    place, given = f"data.{name}.tokenizer", corpus.tokenizer
    if given is None:
        budget = corpus.max_tokens
        spool = Spool(work / "documents")
        spool.fill(documents, None if budget is None else budget * BYTES_PER_BUDGETED_TOKEN)
        if not spool.train_bytes:
            raise UserError(f"data.{name}: no training document was read; take more text")
        tokenizer = train_tokenizer(spool.sample(TOKENIZER_BYTES), corpus.vocab_size)
        return Encoder(tokenizer, place), chain(spool, documents)
    local = corpus.has_tokenizer_file(place_of(name))
    file = Path(given) if local else hub_tokenizer(given, place)
    return Encoder(read_tokenizer(file), place), documents


def write_splits(
    documents: Iterator[Document],
    files: dict[str, SplitFiles],
    encoder: Encoder,
    budget: int | None,
    progress: TextIO | None = None,
) -> dict[str, int]:
    """Encodes the documents into their splits' files; returns the bytes of text of each.

    The document that would exceed the `budget` of tokens, ends of text included, is cut to meet it
    exactly, and no more are read; a cut that would leave an end of text alone drops it.
    """
    text_bytes, written = dict.fromkeys(SPLITS, 0), 0
    with ExitStack() as stack:
        bar = stack.enter_context(_bar(progress, budget))
        writers = [
            stack.enter_context(TokenWriter(files[split], encoder.end_of_text)) for split in SPLITS
        ]
        documents, texts = tee(documents)
        encoded = encoder.encode(text for _, text in texts)
        for (split, text), tokens in zip(documents, encoded, strict=True):
            size = len(text.encode("utf-8"))
            if budget is not None and written + len(tokens) + 1 > budget:
                tokens = tokens[: max(budget - written - 1, 0)]
                size = _text_bytes(encoder)(tokens)
            if len(tokens):
                writers[split].add(tokens)
                text_bytes[SPLITS[split]] += size
                written += len(tokens) + 1
                bar.update(len(tokens) + 1)
            if budget is not None and written + 1 >= budget:
                break
    return text_bytes


def separate(evaluation: SplitFiles, train: SplitFiles, encoder: Encoder) -> Cut:
    """Cuts what `evaluation` shares with `train` out of it, until no SPAN tokens are in both.

    The search is repeated because a cut brings tokens together that were apart; each round removes
    some, so that it ends.
    """
    cut = Cut()
    while len(runs := shared_runs(evaluation, train)):
        cut_out(evaluation, runs, encoder.end_of_text, _text_bytes(encoder), cut)
    return cut


def _text_bytes(encoder: Encoder) -> Callable:
    """Bytes of the text of tokens; where a cut runs through a character, its part counts as the
    three bytes of U+FFFD."""
    return lambda tokens: len(encoder.decode(tokens).encode("utf-8"))


def describe(
    corpus: Text, encoder: Encoder, files: dict[str, SplitFiles], text_bytes: dict[str, int]
) -> dict:
    """What `digest.json` says of tokens and splits; bytes are those of the text that they stand
    for, and ends of text count as tokens."""
    from importlib.metadata import version

    splits = {
        split: {
            "documents": len(part.starts()) - 1,
            "tokens": len(part),
            "bytes": text_bytes[split],
            "sha256": part.sha256(),
        }
        for split, part in files.items()
    }
    return {
        "tokenizer": corpus.tokenizer or "byte-level BPE trained on the training split",
        "vocab": encoder.vocab,
        "dtype": encoder.dtype.name,
        "end_of_text": encoder.end_of_text,
        "bytes_per_token": splits["train"]["bytes"] / splits["train"]["tokens"],
        "splits": splits,
        "packages": {"tokenizers": version("tokenizers")},
    }


def _check_splits(name: str, files: dict[str, SplitFiles], read: int, when: str = "") -> None:
    for split, part in files.items():
        if not len(part):
            raise UserError(
                f"data.{name}: the {split} split is empty{when}: {read} documents were read; take "
                f"more text or give the split a larger fraction"
            )


def _publish(files: dict[str, SplitFiles], folder: Path) -> None:
    """Moves the finished files from their working folder, which is on the same disk."""
    for split, part in files.items():
        place = SplitFiles(folder, split, part.dtype)
        for made, wanted in ((part.tokens, place.tokens), (part.offsets, place.offsets)):
            with open(made, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(made, wanted)
        files[split] = place


def _bar(progress: TextIO | None, budget: int | None):
    """A progress bar over tokens on `progress`, quiet where that is not a terminal."""
    from tqdm import tqdm

    quiet = progress is None or not progress.isatty()
    return tqdm(total=budget, file=progress, disable=quiet, leave=False, unit="token")
