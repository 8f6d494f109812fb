"""A plugin whose components break their interface in one way each, chosen by an option; ``at`` is the sample that is concerned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

import omnimask
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.maskers.random import RandomMasker
from omnimask.interfaces import Context, Draw, FieldSpec, Masking, Sample, Tokens, TokenSpec, View
from omnimask.registry import Registrar

LENGTH, WIDTH = 8, 4
SPECIFICATION = TokenSpec(
    width=(WIDTH,),
    axes=1,
    extent=(LENGTH,),
    fields={"phase": FieldSpec("float32"), "kind": FieldSpec("int64", classes=3), "pairs": FieldSpec("float32", arity=2)},
)


def tokens(content: Any = None) -> Tokens:
    made = np.ones((LENGTH, WIDTH), np.float32) if content is None else content
    fields = {"phase": np.zeros(LENGTH, np.float32), "kind": np.ones(LENGTH, np.int64)}
    return Tokens(made, np.arange(LENGTH, dtype=np.float32)[:, None], {**fields, "pairs": np.zeros((LENGTH, LENGTH), np.float32)})


def _with_field(name: str, value: Any) -> Tokens:
    whole = tokens()
    return dataclasses.replace(whole, fields={**whole.fields, name: value})


def _filled(shape: tuple[int, ...], place: tuple[int, ...], value: float, dtype: str = "float32") -> np.ndarray:
    array = np.zeros(shape, dtype)
    array[place] = value
    return array


TOKENIZED = {
    "no tokens object": lambda: np.zeros((LENGTH, WIDTH)),
    "None": lambda: None,
    "positions of two axes": lambda: dataclasses.replace(tokens(), positions=np.zeros((LENGTH, 2), np.float32)),
    "positions without an axis": lambda: dataclasses.replace(tokens(), positions=np.arange(LENGTH, dtype=np.float32)),
    "position beyond the extent": lambda: dataclasses.replace(tokens(), positions=np.arange(1.0, LENGTH + 1)[:, None]),
    "position NaN": lambda: dataclasses.replace(tokens(), positions=_filled((LENGTH, 1), (2, 0), np.nan)),
    "content too wide": lambda: tokens(np.ones((LENGTH, WIDTH + 1), np.float32)),
    "content one row short": lambda: tokens(np.ones((LENGTH - 1, WIDTH), np.float32)),
    "content infinite": lambda: tokens(_filled((LENGTH, WIDTH), (3, 1), np.inf)),
    "content of text": lambda: tokens(np.full((LENGTH, WIDTH), "a")),
    "content overflows": lambda: tokens(np.full((LENGTH, WIDTH), 1e300)),
    "field missing": lambda: dataclasses.replace(tokens(), fields={"kind": np.ones(LENGTH, np.int64)}),
    "field one row short": lambda: _with_field("phase", np.zeros(LENGTH - 1, np.float32)),
    "field of pairs not square": lambda: _with_field("pairs", np.zeros((LENGTH, LENGTH - 1), np.float32)),
    "field infinite": lambda: _with_field("phase", np.full(LENGTH, -np.inf, np.float32)),
    "class beyond the last": lambda: _with_field("kind", np.full(LENGTH, 3)),
    "classes as fractions": lambda: _with_field("kind", np.full(LENGTH, 0.5)),
}


class Tokenizer:
    decoder: ClassVar[str | None] = None
    embedded: ClassVar[str | None] = "breaching.data"
    renderer: ClassVar[str | None] = None

    def __init__(self, context: Context, *, breach: str = "", at: str = "") -> None:
        self.breach, self.at = breach, at

    @property
    def spec(self) -> TokenSpec:
        return SPECIFICATION

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        if isinstance(raw, Exception):
            raise raw
        return TOKENIZED[self.breach]() if self.breach and self.at in ("", draw.key) else tokens()

    def decode(self, tokens: Tokens) -> Any:
        return np.asarray(tokens.content)

    def count(self, raw: Any) -> int:
        return LENGTH


class Ids(Tokenizer):
    """The same with ids instead of content."""

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=10)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        ids: Any = np.full(LENGTH, 9)
        if self.breach and self.at in ("", draw.key):
            ids[0] = {"id beyond the vocabulary": 10, "id negative": -1, "ids as fractions": 0}[self.breach]
            ids = ids + 0.5 if self.breach == "ids as fractions" else ids
        return Tokens(ids, np.arange(LENGTH, dtype=np.float32)[:, None])


def _masked(**changes: Any) -> Any:
    is_target = np.arange(LENGTH) % 2 == 0
    return dataclasses.replace(Masking(~is_target, is_target), **changes)


MASKED = {
    "None for a masking": lambda: None,
    "is_target one short": lambda: _masked(is_target=np.ones(LENGTH - 1, bool)),
    "is_visible of numbers": lambda: _masked(is_visible=np.ones(LENGTH)),
    "unit below -1": lambda: _masked(unit=np.full(LENGTH, -2)),
    "weight NaN": lambda: _masked(weight=np.full(LENGTH, np.nan, np.float32)),
    "weight negative": lambda: _masked(weight=np.full(LENGTH, -1, np.float32)),
    "level beyond 1": lambda: _masked(level=1.5),
    "groups miss a target": lambda: _masked(groups=np.zeros((2, LENGTH), bool)),
}


class Masker:
    def __init__(self, context: Context, *, breach: str = "", at: str = "") -> None:
        self.breach, self.at = breach, at
        self.whole = RandomMasker(context, ratio=0.5)

    def __call__(self, tokens: Tokens, draw: Draw) -> Masking:
        if self.breach == "raises KeyError":
            raise KeyError("ratio")
        if self.breach == "nothing":
            return Masking(np.ones(len(tokens), bool), np.zeros(len(tokens), bool))
        return MASKED[self.breach]() if self.breach and self.at in ("", draw.key) else self.whole(tokens, draw)


class JointMasker:
    """Masks all modalities, but leaves out the last one."""

    def __init__(self, context: Context) -> None:
        self.names = list(context.modalities)

    def __call__(self, sample: Sample) -> Mapping[str, Masking]:
        return {name: _masked() for name in self.names[:-1]}


def _moved(view: View, **changes: Any) -> View:
    return dataclasses.replace(view, context=dataclasses.replace(view.context, **changes))


def _answering(view: View, **changes: Any) -> View:
    return _moved(view, targets=dataclasses.replace(view.context.targets, **changes))


def _prefixed(view: View, prefix: Any) -> Any:
    return dataclasses.replace(view.context.layout, attention="ranked", prefix=prefix)


def _said(view: View, literal: int) -> View:
    table = view.context.targets
    return _answering(view, literal=np.full(len(table), literal), of=np.full(len(table), -1))


CORRUPTED = {
    "no view": lambda view: view.context,
    "source beyond the sample": lambda view: _moved(view, source=view.context.source + 1),
    "literal beyond the specials": lambda view: _moved(view, literal=np.full(LENGTH, 7)),
    "rank one short": lambda view: _moved(view, rank=np.zeros(LENGTH - 1, np.int64)),
    "stream position NaN": lambda view: _moved(view, positions=np.full((LENGTH, 1), np.nan, np.float32)),
    "modality unknown": lambda view: _moved(view, modality=np.full(LENGTH, 4)),
    "target beyond the stream": lambda view: _answering(view, at=view.context.targets.at + LENGTH),
    "answer beyond the sample": lambda view: _answering(view, of=view.context.targets.of + LENGTH),
    "target weight infinite": lambda view: _answering(view, weight=np.full(len(view.context.targets), np.inf, np.float32)),
    "field of pairs not square in the view": lambda view: dataclasses.replace(view, fields={"pairs": np.zeros((LENGTH, 7))}),
    "field unknown to the tokens": lambda view: dataclasses.replace(view, fields={"angles": np.zeros(LENGTH)}),
    "answer without an output": lambda view: _said(view, 10),
    "answer beyond all ids": lambda view: _said(view, 11),
    "prefix beyond the ranks": lambda view: _moved(view, layout=_prefixed(view, np.array([3]))),
    "prefix beyond the sequence": lambda view: _moved(view, layout=_prefixed(view, np.array([LENGTH + 1]))),
    "prefix of two sequences": lambda view: _moved(view, layout=_prefixed(view, np.array([3, 3]))),
    "a row too few": lambda view: _answering(view, of=view.context.targets.of[1:]),
}


class Corruptor(MaskToken):
    def __init__(self, context: Context, *, breach: str = "", at: str = "") -> None:
        super().__init__(context)
        self.breach, self.at = breach, at

    def __call__(self, sample: Sample, masking: Mapping[str, Masking]) -> Any:
        view = super().__call__(sample, masking)
        return CORRUPTED[self.breach](view) if self.breach and self.at in ("", sample.draw.key) else view


ODD = {"OverflowError": OverflowError, "KeyError": KeyError, "Exception": Exception}


class Data:
    """Sixty samples; that named ``s3`` raises, or makes the tokenizer raise, what ``raises`` names."""

    def __init__(self, context: Context, *, breach: str = "", raises: str = "", where: str = "dataset") -> None:
        self.breach, self.raises, self.where = breach, raises, where

    def __len__(self) -> int:
        return 60

    def key(self, index: int) -> str:
        return f"s{index}"

    def __getitem__(self, index: int) -> Any:
        if index == 3 and self.raises:
            if self.where == "dataset":
                raise ODD[self.raises]("odd")
            return {"wave": ODD[self.raises]("odd")}
        return [1.0] if self.breach == "no mapping" else {"wave": 1.0, "other": 1.0}

    def fingerprint(self) -> str:
        return "sixty"


@omnimask.hookimpl
def omnimask_register(registry: Registrar) -> None:
    registry.add_tokenizer("breaching.tokens", Tokenizer)
    registry.add_tokenizer("breaching.ids", Ids)
    registry.add_masker("breaching.masker", Masker)
    registry.add_joint_masker("breaching.joint", JointMasker)
    registry.add_corruptor("breaching.corruptor", Corruptor)
    registry.add_dataset("breaching.data", Data)
