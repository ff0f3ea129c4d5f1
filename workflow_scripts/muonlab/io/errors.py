"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """One clear sentence: which field of which file, what is wrong, what is allowed."""


def first_line(failure: Exception) -> str:
    """The first line of what a library says, or its kind of failure where it says nothing."""
    return next(iter(str(failure).splitlines()), type(failure).__name__)
