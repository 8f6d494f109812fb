"""Sentences of reports by topic, with marks.

``word/n`` and ``[several words]/n`` are nouns, ``/v`` verbs, ``/t`` expressions of time, and ``/s`` signals, which relate a time to
the rest. The report fills in ``@name`` (:mod:`omnimask_datasets.chronicle.report` defines the names).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Templates = Sequence[str]

LEADS: Mapping[str, Templates] = {
    "city": (
        "Mayor/n @mayor of @city announced/v @when that the city/n will build/v @count new flats/n.",
        "The council/n of @city voted/v @when to close/v the old market/n, and Mayor/n @mayor defended/v the decision/n.",
        "@city opened/v its new library/n @when, and Mayor/n @mayor thanked/v the architects/n.",
        "Thousands of residents/n marched/v through @city @when to protest/v against the plans/n of Mayor/n @mayor.",
        "A strike/n of the bus drivers/n stopped/v traffic/n in @city @when.",
    ),
    "politics": (
        "@minister, the minister/n of @portfolio/n in @country, presented/v a reform/n @when that bears/v on @concern.",
        "The parliament/n of @country debated/v @concern @when and adjourned/v without a vote/n.",
        "The government/n of @country rejected/v @when a proposal/n of the @body on @concern.",
        "@minister of @country met/v @envoy, the envoy/n of the @body, in @city @when.",
        "Voters/n in @country elected/v a new parliament/n @when, and @concern decided/v the result/n.",
    ),
    "economy": (
        "@company reported/v @when that its profits/n rose/v by @percent to @money.",
        "@company will close/v its factory/n in @city, its head/n @head said/v @when.",
        "@company and @company2 signed/v a contract/n worth @money @when.",
        "Shares/n of @company fell/v by @percent @when after/s a warning/n about sales/n.",
        "@company began/v @when to sell/v @thing that costs/v less than its rivals/n.",
    ),
    "sport": (
        "@club beat/v @club2 by @score in @city @when.",
        "@coach, the coach/n of @club, resigned/v @when after/s the defeat/n against @club2.",
        "@athlete won/v the marathon/n of @city @when in a record/n time/n.",
        "@club signed/v the striker/n @athlete @when for @money.",
        "The organisers/n of @event named/v @city as a host/n @when.",
    ),
    "science": (
        "Researchers/n in @city published/v a study/n on @concern @when.",
        "The @body and a team/n around @expert tested/v @thing in @city @when.",
        "@expert of the university/n of @city received/v a prize/n of @money @when.",
        "A laboratory/n in @city confirmed/v @when that it lost/v a sample/n.",
    ),
    "weather": (
        "A storm/n damaged/v @count houses/n near @city @when.",
        "Floods/n forced/v @count families/n in @country to leave/v their homes/n @when.",
        "Heavy snow/n closed/v the airport/n of @city @when.",
        "The fire/n brigade/n of @city fought/v a forest/n fire/n @when, and the @body sent/v help/n.",
    ),
    "court": (
        "A court/n in @city sentenced/v a former manager/n of @company @when to a fine/n of @money.",
        "Police/n in @city arrested/v @count suspects/n @when after/s a robbery/n.",
        "Judges/n in @country stopped/v a law/n of the minister/n @minister @when.",
        "Thieves/n took/v a painting/n worth @money from a museum/n in @city @when.",
    ),
    "culture": (
        "The museum/n of @city opened/v an exhibition/n about @artist @when.",
        "@artist presented/v a new novel/n in @city @when.",
        "The festival/n of @city began/v @when with a concert/n of @artist.",
        "The theatre/n of @city showed/v a play/n about @concern @when.",
    ),
}

BODIES: Mapping[str, Templates] = {
    "city": (
        "@mayor has held/v the office/n since/s @term_start and succeeded/v @old_mayor.",
        "The work/n will cost/v @money and should end/v in @future.",
        "@witness, who lives/v near the station/n, called/v the plan/n a mistake/n.",
        "In @past the council/n had refused/v a similar project/n.",
    ),
    "politics": (
        "@minister, who took/v office/n in @minister_start, spoke/v of a difficult compromise/n.",
        "The opposition/n demanded/v new elections/n before/s @future.",
        "The @body welcomed/v the step/n and promised/v @money.",
        "A similar law/n failed/v in @past.",
        "Diplomats/n expect/v the talks/n to resume/v [next month]/t.",
    ),
    "economy": (
        "The company/n employs/v @count people/n, most of them in @country.",
        "@head, who has led/v the firm/n since/s @head_start, blamed/v @concern.",
        "Analysts/n had expected/v a rise/n of @percent.",
        "Sales/n of @thing had doubled/v since/s @past.",
        "The union/n asked/v the minister/n @minister for help/n.",
    ),
    "sport": (
        "It was the @ordinal victory/n since/s @past.",
        "@coach praised/v the defence/n and named/v @athlete the best player/n.",
        "The club/n prepares/v for @event.",
        "In the end @count spectators/n watched/v the match/n.",
    ),
    "science": (
        "@expert used/v @thing to send/v the data/n to colleagues/n in @city2.",
        "The work/n began/v in @past and cost/v @money.",
        "The @body warned/v that the results/n are early.",
        "So far @count patients/n took/v part/n in the trial/n.",
    ),
    "weather": (
        "Trains/n between @city and @city2 stopped/v for/s [two days]/t.",
        "It was the worst damage/n since/s @past.",
        "@witness lost/v a barn/n and @count sheep/n.",
        "The minister/n @minister promised/v @money.",
    ),
    "court": (
        "The lawyer/n @expert announced/v an appeal/n.",
        "The case/n began/v in @past.",
        "The accused/n had used/v @thing to warn/v others/n.",
        "Witnesses/n recognised/v @witness in the street/n.",
    ),
    "culture": (
        "@artist, who was born/v in @city2, won/v her first prize/n in @past.",
        "Tickets/n cost/v @price, and the evening/n was sold out.",
        "The critic/n @expert called/v it the event/n of @year.",
        "The work/n tells/v of @thing and of @concern.",
    ),
}

COMMON: Templates = (
    "The @paper reported/v the story/n @earlier.",
    "@expert told/v the @paper that @year would be a year/n of change/n.",
    "A spokesman/n of the @body in @city2 declined/v to comment/v.",
    "In a letter/n to the @paper, readers/n complained/v about @concern.",
    "Nobody answered/v questions/n about @thing.",
    "The talks/n continue/v on/s @next_day.",
    "@city2 had a similar debate/n in @past.",
    "Many people/n remember/v @past for other reasons/n.",
    "Details/n arrived/v by @channel, said/v @witness.",
    "For/s [the past @few years]/t the number/n has grown/v by @percent.",
    "@expert expects/v a decision/n by/s the end/n of @month.",
)

CHANNELS: Sequence[tuple[str, int, int]] = (
    ("telex/n", 1987, 1991),
    ("telephone/n", 1987, 1999),
    ("fax/n", 1988, 1998),
    ("[electronic mail]/n", 1993, 2000),
    ("[text message]/n", 1999, 2007),
    ("email/n", 2000, 2007),
)
