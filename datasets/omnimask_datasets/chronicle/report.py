"""Reports composed of sentences: a text, and the character spans of its annotations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Literal

from omnimask_datasets.chronicle import world
from omnimask_datasets.chronicle.dice import Dice
from omnimask_datasets.chronicle.sentences import BODIES, CHANNELS, COMMON, LEADS

Class = Literal["person", "place", "organisation"]
CLASSES: tuple[Class, ...] = ("person", "place", "organisation")
_KINDS = {"n": "noun", "v": "verb", "t": "time", "s": "signal"}
_MARK = re.compile(
    r"@(?P<name>\w+?)(?P<made>/n)?(?=\W|$)|\[(?P<words>[^\]]+)\]/(?P<kind>[nvts])|(?P<word>[\w-]+)/(?P<short>[nvs])(?!\w)"
)
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FEW = ("two", "three", "four", "five", "six", "eight", "ten")
_ORDINALS = ("first", "second", "third", "fourth", "fifth")


@dataclass(frozen=True)
class Entity:
    """Name of a person, place or organisation, and its class."""

    text: str
    kind: Class


@dataclass
class Page:
    """Text written so far, and its spans."""

    text: str = ""
    spans: dict[str, list[list[Any]]] = field(
        default_factory=lambda: {"entity": [], "noun": [], "verb": [], "time": [], "signal": []}
    )

    def add(self, text: str, annotation: str = "", *value: str) -> None:
        """Append text, as a span of the annotation if one is named."""
        start = len(self.text)
        self.text += text
        if annotation:
            self.spans[annotation].append([start, len(self.text), *value])


class Report:
    """One report: its day, its characters, and the values of its marks.

    Args:
        number: number of the report; determines everything else.
    """

    def __init__(self, number: int) -> None:
        self.dice = Dice("report", number)
        self.year = world.FIRST_YEAR + number % world.NUM_YEARS
        self.day = date(self.year, 1, 1) + timedelta(days=self.dice.below(365))
        self._known: dict[str, str | Entity] = {}

    def write(self) -> Page:
        """Return four to seven sentences on one topic."""
        dice = self.dice
        topic = dice.one(sorted(LEADS))
        bodies = dice.some(BODIES[topic], dice.between(2, 3))
        chosen = [dice.one(LEADS[topic]), *bodies, *dice.some(COMMON, dice.between(1, 3))]
        page = Page()
        for number, sentence in enumerate(chosen):
            page.add(" " if number else "")
            self._fill(page, sentence)
        return page

    def _fill(self, page: Page, template: str) -> None:
        place = 0
        for mark in _MARK.finditer(template):
            page.add(template[place : mark.start()])
            place = mark.end()
            if name := mark["name"]:
                self._value(page, name, is_noun=mark["made"] is not None)
            elif words := mark["words"]:
                page.add(words.replace("@few", self.dice.one(_FEW)), _KINDS[mark["kind"]])
            else:
                page.add(mark["word"], _KINDS[mark["short"]])
        page.add(template[place:])

    def _value(self, page: Page, name: str, *, is_noun: bool) -> None:
        value = _FRESH[name](self) if name in _FRESH else self._role(name)
        if isinstance(value, Entity):
            page.add("the " if value.text in world.WITH_ARTICLE else "")
            page.add(value.text, "entity", value.kind)
        elif is_noun:
            page.add(value, "noun")
        else:
            self._fill(page, value)

    def _role(self, name: str) -> str | Entity:
        if name not in self._known:
            self._known[name] = _ROLES[name](self)
        return self._known[name]

    def _text(self, name: str) -> str:
        value = self._role(name)
        return value.text if isinstance(value, Entity) else value

    def _in_use(self, eras: Iterable[world.Era], *, other_than: str | None = None) -> str:
        found = world.of_year(tuple(eras), self.year)
        return self.dice.one([text for text in found if other_than is None or text != self._text(other_than)])

    def _office(self, role: str) -> world.Office:
        return {
            "mayor": lambda: ("mayor", self._text("city")),
            "minister": lambda: (self._text("portfolio"), self._text("country")),
            "head": lambda: ("head", self._text("company")),
            "coach": lambda: ("coach", self._text("club")),
            "envoy": lambda: ("envoy", self._text("body")),
        }[role]()

    def _holder(self, role: str) -> Entity:
        return Entity(world.holder(self._office(role), self.year), "person")

    def _since(self, role: str) -> str:
        terms = world.offices()[self._office(role)]
        return f"[{next(term.first for term in terms if term.first <= self.year <= term.last)}]/t"

    def _before(self, role: str) -> Entity:
        return Entity(world.predecessor(self._office(role), self.year), "person")

    def _private(self) -> Entity:
        return Entity(f"{self.dice.one(world.FIRST_NAMES)} {self.dice.one(world.SURNAMES)}", "person")

    def _event(self) -> str:
        return self.dice.one(world.EVENTS.get(self.year, ("the [national championship]/n", "the [spring cup]/n")))

    def _channel(self) -> str:
        return self.dice.one([text for text, first, last in CHANNELS if first <= self.year <= last])

    def _when(self) -> str:
        return self.dice.one((
            f"on/s [{_DAYS[self._before_day().weekday()]}]/t",
            f"on/s [{_DAYS[self._before_day().weekday()]}]/t",
            "[yesterday]/t",
            f"on/s [{self._dated(self._before_day())}]/t",
            f"in/s [{_MONTHS[self.day.month - 1]} {self.year}]/t",
            "[last week]/t",
        ))  # fmt: skip

    def _before_day(self) -> date:
        return self.day - timedelta(days=self.dice.below(5))

    def _dated(self, day: date) -> str:
        return f"{day.day} {_MONTHS[day.month - 1]} {day.year}" if self.dice.below(2) else f"{day.day} {_MONTHS[day.month - 1]}"

    def _count(self) -> str:
        return self.dice.one(
            (str(self.dice.between(2, 9) * 10), f"{self.dice.between(1, 40)},{self.dice.between(1, 9)}00", "three hundred")
        )

    def _money(self) -> str:
        amount = self.dice.one(("two", "twelve", "40", "75", "300"))
        return f"{amount} million {self._in_use(world.CURRENCIES)}/n"

    def _percent(self) -> str:
        return f"{self.dice.between(1, 30)}.{self.dice.below(10)} per cent"


_FRESH: Mapping[str, Callable[[Report], str | Entity]] = {
    "when": Report._when,
    "count": Report._count,
    "money": Report._money,
    "percent": Report._percent,
    "price": lambda report: f"{report.dice.between(8, 90)} {report._in_use(world.CURRENCIES)}/n",
    "score": lambda report: f"{report.dice.between(2, 4)} to {report.dice.below(2)}",
    "past": lambda report: f"[{report.year - report.dice.between(1, 9)}]/t",
    "future": lambda report: f"[{report.year + report.dice.between(1, 4)}]/t",
    "year": lambda report: f"[{report.year}]/t",
    "month": lambda report: f"[{_MONTHS[report.day.month % 12]}]/t",
    "earlier": lambda report: report.dice.one(
        ("[two days ago]/t", "[last month]/t", f"in/s [{_MONTHS[(report.day.month - 2) % 12]}]/t")
    ),
    "next_day": lambda report: f"[{_DAYS[(report.day + timedelta(days=report.dice.between(1, 3))).weekday()]}]/t",
    "ordinal": lambda report: report.dice.one(_ORDINALS),
}
"""Marks with another value every time."""
_ROLES: Mapping[str, Callable[[Report], str | Entity]] = {
    "city": lambda report: Entity(report._in_use(world.CITIES), "place"),
    "city2": lambda report: Entity(report._in_use(world.CITIES, other_than="city"), "place"),
    "country": lambda report: Entity(report._in_use(world.COUNTRIES), "place"),
    "body": lambda report: Entity(report._in_use(world.BODIES), "organisation"),
    "company": lambda report: Entity(report._in_use(world.COMPANIES), "organisation"),
    "company2": lambda report: Entity(report._in_use(world.COMPANIES, other_than="company"), "organisation"),
    "club": lambda report: Entity(report.dice.one(world.CLUBS), "organisation"),
    "club2": lambda report: Entity(report.dice.one([c for c in world.CLUBS if c != report._text("club")]), "organisation"),
    "paper": lambda report: Entity(report.dice.one(world.PAPERS), "organisation"),
    "mayor": lambda report: report._holder("mayor"),
    "minister": lambda report: report._holder("minister"),
    "head": lambda report: report._holder("head"),
    "coach": lambda report: report._holder("coach"),
    "envoy": lambda report: report._holder("envoy"),
    "old_mayor": lambda report: report._before("mayor"),
    "term_start": lambda report: report._since("mayor"),
    "minister_start": lambda report: report._since("minister"),
    "head_start": lambda report: report._since("head"),
    "expert": Report._private,
    "witness": Report._private,
    "artist": Report._private,
    "athlete": Report._private,
    "portfolio": lambda report: report.dice.one(world.PORTFOLIOS),
    "concern": lambda report: report._in_use(world.CONCERNS),
    "thing": lambda report: report._in_use(world.THINGS),
    "event": Report._event,
    "channel": Report._channel,
}
"""Marks with the same value throughout a report."""
