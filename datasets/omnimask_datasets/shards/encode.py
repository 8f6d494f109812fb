"""Encoding of samples as members of a tar file. Decoding restores the values."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from omnimask.files import key_problem
from omnimask_datasets.rows import LABEL
from omnimask_datasets.shards.names import FIELDS, field_of, is_refused, split_name

_KNOWN = frozenset(ending for endings in FIELDS.values() for ending in endings)
_DECODED = frozenset({"json", "cls", "npy"})
_OPAQUE = "bin"


def encode(key: str, sample: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the bytes of a sample's fields by ending. None values are skipped.

    ``bytes`` keep the key's ending (``cat/1.jpg``) if it belongs to the field; otherwise the ending follows the field's name. An
    integer label becomes ``cls``, text in the field of ``txt`` stays text, arrays become ``npy``, and everything else JSON.

    Raises:
        ValueError: a value has an unsupported type, or a field's name cannot be a file ending.
    """
    members: dict[str, bytes] = {}
    for field, value in sample.items():
        if value is None:
            continue
        if not re.fullmatch(r"[a-z0-9_-]+", field):
            raise ValueError(f"the field {field!r} cannot be a file extension; use a to z, 0 to 9, _ and -")
        ending, data = _member(key, field, value)
        if is_refused(ending):
            raise ValueError(
                f"the field {field!r} has the extension of files that may contain pickles, which are not allowed "
                "in shards; rename it"
            )
        members[ending] = data
    if not members:
        raise ValueError("no field can be written")
    return members


def key_in_shard(key: str) -> str:
    """Return a key in a valid form for members: without the ending of a known file type, and without other dots.

    Raises:
        ValueError: nothing is left of the key, or it cannot be encoded as UTF-8.
    """
    *folders, name = key.split("/")
    stem, dot, ending = name.rpartition(".")
    return without_dots("/".join([*folders, stem if dot and stem and ending.lower() in _KNOWN else name]))


def without_dots(key: str) -> str:
    """Return a key in a valid form for members: dots of the last part, control characters and backslashes become ``_``.

    Raises:
        ValueError: nothing is left of the key, or it cannot be encoded as UTF-8.
    """
    if (problem := key_problem(key)) is not None:
        raise ValueError(problem)
    *folders, name = key.split("/")
    parts = ["_" if part in (".", "..") else part for part in (*folders, name.replace(".", "_")) if part]
    found = "/".join(re.sub(r"[\x00-\x1f\x7f\\]", "_", part) for part in parts)
    if split_name(f"{found}.x") != (found, "x"):
        raise ValueError(f"the key {key!r} cannot be the name of a member of a tar file")
    return found


def _member(key: str, field: str, value: Any) -> tuple[str, bytes]:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return _ending_of_bytes(key, field), value
    if isinstance(value, str) and field_of("txt") == field:
        return "txt", value.encode("utf-8")
    if isinstance(value, int) and not isinstance(value, bool) and field == LABEL:
        return "cls", b"%d" % value
    if isinstance(value, np.ndarray):
        stream = io.BytesIO()
        np.save(stream, value, allow_pickle=False)
        return f"{field}.npy", stream.getvalue()
    try:
        return f"{field}.json", json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the field {field!r} contains a {type(value).__name__} that cannot be written: {error}; choose other "
            "fields (columns=[...], if the data set has that option), or store it as text"
        ) from error


def _ending_of_bytes(key: str, field: str) -> str:
    ending = PurePosixPath(key).suffix.lower().removeprefix(".")
    if ending in _KNOWN and ending not in _DECODED and field_of(ending) == field:
        return ending
    return f"{field}.{_OPAQUE}"
