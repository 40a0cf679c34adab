"""The one exception that says: what was given cannot be used."""


class BadInput(ValueError):  # noqa: N818 - the name says whose error it is
    """Something that was given cannot be used; the message says what it was, what was expected and what to do.

    The scripts turn it into one sentence and exit code 2. `NonFinite`, `LostProcess` and Ctrl-C have codes of their
    own. Any other exception is a mistake of ours and keeps its traceback.
    """
