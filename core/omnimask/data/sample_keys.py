"""Rule for sample keys, shared by all data sets and writers. Imports no torch."""

from __future__ import annotations


def key_problem(key: object) -> str | None:
    """Return why a value cannot be the key of a sample, or None if it can.

    A key is a non-empty string that can be encoded as UTF-8. File names that are not UTF-8, as Python escapes their bytes, are
    allowed. Half of a surrogate pair, possible in JSON, is not.
    """
    if not isinstance(key, str):
        return f"a key must be a string, not {type(key).__name__}"
    if not key:
        return "a key must not be empty"
    try:
        key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        return f"the key {key!a} contains a lone surrogate at {error.start}, which is not valid UTF-8"
    return None
