"""Prepares text data sets: documents become three splits of tokens, and validation and test share
no long span with training.

A prepared corpus is a folder with the files of `tokens.py` for each of `train`, `validation` and
`test`, with `tokenizer.json`, and with `digest.json`, which is written last and describes them. The
steps are:

1. Read and clean the documents, leave out duplicates, and assign each document to a split.
2. Train the tokenizer on training documents, or take a given one.
3. Encode the documents, up to the token budget.
4. Count near duplicates.
5. Cut out of validation and test what they share with training.

The same input gives the same bytes. Memory is bounded by the longest document plus 16 bytes per
document (its digest and its offset), however large the corpus is.
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

# A tokenizer is trained on this many bytes of the training text, taken evenly from what was read.
TOKENIZER_BYTES = 20_000_000
# If a tokenizer must be trained and there is a token budget, so many bytes of text per token of the
# budget are read for that: twice what a token of a large vocabulary stands for.
BYTES_PER_BUDGETED_TOKEN = 8


def prepare(
    name: str,
    config: dict,
    folder: Path,
    threads: int = 1,
    progress: TextIO | None = None,
) -> None:
    """Prepares the corpus `name` in `folder`; `config` is its section of the config.

    Raises UserError if the source cannot be read or if a split would be empty.
    """
    use_threads(threads)
    work = folder / ".work"
    shutil.rmtree(work, ignore_errors=True)  # left by an attempt that was killed
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
    after = f" after {SPAN}-token spans that it shares with training were cut out"
    _check_splits(name, files, reading.documents, after)
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
    """The tokenizer, and the documents to encode with it.

    If a tokenizer must be trained, documents are first read into a file: all of them or, with a
    token budget, as many as the budget can need. A sample of the training documents in that file
    trains the tokenizer.
    """
    place, given = f"data.{name}.tokenizer", corpus.tokenizer
    if given is None:
        budget = corpus.max_tokens
        spool = Spool(work / "documents")
        spool.fill(documents, None if budget is None else budget * BYTES_PER_BUDGETED_TOKEN)
        if not spool.train_bytes:
            raise UserError(f"data.{name}: no training document was read; provide more text")
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
    """Encodes the documents into the files of their splits. Returns the bytes of text of each
    split.

    The document that would exceed the `budget` of tokens (end-of-text tokens included) is cut to
    meet it exactly, and no more documents are read. If no token but the end of text would be left
    of it, it is dropped.
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
    """Cuts out of `evaluation` what it shares with `train`, until no span of SPAN tokens is in
    both.

    The search is repeated because a cut joins tokens that were apart before. It ends because each
    repetition removes some tokens.
    """
    cut = Cut()
    while len(runs := shared_runs(evaluation, train)):
        cut_out(evaluation, runs, encoder.end_of_text, _text_bytes(encoder), cut)
    return cut


def _text_bytes(encoder: Encoder) -> Callable:
    """A function that returns the number of bytes of text that tokens stand for. If a cut divides a
    character, each part counts as the three bytes of U+FFFD."""
    return lambda tokens: len(encoder.decode(tokens).encode("utf-8"))


def describe(
    corpus: Text, encoder: Encoder, files: dict[str, SplitFiles], text_bytes: dict[str, int]
) -> dict:
    """What `digest.json` says about the tokenizer and the splits.

    Bytes are those of the text that the tokens stand for; end-of-text tokens count as tokens.
    """
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
                f"data.{name}: the {split} split is empty{when} ({read} documents were read); "
                f"provide more text or give the split a larger fraction"
            )


def _publish(files: dict[str, SplitFiles], folder: Path) -> None:
    """Moves the finished files out of the working folder, which is on the same disk."""
    for split, part in files.items():
        place = SplitFiles(folder, split, part.dtype)
        for made, wanted in ((part.tokens, place.tokens), (part.offsets, place.offsets)):
            with open(made, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(made, wanted)
        files[split] = place


def _bar(progress: TextIO | None, budget: int | None):
    """A progress bar that counts tokens on `progress`; not shown if that is not a terminal."""
    from tqdm import tqdm

    quiet = progress is None or not progress.isatty()
    return tqdm(total=budget, file=progress, disable=quiet, leave=False, unit="token")
