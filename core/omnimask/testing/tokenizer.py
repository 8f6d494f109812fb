"""Contracts of tokenizers and decoders."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from omnimask.data.border import Breach, check_field_values
from omnimask.interfaces import (
    CountsShape,
    Decoder,
    Draw,
    LeavesOutFields,
    PartColumns,
    ReadsShape,
    Shortens,
    Splits,
    SplitsMany,
    Tokenizer,
    TokenizesColumns,
    TokenizesMany,
    Tokens,
    TokenSpec,
)
from omnimask.testing.requirements import DRAW, disturb_global_randomness, require, require_picklable, require_value_error, same


class TokenizerContract(ABC):
    """Contract of a tokenizer. Subclasses implement :meth:`tokenizer` and :meth:`raw_values`, preferably also :meth:`bad_values`.

    Attributes:
        tolerance: largest absolute difference after raw -> tokens -> raw (0: equal); None if tokens lose information on purpose.
    """

    tolerance: ClassVar[float | None] = 0.0

    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer, built as in a recipe: ``MyTokenizer(Context(), ...)``."""

    @abstractmethod
    def raw_values(self) -> Sequence[Any]:
        """Return a few raw values, including the shortest legal one, which a round trip must reproduce."""

    def bad_values(self) -> Mapping[str, Any]:
        """Return raw values that must raise ``ValueError``, by their defect."""
        return {}

    def is_same(self, raw: Any, again: Any) -> bool:
        """Return whether a round trip reproduced a raw value. Override it for values other than arrays, strings and numbers.

        NaN equals NaN: ``bad_values`` decides whether NaN is rejected. This also determines whether the tokenizer changed its
        input.
        """
        if isinstance(raw, str | bytes):
            return raw == again
        left, right = np.asarray(raw), np.asarray(again)
        if left.shape != right.shape and left.size == right.size:
            left, right = left.squeeze(), right.squeeze()
        if left.shape != right.shape:
            return False
        if left.dtype.kind not in "biuf":
            return bool(np.array_equal(left, right))
        left, right = left.astype(np.float64), right.astype(np.float64)
        return bool(np.allclose(left, right, rtol=0, atol=self.tolerance or 0, equal_nan=True))

    def test_round_trip(self) -> None:
        if self.tolerance is None:
            return
        tokenizer = self.tokenizer()
        for number, raw in enumerate(self.raw_values()):
            again = tokenizer.decode(tokenizer(raw, DRAW))
            require(
                self.is_same(raw, again),
                f"raw value {number}: decode(tokens) returns {again!r} for {raw!r}; make decode the inverse, "
                "raise `tolerance`, or set it to None if tokens lose information on purpose",
            )

    def test_deterministic_per_draw(self) -> None:
        tokenizer = self.tokenizer()
        for raw in self.raw_values():
            first = tokenizer(raw, DRAW)
            disturb_global_randomness(1)
            tokenizer(raw, Draw(seed=1, epoch=2, key="another"))
            require(
                same(first, tokenizer(raw, DRAW)),
                "one draw gave two results; take every random number from draw.rng(...) or draw.uniform(...), and keep no state",
            )

    def test_count_agrees(self) -> None:
        tokenizer = self.tokenizer()
        for raw in self.raw_values():
            length = len(tokenizer(raw, DRAW))
            counts = {"raw": tokenizer.count(raw), "None": tokenizer.count(None)}
            if isinstance(tokenizer, CountsShape):
                counts["raw.shape, by count_of_shape"] = tokenizer.count_of_shape(np.shape(raw))
            for argument, count in counts.items():
                require(
                    count is None or count == length,
                    f"count({argument}) is {count}, but there are {length} tokens; return None if the number is unknown",
                )

    def test_tokens_agree_with_the_spec(self) -> None:
        tokenizer = self.tokenizer()
        spec = tokenizer.spec
        require(
            (spec.vocabulary is None) != (spec.width is None),
            "the spec needs either a vocabulary (ids) or a width (continuous content)",
        )
        for raw in self.raw_values():
            check_tokens(tokenizer(raw, DRAW), spec)

    def test_raw_values_are_not_changed(self) -> None:
        tokenizer = self.tokenizer()
        for number, (raw, before) in enumerate(zip(self.raw_values(), self.raw_values(), strict=True)):
            require(
                self.is_same(before, raw),
                f"raw value {number}: two calls of raw_values() differ, or is_same does not support their type; "
                "return the same values at every call, and override is_same for values other than arrays, "
                "strings or numbers",
            )
            tokenizer(raw, DRAW)
            require(self.is_same(before, raw), f"raw value {number}: the tokenizer changed its input; work on a copy")

    def test_picklable(self) -> None:
        tokenizer = self.tokenizer()
        again = require_picklable(tokenizer, "the tokenizer")
        for raw in self.raw_values():
            require(same(tokenizer(raw, DRAW), again(raw, DRAW)), "a pickled tokenizer differs from the original")

    def test_bad_values_are_value_errors(self) -> None:
        tokenizer = self.tokenizer()
        for name, raw in self.bad_values().items():
            require_value_error(lambda raw=raw: tokenizer(raw, DRAW), f"bad raw value {name!r}")

    def test_parts_are_what_they_say(self) -> None:
        """Check the splitting of long values: the parts are in order and have the announced numbers of tokens."""
        tokenizer = self.tokenizer()
        if not isinstance(tokenizer, Splits):
            return
        for number, raw in enumerate(self.raw_values()):
            parts = list(tokenizer.split(raw))
            ends = [stop for _, stop, _ in parts]
            require(
                all(start < stop for start, stop, _ in parts) and ends == sorted(set(ends)),
                f"raw value {number}: the parts {parts} are not in order",
            )
            for start, stop, count in parts:
                length = len(tokenizer(tokenizer.part(raw, start, stop), DRAW))
                require(
                    length == count,
                    f"raw value {number}: part ({start}, {stop}) has {length} tokens, but {count} according to split",
                )

    def test_many_values_are_split_like_each_alone(self) -> None:
        """Check that ``split_many`` agrees with ``split``, whatever other values are split with it."""
        tokenizer = self.tokenizer()
        if not isinstance(tokenizer, SplitsMany):
            return
        raws = [*self.raw_values(), *self.raw_values()]
        alone = [list(tokenizer.split(raw)) for raw in raws]
        together = [list(parts) for parts in tokenizer.split_many(raws)]
        for number, (one, other) in enumerate(zip(alone, together, strict=True)):
            require(one == other, f"raw value {number} has the parts {one} alone, but {other} according to split_many")
        require(not tokenizer.split_many([]), "split_many of no values must return nothing")
        for name, raw in self.bad_values().items():
            try:
                parts = list(tokenizer.split(raw))
            except ValueError:
                require_value_error(
                    lambda raw=raw: tokenizer.split_many([*raws, raw]), f"split_many with the bad raw value {name!r}"
                )
            else:  # an empty value has no parts
                found = list(tokenizer.split_many([*raws, raw])[-1])
                require(found == parts, f"bad raw value {name!r} has the parts {parts} alone, but {found} according to split_many")

    def test_many_values_are_tokenized_like_each_alone(self) -> None:
        """Check that ``tokenize_many`` returns the parts of ``split``, and for each the tokens of any draw."""
        tokenizer = self.tokenizer()
        if not isinstance(tokenizer, TokenizesMany):
            return
        raws = [*self.raw_values(), *self.raw_values()]
        together = tokenizer.tokenize_many(raws)
        require(len(together) == len(raws), f"tokenize_many of {len(raws)} values returned {len(together)} lists of parts")
        for number, (raw, found) in enumerate(zip(raws, together, strict=True)):
            parts = list(tokenizer.split(raw)) if isinstance(tokenizer, Splits) else [(0, 0, 0)]
            require(
                [part[:2] for part in found] == [part[:2] for part in parts],
                f"raw value {number} has the parts {parts}, but tokenize_many returned {[part[:2] for part in found]}",
            )
            for start, stop, tokens in found:
                value = tokenizer.part(raw, start, stop) if isinstance(tokenizer, Splits) else raw
                for draw in (DRAW, DRAW.at("another")):
                    require(
                        same(tokens, tokenizer(value, draw)),
                        f"raw value {number}: the part ({start}, {stop}) has other tokens according to tokenize_many; a tokenizer "
                        "with random choices must not offer it",
                    )

    def test_columns_of_many_values_are_their_tokens(self) -> None:
        """Check that ``tokenize_columns`` returns the parts and tokens of ``tokenize_many``, concatenated."""
        tokenizer = self.tokenizer()
        if not isinstance(tokenizer, TokenizesColumns):
            return
        raws = [*self.raw_values(), *self.raw_values()]
        for values in (raws, raws[:1], []):
            columns = tokenizer.tokenize_columns(values)
            wanted = PartColumns.of(tokenizer.tokenize_many(values), tokenizer.spec)
            for name in ("parts", "start", "stop", "lengths", "content", "positions", "fields"):
                found, other = getattr(columns, name), getattr(wanted, name)
                require(
                    same(found, other),
                    f"tokenize_columns of {len(values)} values has {name} {found!r}, but tokenize_many has {other!r}",
                )
        for name, raw in self.bad_values().items():
            try:
                tokenizer.tokenize_many([raw])
            except ValueError:
                require_value_error(
                    lambda raw=raw: tokenizer.tokenize_columns([*raws, raw]), f"tokenize_columns with the bad raw value {name!r}"
                )

    def test_without_the_fields_that_nobody_reads_tokens_are_the_same(self) -> None:
        """Check that ``keeping`` leaves out fields in ``spec`` and in the tokens, and changes nothing else."""
        tokenizer = self.tokenizer()
        if not isinstance(tokenizer, LeavesOutFields):
            return
        fields = tokenizer.spec.fields
        require(tokenizer.keeping(list(fields)).spec == tokenizer.spec, "keeping(all of its fields) must change nothing")
        for names in ([], *([name] for name in fields)):
            kept = tokenizer.keeping(names)
            left = kept.spec.fields
            require(set(names) <= left.keys() <= fields.keys(), f"keeping({names}) has the fields {sorted(left)}")
            require(dataclasses.replace(kept.spec, fields=fields) == tokenizer.spec, f"keeping({names}) changes the spec")
            for number, raw in enumerate(self.raw_values()):
                try:
                    whole = tokenizer(raw, DRAW)
                except ValueError:
                    require_value_error(lambda kept=kept, raw=raw: kept(raw, DRAW), f"keeping({names}) with raw value {number}")
                    continue
                wanted = Tokens(whole.content, whole.positions, {name: whole.fields[name] for name in left})
                require(same(kept(raw, DRAW), wanted), f"raw value {number} has other tokens after keeping({names})")

    def test_what_fits_is_not_shortened(self) -> None:
        """Check that ``shorten`` leaves fitting values unchanged."""
        tokenizer = self.tokenizer()
        if isinstance(tokenizer, Shortens):
            for number, raw in enumerate(self.raw_values()):
                try:
                    before = tokenizer(raw, DRAW)
                except ValueError:
                    continue
                fitting = tokenizer.shorten(raw)
                require(same(before, tokenizer(fitting, DRAW)), f"raw value {number} fits one sample, but shorten changed it")

    def test_declares_what_serves_it(self) -> None:
        tokenizer = self.tokenizer()
        for name in ("decoder", "embedded", "renderer"):
            require(
                hasattr(type(tokenizer), name), f"the class needs an attribute {name}: the name of a registered {name}, or None"
            )
        embedded: Any = inspect.getattr_static(type(tokenizer), "embedded")
        require(
            embedded is None or isinstance(embedded, str | staticmethod),
            "embedded must be the name of a data set, None, or a static method of the tokenizer's options that returns either",
        )


def check_tokens(tokens: Tokens, spec: TokenSpec) -> None:
    """Check content, positions and fields against the specification."""
    content, positions, length = np.asarray(tokens.content), np.asarray(tokens.positions), len(tokens)
    if spec.width is None:
        require(
            content.shape == (length,) and content.dtype.kind in "iu",
            f"ids must be integers of shape ({length},), not {content.dtype} {content.shape}",
        )
        require(
            not length or (content.min() >= 0 and content.max() < (spec.vocabulary or 0)),
            f"ids range from {content.min(initial=0)} to {content.max(initial=0)}, but the spec's vocabulary is {spec.vocabulary}",
        )
    else:
        require(
            content.shape == (length, *spec.width) and content.dtype == np.dtype(spec.dtype),
            f"content must be {spec.dtype} {(length, *spec.width)} as in the spec, not {content.dtype} {content.shape}",
        )
        require(bool(np.isfinite(content).all()), "content contains NaN or infinity; raise ValueError for such values")
    require(
        positions.shape == (length, spec.axes) and positions.dtype == np.float32,
        f"positions must be float32 {(length, spec.axes)}, not {positions.dtype} {positions.shape}",
    )
    for axis, size in enumerate(spec.extent):
        inside = size is None or not length or (positions[:, axis].min() >= 0 and positions[:, axis].max() < size)
        require(bool(inside), f"positions of axis {axis} must be in [0, {size}), the extent of the spec")
    for name, field in spec.fields.items():
        require(name in tokens.fields, f"the spec declares the field {name!r}, but the tokens have {sorted(tokens.fields)}")
        array, full = np.asarray(tokens.fields[name]), ((), (length,), (length, length))[field.arity] + field.shape
        require(
            array.shape == full and array.dtype == np.dtype(field.dtype),
            f"field {name!r} must be {field.dtype} {full}, not {array.dtype} {array.shape}",
        )
        try:
            check_field_values(array, field, f"field {name!r}")
        except Breach as breach:
            raise AssertionError(f"{breach}; a missing value must be NaN in a float field and -1 in an integer field") from breach


class DecoderContract(ABC):
    """Contract of a decoder. Subclasses implement :meth:`decoder` and :meth:`good_files`.

    Bytes of any origin must become a raw value or a ``ValueError``.
    """

    @abstractmethod
    def decoder(self) -> Decoder: ...

    @abstractmethod
    def good_files(self) -> Mapping[str, bytes]:
        """Return the contents of readable files, by name."""

    def test_good_files_are_read_the_same_twice(self) -> None:
        decoder = self.decoder()
        again = require_picklable(decoder, "the decoder")
        for name, data in self.good_files().items():
            require(same(decoder(data), again(data)), f"file {name!r} gives different results when read twice")

    def test_shapes_agree(self) -> None:
        decoder = self.decoder()
        if not isinstance(decoder, ReadsShape):
            return
        for name, data in self.good_files().items():
            told, shape = decoder.shape(data), np.shape(decoder(data))
            require(told == shape, f"file {name!r} decodes to an array of shape {shape}, but shape(data) is {told}")
        for name, data in BAD_FILES.items():
            require_value_error(lambda data=data: decoder.shape(data), f"shape of the bad file {name!r}")

    def test_bad_files_are_value_errors(self) -> None:
        decoder = self.decoder()
        for name, data in BAD_FILES.items():
            require_value_error(lambda data=data: decoder(data), f"bad file {name!r}")

    def test_damaged_files_are_read_or_value_errors(self) -> None:
        decoder = self.decoder()
        rng = DRAW.rng("damage")
        for name, data in self.good_files().items():
            damaged = {f"cut after {share:.0%}": data[: int(len(data) * share)] for share in (0.01, 0.1, 0.5, 0.9, 0.99)}
            for number in range(20):
                changed = bytearray(data)
                changed[int(rng.integers(len(changed)))] ^= int(rng.integers(1, 256))
                damaged[f"one byte changed ({number})"] = bytes(changed)
            for how, damage in damaged.items():
                try:
                    decoder(damage)
                except ValueError:
                    continue
                except Exception as error:
                    raise AssertionError(
                        f"file {name!r}, {how}: raised {type(error).__name__}: {error}; convert exceptions of the "
                        "reader to ValueError"
                    ) from error


BAD_FILES: Mapping[str, bytes] = {
    "empty": b"",
    "one byte": b"\x00",
    "zeros": bytes(4096),
    "noise": DRAW.rng("bad files").bytes(4096),
    "text": b"this file holds a sentence\n" * 50,
    "html": b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>\n",
    "json": b'{"error": "quota exceeded"}',
    "cut png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00",
    "cut jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "cut gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}
"""Files found in real folders under every extension. No media decoder can read any of them."""
