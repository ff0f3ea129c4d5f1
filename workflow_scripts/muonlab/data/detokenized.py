"""Documents from a stream of token numbers, for data sets that were published as tokens."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from muonlab.data.tokenizer import KNOWN_ENDS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LONGEST = 2**20  # tokens of a document; one that has not ended by then is cut there


def documents_of(blocks: Iterable[Sequence[int]], tokenizer: "Tokenizer") -> Iterator[str]:
    """The texts between the end-of-text tokens of `blocks`, which are read as one stream.

    A document goes on in the next block if its block does not end with an end of text: blocks are
    usually cut to one length, and the parts of a document must not come into different splits.
    """
    known = tokenizer.get_vocab(with_added_tokens=True)
    ends = {known[name] for name in KNOWN_ENDS if name in known}
    held: list[int] = []
    for block in blocks:
        for token in block:
            if token not in ends:
                held.append(token)
            if held and (token in ends or len(held) == LONGEST):
                yield tokenizer.decode(held, skip_special_tokens=False)
                held = []
    if held:
        yield tokenizer.decode(held, skip_special_tokens=False)
