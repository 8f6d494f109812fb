"""Samples given by a user: a file, or typed text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from omnimask.builder.build import Built
from omnimask.data.fields import FieldNames, names_of
from omnimask.data.part_index import scan_parts
from omnimask.data.pipeline import Pipeline
from omnimask.data.planner import Place
from omnimask.data.sample_parts import SampleParts
from omnimask.errors import UserError
from omnimask.interfaces import SPECIAL, Dataset, ReadsSpelled, Sample, Tokenizer, Tokens, TokenSpec
from omnimask.report.pieces import as_text
from omnimask.run.exact_masks import MASK, shows_masks, with_shown_masks
from omnimask.run.figures import read_samples

TYPED = "input"
"""Key of a typed sample."""


@dataclasses.dataclass(frozen=True)
class Given:
    """Samples, with their pipeline for masking and packing; ``is_file`` is False for typed ones."""

    samples: list[Sample]
    pipeline: Pipeline
    is_file: bool


def given_samples(built: Built, given: str, modality: str | None = None, count: int = 1) -> Given:
    """Return the samples of a file, or of a typed raw value of a modality whose tokens are ids.

    If samples show the tokenizer's mask token, exactly these tokens are hidden and predicted. A file without such masks is masked
    as in training, ``count`` times; for typed samples this is an error.

    Args:
        built: with the pipelines of the run.
        given: a file's name, else typed text.
        modality: of the input, if a run has several.
        count: number of different maskings of a file.

    Raises:
        UserError: the file is missing or unreadable, the text is empty or shows no mask, or ``modality`` is missing in a run with
            several.
    """
    name = _which(built, given, modality)
    spec, file = built.specs[name], Path(given)
    is_file = _is_file(file)
    if not is_file and spec.vocabulary is None:
        raise UserError(f"--input: {given} does not exist")
    if not is_file and not given.strip():
        raise UserError("--input: the text is empty")
    if not is_file and (byte := _foreign(given)) is not None:
        raise UserError(f"--input: not a file, and not valid UTF-8 text (byte {byte:#04x})")
    pipeline = one_file(built, file, name) if is_file else _typed(built, name, given)
    whole = read_samples(pipeline, [Place(0, 0, index, 0.0) for index in range(len(pipeline.dataset))], len(pipeline.dataset))
    shown = [sample for sample in whole if shows_masks(sample, built.specs)]
    if shown:
        return Given(shown, with_shown_masks(built, pipeline), is_file)
    if not is_file:
        raise UserError(_no_mask(given, spec, built.tokenizers[name]))
    return Given(read_samples(pipeline, [Place(epoch, 0, 0, 0.0) for epoch in range(count)], count), pipeline, is_file)


def one_file(built: Built, file: Path, modality: str | None) -> Pipeline:
    """Return a pipeline over a single file of the user's, read like one of the data set's.

    Raises:
        UserError: the file is missing or empty, or ``modality`` is missing in a run with several.
    """
    name = _which(built, str(file), modality)
    if not file.is_file():
        raise UserError(f"--input: {file} does not exist")
    return _pipeline(built, name, _Value(file, file.name, _field(built, name)))


def _which(built: Built, given: str, modality: str | None) -> str:
    names = list(built.recipe.modalities)
    if modality is None and len(names) > 1:
        raise UserError(f"--input: several modalities can read {given}; choose one: --modality {' | '.join(names)}")
    if modality is not None and modality not in names:
        raise UserError(f"--modality: this run has no {modality!r}; it has {', '.join(names)}")
    return modality or names[0]


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # a long text isn't a valid file name
        return False


def _field(built: Built, name: str) -> FieldNames:
    return built.recipe.modalities[name].field


def _typed(built: Built, name: str, text: str) -> Pipeline:
    """Return a pipeline over one typed text, in which special tokens may be spelled."""
    reader = built.validation.modalities[name]
    if isinstance(reader.tokenizer, ReadsSpelled):
        reader = dataclasses.replace(reader, tokenizer=reader.tokenizer.reading_spelled())
        readers = {**built.validation.modalities, name: reader}
        built = dataclasses.replace(built, validation=dataclasses.replace(built.validation, modalities=readers))
    return _pipeline(built, name, _Value(text, TYPED, _field(built, name)))


def _pipeline(built: Built, name: str, dataset: Dataset) -> Pipeline:
    """Return a pipeline over one sample, or over its parts if the run splits samples."""
    if isinstance(built.dataset, SampleParts):
        reader = built.validation.modalities[name]
        dataset = SampleParts(dataset, reader, scan_parts(dataset, reader))
        if not len(dataset):
            raise UserError(f"--input: {dataset.dataset.key(0)} is empty")
    return dataclasses.replace(built.validation, dataset=dataset)


@dataclasses.dataclass(frozen=True)
class _Value:
    """Data set with one sample: a file's bytes, or typed text.

    If a modality is read from several fields, the first one has the value, and the others are None.
    """

    value: Path | str
    name: str
    field: FieldNames

    def __len__(self) -> int:
        return 1

    def key(self, index: int) -> str:
        return self.name

    def __getitem__(self, index: int) -> dict[str, Any]:
        raw = self.value.read_bytes() if isinstance(self.value, Path) else self.value
        first, *others = names_of(self.field)
        return {first: raw, **dict.fromkeys(others)}

    def fingerprint(self) -> str:
        return str(self.value)


def _no_mask(given: str, spec: TokenSpec, tokenizer: Tokenizer) -> str:
    """Return the reason why typed text cannot be filled in."""
    start = f"--input: not a file, and as text {_short(given)!r} contains no mask"
    if MASK not in spec.special_ids:
        return f"{start}; the tokenizer has no mask token; give a file, which is masked as in training"
    spelt = spell_special(spec.special_ids[MASK], spec, tokenizer)
    wanted = f"{spelt} (the tokenizer's mask token)" if spelt else "the tokenizer's mask token ([MASK] or <mask> in most)"
    return f"{start}; write {wanted} at each blank, or give a file, which is masked as in training"


def spell_special(number: int, spec: TokenSpec, tokenizer: Tokenizer) -> str:
    """Return a special token as the tokenizer spells it in text; empty if unknown."""
    fields = {SPECIAL: np.zeros(1, bool)} if SPECIAL in spec.fields else {}
    try:
        return as_text(tokenizer.decode(Tokens(np.array([number]), np.zeros((1, spec.axes), np.float32), fields))) or ""
    except (LookupError, TypeError, ValueError):
        return ""


def _foreign(text: str) -> int | None:
    """Return the first byte of a text outside UTF-8, as Python escapes those of the command line."""
    return next((ord(one) - 0xDC00 for one in text if "\udc80" <= one <= "\udcff"), None)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
