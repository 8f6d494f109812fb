"""The page of filled-in texts."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from omnimask.interfaces import Blank, Candidate, Context, Reconstruction, Renderer
from omnimask_text.show import TextPage


def blank(at: int, truth: str | None, seen: str | None, *shown: str) -> Blank:
    return Blank(at, truth, seen, tuple(Candidate(one, 0.5 / (place + 1)) for place, one in enumerate(shown)))


PIECES = ("", "The", " <b>", " sat", " on", " it", ".", "")
ONE = Reconstruction(
    "folder/a.txt#0",
    "The <b> sat on it.",
    "The on it.",
    "The cat sat on it.",
    pieces=PIECES,
    blanks=(
        blank(2, " <b>", None, " cat", " dog"),
        blank(3, " sat", " house", " sat", " lay"),
        blank(5, " it", " it", " it"),
        blank(6, ".", None),
    ),
)


def columns(page: str) -> list[str]:
    """What a reader sees, marks as ``[kind:text]``."""
    found = re.findall(r'<div class="text">(.*?)</div>', page, flags=re.DOTALL)
    return [re.sub(r'<mark(?: class="(\w+)")? title="[^"]*">(.*?)</mark>', r"[\1:\2]", one, flags=re.DOTALL) for one in found]


def test_the_original_stands_beside_the_answers(tmp_path: Path) -> None:
    renderer = TextPage(Context())
    assert isinstance(renderer, Renderer)
    path = renderer([ONE], tmp_path / "new" / "page", title="a < b")
    assert path == tmp_path / "new" / "page.html"
    page = path.read_text(encoding="utf-8")
    assert columns(page) == [
        "The [:&lt;b&gt;] [:sat] on [:it][:.]",
        "The [wrong:cat] [right:sat] on [right:it][:.]",
    ]
    assert "<title>a &lt; b</title>" in page
    assert "2 of 3 answers are" in page
    for told in (
        "hidden",
        "read as &#x27;house&#x27;",
        "read as it is",
        "&#x27;cat&#x27; 50%\n&#x27;dog&#x27; 25%",
        "not answered",
    ):
        assert f'title="{told}"' in page


def test_without_a_model_there_is_one_column(tmp_path: Path) -> None:
    one = Reconstruction("a", "The cat", "The", None, pieces=("The", " cat"), blanks=(blank(1, " cat", None),))
    page = TextPage(Context())([one], tmp_path / "page.html").read_text(encoding="utf-8")
    assert columns(page) == ["The [:cat]"]
    assert "answers" not in page


def test_what_the_input_left_open_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    one = Reconstruction("a", "The [MASK]", "The", "The cat", "a note", ("The", " [MASK]"), (blank(1, None, None, " cat"),))
    page = TextPage(Context())([one], tmp_path / "page.html").read_text(encoding="utf-8")
    assert columns(page) == ["The [:[MASK]]", "The [:cat]"]
    assert "a note" in page


def test_the_page_needs_no_other_file(tmp_path: Path) -> None:
    page = TextPage(Context())([ONE], tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=|@import|url\(", page)


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no reconstructions"):
        TextPage(Context())([], tmp_path / "page.html")


def test_columns_have_headings(tmp_path: Path) -> None:
    page = TextPage(Context())([ONE], tmp_path / "page").read_text(encoding="utf-8")
    assert page.index("original</div>") < page.index("filled in by the network</div>")
    alone = TextPage(Context())([dataclasses.replace(ONE, filled=None)], tmp_path / "alone").read_text(encoding="utf-8")
    assert "original</div>" in alone and "filled in by the network" not in alone
