"""World of the reports: places, organisations, holders of offices by year, and novelties.

Names of cities, countries and international organisations are real. Companies, clubs, papers, all persons and all events are
invented.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from omnimask_datasets.chronicle.dice import Dice

FIRST_YEAR, LAST_YEAR = 1987, 2007
"""First and last year of the reports."""
NUM_YEARS = LAST_YEAR - FIRST_YEAR + 1


@dataclass(frozen=True)
class Era:
    """Name ``text``, in use from the year ``first`` to the year ``last``."""

    text: str
    first: int = FIRST_YEAR
    last: int = LAST_YEAR

    def holds(self, year: int) -> bool:
        """Return whether the name is in use in a year."""
        return self.first <= year <= self.last


def of_year(eras: Sequence[Era], year: int) -> list[str]:
    """Return the names in use in a year."""
    return [era.text for era in eras if era.holds(year)]


CITIES = (
    Era("Vienna"), Era("Munich"), Era("Cologne"), Era("Geneva"), Era("Brussels"), Era("Lisbon"), Era("London"), Era("Milan"),
    Era("Warsaw"), Era("Prague"), Era("Copenhagen"), Era("Athens"), Era("Florence"), Era("Antwerp"), Era("Seville"), Era("Zurich"),
    Era("Edinburgh"), Era("Cracow"), Era("Naples"), Era("The Hague"), Era("Leningrad", last=1990), Era("Saint Petersburg", 1991),
    Era("Bombay", last=1995), Era("Mumbai", 1996),
)  # fmt: skip
COUNTRIES = (
    Era("Austria"), Era("France"), Era("Spain"), Era("Italy"), Era("Portugal"), Era("Poland"), Era("Switzerland"), Era("Belgium"),
    Era("Denmark"), Era("Greece"), Era("Sweden"), Era("Hungary"), Era("West Germany", last=1990), Era("Germany", 1990),
    Era("Soviet Union", last=1991), Era("Russia", 1992), Era("Czechoslovakia", last=1992), Era("Czech Republic", 1993),
)  # fmt: skip
WITH_ARTICLE = ("Soviet Union", "Czech Republic")
"""Countries written with ``the``."""
BODIES = (
    Era("United Nations"), Era("Red Cross"), Era("World Bank"), Era("World Health Organization"), Era("Council of Europe"),
    Era("European Parliament"), Era("European Space Agency"), Era("International Olympic Committee"),
    Era("European Community", last=1993), Era("European Union", 1994), Era("World Trade Organization", 1995),
    Era("European Central Bank", 1998),
)  # fmt: skip
COMPANIES = (
    Era("Nordwerk"), Era("Alpenbahn"), Era("Kestrel Motors"), Era("Castellan Foods"), Era("Union Chemicals"), Era("Meridian Air"),
    Era("Falk and Sons", last=1994), Era("Ostra Typewriters", last=1992), Era("Telexion", last=1995),
    Era("Brenner Steel", last=1999),
    Era("Calyx Computers", 1989), Era("Mobilnet", 1993), Era("Webhaven", 1997), Era("Lumen Solar", 2000), Era("Streamcast", 2004),
)  # fmt: skip
CLUBS = ("Rovers", "Athletic", "Wanderers", "Olympia", "Sparta", "Racing Club")
PAPERS = ("Morning Courier", "Daily Ledger", "Evening Herald", "Continental Post")
CURRENCIES = (
    Era("marks", last=2001), Era("francs", last=2001), Era("schillings", last=2001), Era("lire", last=2001), Era("euros", 2002),
)  # fmt: skip
THINGS = (
    Era("a [fax machine]/n", last=1996), Era("an electric typewriter/n", last=1992), Era("a telex/n", last=1991),
    Era("a [video recorder]/n", last=1998), Era("a [floppy disk]/n", last=1997), Era("a cassette/n", last=1996),
    Era("a [compact disc]/n", 1988, 2002), Era("a [car phone]/n", 1988, 1995), Era("a pager/n", 1990, 1999),
    Era("a modem/n", 1991, 2002), Era("a [mobile phone]/n", 1994), Era("an [electronic mail]/n address/n", 1993, 1999),
    Era("a website/n", 1996), Era("a [digital camera]/n", 1999), Era("a [text message]/n", 1999),
    Era("a broadband/n connection/n", 2001),
    Era("a [memory stick]/n", 2002), Era("a [flat screen]/n", 2003), Era("a blog/n", 2003), Era("an [online video]/n", 2005),
    Era("a [social network]/n", 2005),
)  # fmt: skip
CONCERNS = (
    Era("acid rain/n", last=1993), Era("the border/n wall/n", last=1990), Era("the [ozone layer]/n", 1988, 1997),
    Era("the common market/n", 1988, 1994), Era("unification/n", 1990, 1993), Era("privatisation/n", 1991, 1997),
    Era("the single currency/n", 1995, 2002), Era("the millennium/n bug/n", 1997, 2000),
    Era("genetically modified food/n", 1997, 2004),
    Era("security/n at airports/n", 2001), Era("enlargement/n to the east/n", 2000, 2005), Era("climate/n change/n", 2001),
    Era("the [credit crisis]/n", 2007), Era("avian flu/n", 2003),
)  # fmt: skip
EVENTS: Mapping[int, Sequence[str]] = {
    1988: ("the [Olympic Games]/n",), 1990: ("the [World Cup]/n",), 1992: ("the [Olympic Games]/n",), 1994: ("the [World Cup]/n",),
    1996: ("the [Olympic Games]/n",), 1998: ("the [World Cup]/n",), 2000: ("the [Olympic Games]/n",), 2002: ("the [World Cup]/n",),
    2004: ("the [Olympic Games]/n",), 2006: ("the [World Cup]/n",),
}  # fmt: skip
PORTFOLIOS = ("finance", "transport", "health")
FIRST_NAMES = (
    "Anna", "Karl", "Marta", "Luis", "Ingrid", "Paolo", "Claire", "Jonas", "Elena", "Victor", "Sofia", "Martin", "Helga", "Andre",
    "Irene", "Tomas", "Louise", "Erik", "Teresa", "Robert", "Nina", "Oskar", "Julia", "David", "Ruth", "Felix", "Maria", "Hugo",
    "Eva",
)  # fmt: skip
SURNAMES = (
    "Keller", "Novak", "Moreau", "Lindholm", "Ferrari", "Ortega", "Hansen", "Baker", "Kovacs", "Dubois", "Weiss", "Santos",
    "Jensen",
    "Marek", "Rossi", "Vogel", "Castro", "Murray", "Peeters", "Lang", "Nowak", "Fischer", "Laurent", "Berg", "Conti", "Alonso",
    "Papas", "Horvath", "Wagner", "Lopes", "Fraser", "Janssen", "Huber", "Silva", "Girard", "Olsen", "Pavel", "Steiner", "Reid",
)  # fmt: skip

Office = tuple[str, str]
"""Office, and its city, country or organisation."""


@dataclass(frozen=True)
class Term:
    """Term of ``person`` in an office, from the year ``first`` to the year ``last``."""

    person: str
    first: int
    last: int


def persons() -> Iterator[str]:
    """Yield distinct full names."""
    for step in range(len(FIRST_NAMES)):
        for place, surname in enumerate(SURNAMES):
            yield f"{FIRST_NAMES[(step + 7 * place) % len(FIRST_NAMES)]} {surname}"


@cache
def offices() -> Mapping[Office, Sequence[Term]]:
    """Return the terms of every office. Persons of two offices never share a name."""
    names = persons()
    kinds: list[tuple[Office, int, int]] = [(("mayor", city.text), 3, 7) for city in CITIES]
    kinds += [((portfolio, country.text), 2, 5) for country in COUNTRIES for portfolio in PORTFOLIOS]
    kinds += [(("head", company.text), 4, 9) for company in COMPANIES]
    kinds += [(("coach", club), 1, 4) for club in CLUBS]
    kinds += [(("envoy", body.text), 3, 6) for body in BODIES]
    return {office: _terms(office, shortest, longest, names) for office, shortest, longest in kinds}


def _terms(office: Office, shortest: int, longest: int, names: Iterator[str]) -> Sequence[Term]:
    dice, terms = Dice("terms", *office), []
    first = FIRST_YEAR - longest - dice.below(longest)  # so that everybody had a predecessor
    while first <= LAST_YEAR:
        last = first + dice.between(shortest, longest) - 1
        terms.append(Term(next(names), first, last))
        first = last + 1
    return tuple(terms)


def holder(office: Office, year: int) -> str:
    """Return the holder of an office in a year."""
    return next(term.person for term in offices()[office] if term.first <= year <= term.last)


def predecessor(office: Office, year: int) -> str:
    """Return the predecessor of an office's holder in a year."""
    return [term.person for term in offices()[office] if term.last < year][-1]
