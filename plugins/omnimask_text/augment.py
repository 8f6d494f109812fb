"""Replacement of annotated words before tokenization."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from omnimask.interfaces import Context, Draw
from omnimask_text.tokenize.raw import main_key

Counterparts = Mapping[str, Sequence[str]]
"""Counterparts of an entity by language; the language is empty if a dictionary names none."""


EMBEDDED = Path(__file__).parent / "counterparts.json"
"""Cities, countries and international organisations in German, French and Spanish."""


@dataclass(frozen=True)
class Replacement:
    """Replacement of the characters [start, stop) by ``text``."""

    start: int
    stop: int
    text: str


class EntitySwap:
    """Replacement of annotated entities by counterparts, with shifted annotations (the code-switching of EntityCS [0]).

    For raw values that are mappings with annotations; other values, and texts without the annotation, stay unchanged. An annotated
    span is swapped independently with ``probability`` if its text is in the dictionary. All spans keep their values and order. A
    span that begins or ends inside a swapped one is extended to that one's borders.

    The tokenizer reads the new text as a whole, so counterparts are tokenized in context. A text that becomes too long for a
    sequence is truncated.

    Args:
        dictionary: a JSON file, ``{"Vienna": ["Wien", "Vienne"]}``, or with languages, ``{"Vienna": {"de": "Wien"}}``; then one
            language is drawn per sample, from those of its entities, and entities without a counterpart in it stay. ``embedded`` is
            a small one shipped with omnimask, with the places and international organisations of the data set ``chronicle`` in
            German, French and Spanish.
        annotation: the spans to swap.
        probability: of a swap.

    [0] Whitehouse et al.: EntityCS: Improving Zero-Shot Cross-lingual Transfer with Entity-Centric Code Switching, 2022.
    """

    smoke: ClassVar[Mapping[str, Any]] = {"dictionary": "embedded"}

    def __init__(
        self,
        context: Context,
        *,
        dictionary: Annotated[
            Literal["embedded"] | Path,
            Field(description="JSON file with the counterparts of every entity; embedded: a small one"),
        ],
        annotation: Annotated[str, Field(description="annotation of the spans to swap")] = "entity",
        probability: Annotated[float, Field(gt=0, le=1, description="probability of a swap")] = 1.0,
    ) -> None:
        del context
        self.counterparts = read_dictionary(EMBEDDED if dictionary == "embedded" else Path(dictionary))
        self.annotation, self.probability = annotation, probability

    def __call__(self, raw: Any, draw: Draw) -> Any:
        """Return the raw value with swapped entities.

        Raises:
            ValueError: the annotation has overlapping or invalid spans.
        """
        if not isinstance(raw, Mapping) or not raw.get(self.annotation):
            return raw
        key = main_key(raw)
        if isinstance(raw[key], str):
            return self._swapped({name: raw[name] for name in raw}, key, draw)
        texts = list(raw[key])
        others = [name for name in raw if name != key and raw[name] is not None]
        each = [{key: text, **{name: raw[name][number] for name in others}} for number, text in enumerate(texts)]
        new = [self._swapped(one, key, draw.at("text", number)) for number, one in enumerate(each)]
        return {**raw, **{name: [one[name] for one in new] for name in (key, *others)}}

    def _swapped(self, raw: dict[str, Any], key: str, draw: Draw) -> dict[str, Any]:
        """Swap entities of one text with its annotations."""
        text = raw[key]
        found = [(start, stop, self.counterparts.get(text[start:stop], {})) for start, stop in _spans(raw, self.annotation, text)]
        languages = sorted({language for _, _, known in found for language in known})
        if not languages:
            return raw
        language = languages[int(draw.uniform(1, "language")[0] * len(languages))]
        chance, choice = draw.uniform(2 * len(found), "swaps").reshape(2, -1).tolist()
        swaps = [
            Replacement(start, stop, known[language][int(choice[number] * len(known[language]))])
            for number, (start, stop, known) in enumerate(found)
            if language in known and chance[number] < self.probability
        ]
        swaps.sort(key=lambda swap: swap.start)
        moved = {name: _moved(spans, swaps) for name, spans in raw.items() if name != key and spans is not None}
        return {**raw, key: _replaced(text, swaps), **moved}


def read_dictionary(path: Path) -> dict[str, Counterparts]:
    """Return counterparts by entity and language.

    Raises:
        ValueError: the file cannot be read, or isn't a dictionary; the message names the entity.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"dictionary {path} cannot be read: {error}") from error
    if not isinstance(data, dict) or not data:
        raise ValueError(f'dictionary {path} must be {{"entity": ["counterpart", ...], ...}} or {{"entity": {{"language": ...}}}}')
    return {entity: _by_language(path, entity, found) for entity, found in data.items()}


def _by_language(path: Path, entity: str, found: Any) -> dict[str, list[str]]:
    languages = found if isinstance(found, dict) else {"": found}
    known = {language: [one] if isinstance(one, str) else one for language, one in languages.items()}
    for texts in known.values():
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(f"dictionary {path}: {entity!r} has the counterparts {texts!r}, which must be strings")
    return known


def _spans(raw: Mapping[str, Any], annotation: str, text: str) -> list[tuple[int, int]]:
    """Return [start, stop) of an annotation's spans.

    Raises:
        ValueError: a span is invalid, or overlaps another.
    """
    spans = []
    for span in raw[annotation] or ():
        start, stop = span[:2] if isinstance(span, Sequence) and len(span) >= 2 else (None, None)
        if not isinstance(start, int) or not isinstance(stop, int) or not 0 <= start < stop <= len(text):
            raise ValueError(f"annotation {annotation!r}: {span!r} is not a span of the {len(text)} characters")
        spans.append((start, stop))
    for (_, before), (after, _) in zip(sorted(spans), sorted(spans)[1:], strict=False):
        if before > after:
            raise ValueError(f"annotation {annotation!r} has overlapping spans, at character {after}")
    return spans


def _replaced(text: str, swaps: Sequence[Replacement]) -> str:
    pieces, place = [], 0
    for swap in swaps:
        pieces += [text[place : swap.start], swap.text]
        place = swap.stop
    return "".join([*pieces, text[place:]])


def _moved(spans: Sequence[Any], swaps: Sequence[Replacement]) -> list[list[Any]]:
    """Return spans in the new text."""
    return [[_start(span[0], swaps), _stop(span[1], swaps), *span[2:]] for span in spans]


def _start(place: int, swaps: Sequence[Replacement]) -> int:
    moved = place
    for swap in swaps:
        if swap.stop <= place:
            moved += len(swap.text) - (swap.stop - swap.start)
        elif swap.start < place:
            moved -= place - swap.start
    return moved


def _stop(place: int, swaps: Sequence[Replacement]) -> int:
    moved = place
    for swap in swaps:
        if swap.stop <= place:
            moved += len(swap.text) - (swap.stop - swap.start)
        elif swap.start < place:
            moved += swap.start + len(swap.text) - place
    return moved
