"""Tokenizers: trains a byte-level BPE or loads a given tokenizer, and turns text into token
numbers."""

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from muonlab.io.errors import UserError, first_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
# Names that published tokenizers use for the token that ends a text.
KNOWN_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eot_id|>", "[SEP]")
PATIENCE = 10  # seconds to wait for the first answer of the hub
PIECE = 2**18  # characters that are encoded at a time, to bound memory


def use_threads(threads: int) -> None:
    """Limits the tokenizers' thread pool to `threads`. Has an effect only before its first use."""
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> "Tokenizer":
    """A byte-level BPE (Sennrich et al., arXiv 1508.07909; on bytes as in GPT-2) of `vocab_size`
    entries, including the 256 bytes and the end-of-text token.

    There are fewer entries if the texts have too few different pairs of symbols. The same texts
    give the same tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    return tokenizer


def read_tokenizer(path: Path) -> "Tokenizer":
    """The tokenizer in a tokenizer.json. Raises UserError if the file is not one."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as failure:  # the package raises bare Exceptions
        reason = next(iter(str(failure).splitlines()), type(failure).__name__)
        raise UserError(f"{path}: is not a tokenizer.json ({reason})") from failure


class Encoder:
    """Turns text into token numbers with one tokenizer, and back.

    Text that spells a special token, such as the end of text, is encoded as ordinary text, so only
    the real end of a document gets that token. Nothing is added, padded or truncated.
    """

    def __init__(self, tokenizer: "Tokenizer", place: str):
        self.tokenizer = tokenizer
        self.saved = tokenizer.to_str(pretty=True)
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        numbers = tokenizer.get_vocab(with_added_tokens=True)
        end = next((name for name in KNOWN_ENDS if name in numbers), None)
        if end is None:
            raise UserError(
                f"{place}: the tokenizer has no end of text; it must have one of the tokens "
                f"{', '.join(KNOWN_ENDS)}"
            )
        self.end_of_text, self.vocab = numbers[end], max(numbers.values()) + 1
        self.dtype = np.dtype("<u2" if self.vocab <= 2**16 else "<u4")
        # The tokenizer keeps only special tokens out of ordinary text.
        added = json.loads(self.saved).get("added_tokens") or []
        if not any(token["content"] == end and token["special"] for token in added):
            raise UserError(f"{place}: the tokenizer's {end} is not marked as a special token")

    def encode(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """The token numbers (n,) of each document, without the end of text.

        A text longer than PIECE characters is encoded in pieces that end at line ends. Short texts
        are encoded together, on all threads of the pool.
        """
        for group in grouped(texts):
            pieces = [list(cut_lines(text)) for text in group]
            encoded = self.tokenizer.encode_batch_fast(sum(pieces, []), add_special_tokens=False)
            numbers = (np.array(piece.ids, dtype=self.dtype) for piece in encoded)
            for parts in pieces:
                yield np.concatenate(list(islice(numbers, len(parts))))

    def decode(self, tokens: np.ndarray) -> str:
        return self.tokenizer.decode(tokens.tolist(), skip_special_tokens=False)


def grouped(texts: Iterable[str], size: int = PIECE) -> Iterator[list[str]]:
    """The texts in lists; a list ends with the text that brings it to `size` characters or more."""
    group, held = [], 0
    for text in texts:
        group.append(text)
        held += len(text)
        if held >= size:
            yield group
            group, held = [], 0
    if group:
        yield group


def cut_lines(text: str, size: int = PIECE) -> Iterator[str]:
    """The text in pieces of at most `size` characters, each cut after its last line end if it has
    one."""
    start = 0
    while len(text) - start > size:
        end = text.rfind("\n", start, start + size) + 1 or start + size
        yield text[start:end]
        start = end
    yield text[start:]


def hub_tokenizer(name: str, place: str) -> Path:
    """The tokenizer.json of a model on the hub, or from the local cache if the hub does not
    answer."""
    from huggingface_hub import HfApi, hf_hub_download

    try:
        # Without a network the libraries retry for 23 seconds, so one quick request comes first.
        commit = HfApi().model_info(name, timeout=PATIENCE).sha
        return Path(hf_hub_download(name, "tokenizer.json", revision=commit))
    except Exception as failure:
        try:
            return Path(hf_hub_download(name, "tokenizer.json", local_files_only=True))
        except Exception:
            raise UserError(
                f"{place}: the tokenizer {name} cannot be downloaded from the hub "
                f"({first_line(failure)}); give the path of a tokenizer.json instead"
            ) from failure
