"""Manifest of a store, ``store.json``: whose tokens it holds, and how they were made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omnimask.cache import write_whole
from omnimask.errors import UserError
from omnimask.interfaces import FieldSpec, TokenSpec

MANIFEST = "store.json"
_FORMAT = 1


@dataclass(frozen=True)
class StoredModality:
    """How the tokens of one modality were made.

    ``field`` of the data set; ``tokenizer`` and ``decoder`` as in a recipe; ``vocabulary``, the tokenizer's own fingerprint, or an
    empty string; ``spec`` without special tokens.
    """

    field: str | list[str]
    tokenizer: Mapping[str, Any]
    decoder: Mapping[str, Any] | None
    vocabulary: str
    spec: TokenSpec

    @property
    def main_field(self) -> str:
        return self.field if isinstance(self.field, str) else self.field[0]

    def differences(self, other: StoredModality) -> Iterator[tuple[str, Any, Any]]:
        """Yield (name, stored, wanted) of the options of another reading that give other tokens.

        With equal vocabularies, its location does not matter.
        """
        if self.vocabulary != other.vocabulary:
            yield "vocabulary (its digest)", self.vocabulary, other.vocabulary
        left_out = {"path"} if self.vocabulary else set[str]()
        for name in sorted({*self.tokenizer, *other.tokenizer} - left_out):
            if self.tokenizer.get(name) != other.tokenizer.get(name):
                yield f"tokenizer.{name}", self.tokenizer.get(name), other.tokenizer.get(name)


@dataclass(frozen=True)
class Manifest:
    """Contents of ``store.json``.

    ``data`` is the data set as in a recipe, ``fingerprint`` its own, and ``samples`` their number. ``fields`` are kept beside the
    tokens.
    """

    data: Mapping[str, Any]
    fingerprint: str
    samples: int
    modalities: Mapping[str, StoredModality]
    fields: list[str]

    def differences(self, other: Manifest) -> Iterator[tuple[str, Any, Any]]:
        """Yield (name, stored, wanted) of whatever makes the tokens of two manifests differ."""
        for name in ("fingerprint", "samples", "fields"):
            if getattr(self, name) != getattr(other, name):
                yield f"the data's {name}", getattr(self, name), getattr(other, name)
        yield from self.reading_differences(other.modalities)
        for name in self.modalities.keys() & other.modalities.keys():
            before, now = (sorted(each.modalities[name].spec.fields) for each in (self, other))
            if set(before) > set(now):
                yield f"modalities.{name}.fields", before, now

    def reading_differences(self, modalities: Mapping[str, StoredModality]) -> Iterator[tuple[str, Any, Any]]:
        """Yield (name, stored, wanted) of whatever makes the tokens of a recipe's modalities differ."""
        if list(self.modalities) != list(modalities):
            yield "modalities", list(self.modalities), list(modalities)
            return
        for name, stored in self.modalities.items():
            for what, before, now in stored.differences(modalities[name]):
                yield f"modalities.{name}.{what}", before, now
            if not set(modalities[name].spec.fields) <= set(stored.spec.fields):
                yield f"modalities.{name}.fields", sorted(stored.spec.fields), sorted(modalities[name].spec.fields)

    def write(self, folder: Path) -> None:
        """Write the manifest of a store.

        Raises:
            OSError: it cannot be written.
        """
        record = {"omnimask": "token store", "format": _FORMAT, **dataclasses.asdict(self)}
        text = json.dumps(record, indent=1, ensure_ascii=False)
        write_whole(folder / MANIFEST, lambda stream: stream.write(text.encode()))

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Return the manifest of a store.

        Raises:
            UserError: there is no manifest, or it is damaged or of a newer version.
        """
        file = folder / MANIFEST
        try:
            return Manifest.parse(file.read_bytes(), str(file))
        except FileNotFoundError:
            raise UserError(f"{folder} has no {MANIFEST}, so it is not a token store; make one with `omnimask tokenize`") from None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror or error}") from error

    @staticmethod
    def parse(data: bytes, name: str) -> Manifest:
        """Return the manifest in the bytes of the file ``name``.

        Raises:
            UserError: it is damaged or of a newer version.
        """
        try:
            record = json.loads(data)
            if record["format"] > _FORMAT:
                raise UserError(f"{name} has format {record['format']}; this version of omnimask reads {_FORMAT}: update omnimask")
            modalities = {
                key: StoredModality(**{**part, "spec": _spec(part["spec"])}) for key, part in record["modalities"].items()
            }
            return Manifest(record["data"], record["fingerprint"], record["samples"], modalities, record["fields"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{name} is damaged: {error}; remove the folder and tokenize again") from error


def _spec(record: Mapping[str, Any]) -> TokenSpec:
    fields = {
        name: FieldSpec(**{**field, "shape": tuple(field["shape"]), "names": tuple(field["names"])})
        for name, field in cast(Mapping[str, Any], record["fields"]).items()
    }
    tuples = {name: tuple(record[name]) for name in ("extent", "mean", "std", "specials")}
    width = None if record["width"] is None else tuple(record["width"])
    return TokenSpec(**{**record, **tuples, "width": width, "fields": fields})
