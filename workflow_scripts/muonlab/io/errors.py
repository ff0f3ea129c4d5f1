"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """One clear sentence: which field of which file, what is wrong, what is allowed."""
