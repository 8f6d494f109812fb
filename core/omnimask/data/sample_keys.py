"""The rule for keys of samples, which every data set and every writer follows. Imports no torch."""

from __future__ import annotations


def key_problem(key: object) -> str | None:
    """Return why a value cannot be the key of a sample; None where it can.

    A key is a text that is not empty and that UTF-8 can write. The bytes of file names that are no UTF-8, as Python escapes them,
    are allowed; half of a surrogate pair, which JSON can spell, is not.
    """
    if not isinstance(key, str):
        return f"a key is a text, not {type(key).__name__}"
    if not key:
        return "a key is a text that is not empty"
    try:
        key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        return f"the key {key!a} holds half of a character at {error.start}, which has no UTF-8"
    return None
