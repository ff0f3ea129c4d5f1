"""The docstrings of the standard library as a text of their own."""

from muonlab.data.documents import Mended
from muonlab.data.sources.stdlib import docstrings, stdlib_documents

SOURCE = b'''"""The module."""

def first():
    """Comes first.

    In two parts.
    """

class Second:
    def third(self):
        """Comes third."""
        text = "no docstring"

    async def fourth(self):
        'Comes fourth.'
'''


def test_docstrings_are_in_the_order_of_their_lines():
    assert docstrings(SOURCE) == (
        "The module.\n\nComes first.\n\nIn two parts.\n\nComes third.\n\nComes fourth."
    )
    assert docstrings(b"x = 1\n") == docstrings(b"def (:") == docstrings(b"x\x00") == ""


def test_the_library_gives_prose_up_to_the_limit_and_the_same_each_time():
    texts = list(stdlib_documents(60_000, Mended(), "docstrings"))
    assert 30_000 < sum(len(text.encode()) for text in texts) <= 60_000
    assert texts == list(stdlib_documents(60_000, Mended(), "docstrings"))
    assert all(texts)
    longer = list(stdlib_documents(90_000, Mended(), "docstrings"))
    assert longer[: len(texts)] == texts
