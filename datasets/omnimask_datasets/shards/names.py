"""Names of members: mapping to samples and fields, and decoding of their bytes. Nothing is ever unpickled."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

REFUSED = frozenset({"pyd", "pickle", "pkl", "pck", "pt", "pth", "joblib", "dill", "cloudpickle"})
"""Endings of pickles. Reading a pickle runs the code in it."""

FIELDS: Mapping[str, Sequence[str]] = {
    "image": (
        "apng", "avif", "avifs", "blp", "bmp", "bw", "cur", "dcx", "dds", "dib", "fit", "fits", "flc", "fli", "ftc", "ftu", "gbr",
        "gif", "icb", "icns", "ico", "im", "img", "j2c", "j2k", "jfif", "jp2", "jpc", "jpe", "jpeg", "jpf", "jpg", "jpx", "msp",
        "pbm", "pcd", "pcx", "pgm", "png", "pnm", "ppm", "psd", "pxr", "qoi", "ras", "rgb", "rgba", "sgi", "tga", "tif", "tiff",
        "vda", "vst", "webp", "xbm", "xpm",
    ),
    "audio": ("flac", "wav", "mp3", "ogg", "opus", "m4a", "aac"),
    "video": ("mp4", "mkv", "webm", "avi", "mov", "mpg", "mpeg", "m4v"),
    "text": ("txt", "text", "md"),
    "label": ("cls",),
}  # fmt: skip
"""Field of an ending, unless a recipe specifies one. Any other ending is its own field."""

_MEMBER = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", flags=re.DOTALL)
_META = re.compile(r"__[^/]*__(\..*)?")


def split_name(name: str) -> tuple[str, str] | None:
    """Return key and ending of a member; None for members outside of samples: hidden, without ending, or ``__about the shard__``.

    The ending is everything after the first dot of the file's name, in lower case: ``a/1.left.JPG`` is ``left.jpg`` of ``a/1``.
    """
    found = _MEMBER.fullmatch(name.removeprefix("./"))
    if found is None or _META.fullmatch(name):
        return None
    return found[1], found[2].lower()


def is_refused(ending: str) -> bool:
    """Return whether a member with this ending is a pickle, compressed or not."""
    return not REFUSED.isdisjoint(ending.split("."))


def field_of(ending: str) -> str:
    """Return the field of an ending: ``left`` for ``left.jpg``, else the entry in :data:`FIELDS`, else the ending."""
    first, dot, _ = ending.partition(".")
    if dot:
        return first
    return next((field for field, endings in FIELDS.items() if ending in endings), ending)


def decoder_of(ending: str) -> Callable[[bytes], Any] | None:
    """Return the decoder of an ending: a number, a JSON value or an array, by its last part. None: the value stays ``bytes``.

    The decoder raises ``ValueError`` if the bytes do not match the ending.
    """
    read = _READERS.get(ending.rpartition(".")[2])
    return None if read is None else partial(_decoded, ending, read)


def _decoded(ending: str, read: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return read(data)
    except (ValueError, EOFError, RecursionError) as error:
        raise ValueError(f"a member ending in .{ending} cannot be read: {error}") from error


def _array(data: bytes) -> Any:
    return np.load(io.BytesIO(data), allow_pickle=False)


_READERS: Mapping[str, Callable[[bytes], Any]] = {"cls": int, "json": json.loads, "npy": _array}
