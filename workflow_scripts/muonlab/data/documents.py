"""Cleans the text of documents before it enters a corpus, and counts the changes.

Bytes that are not UTF-8 become U+FFFD; NUL characters and a byte order mark at the start are
removed; all kinds of line ends become a newline; documents of white space only are dropped. A
broken record is an error, because dropping it would hide that a file is damaged.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Mended:
    """Cleans text, and counts how often each kind of change was made."""

    invalid_utf8_replaced: int = 0
    nuls_removed: int = 0
    empty_documents_dropped: int = 0

    def decode(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("utf-8", errors="replace")
            # A U+FFFD that was already in the text is not counted.
            self.invalid_utf8_replaced += text.count("\ufffd") - raw.count(b"\xef\xbf\xbd")
            return text

    def clean(self, text: str) -> str:
        """The text as it enters the corpus; it can always be encoded as UTF-8."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can contain
            text, replaced = re.subn("[\ud800-\udfff]", "\ufffd", text)
            self.invalid_utf8_replaced += replaced
        self.nuls_removed += text.count("\0")
        text = text.removeprefix("\ufeff").replace("\0", "")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def kept(self, texts: Iterator[str]) -> Iterator[str]:
        """The cleaned texts, without those that contain only white space."""
        for text in texts:
            text = self.clean(text)
            if text and not text.isspace():
                yield text
            else:
                self.empty_documents_dropped += 1
