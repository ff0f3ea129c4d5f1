"""The exception for mistakes that a user can correct."""


class UserError(Exception):
    """Its text is one clear sentence: which field of which file is wrong, why, and what is
    allowed."""


def first_line(failure: Exception) -> str:
    """The first line of an exception's message or, if it is empty, the exception's type."""
    return next(iter(str(failure).splitlines()), type(failure).__name__)
