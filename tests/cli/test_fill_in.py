"""``omnimask reconstruct`` where tokens are ids: texts with what was hidden, and what the model would put there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Command

RECIPES = Path(__file__).parents[1] / "toys" / "recipes"
SHORT = ("train.steps=4", "train.schedule={name: constant}", "train.validate_every=4", "train.checkpoint_every=4")

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def run(omnimask: Command, tmp_path: Path) -> Path:
    """A run of four steps on toy sentences."""
    assert omnimask("pretrain", RECIPES / "words_in_place.yaml", "--run", "run", *SHORT).code == 0
    return tmp_path / "run"


def test_held_out_samples(omnimask: Command, run: Path) -> None:
    result = omnimask("reconstruct", run, "--count", "3")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("sentences/") for line in lines) == 3
    texts = [line.split()[1] for line in lines if line.startswith("  text")]
    filled = [line.split()[1] for line in lines if line.startswith("  filled")]
    for one, other in zip(texts, filled, strict=True):
        assert re.sub(r"\[.\]", "[]", one) == re.sub(r"\[.\]", "[]", other)
        assert one.count("[") > 0
    rows = [line for line in lines if line.count("%") == 5]
    assert len(rows) == sum(text.count("[") for text in texts)
    assert "choice 5" in result.out
    assert omnimask("reconstruct", run, "--count", "3").out == result.out
    assert list((run / "figures").iterdir()) == []  # the toy has no renderer


def test_masks_of_the_users_own(omnimask: Command, run: Path) -> None:
    result = omnimask("reconstruct", run, "--input", "abc_ef__cde")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[:2] == ["input", "  text    abc[?]ef[?][?]cde"]
    assert re.fullmatch(r"  filled  abc\[[a-h]\]ef\[[a-h]\]\[[a-h]\]cde", lines[2])
    rows = [line for line in lines if line.startswith("  ?")]
    assert len(rows) == 3
    for row in rows:
        shares = [float(share) for share in re.findall(r"([\d.]+) %", row)]
        assert shares == sorted(shares, reverse=True) and len(shares) == 5 and sum(shares) < 100
    assert not any("=" in row for row in rows)


def test_long_samples_are_cut_short_and_a_users_own_are_not(omnimask: Command, run: Path) -> None:
    result = omnimask("reconstruct", run, "--input", "ab_" * 13)
    assert sum(line.startswith("  ?") for line in result.out.splitlines()) == 13
    recipe = RECIPES / "words_in_place.yaml"
    change = ("modalities.words.masker={name: random, ratio: 0.9}", "train.validate_every=2")
    assert omnimask("pretrain", recipe, "--run", "most", *SHORT, *change).code == 0
    out = omnimask("reconstruct", "most", "--count", "4").out
    sizes = [text.count("[") for text in re.findall(r"^  text(.*?)^  filled", out, flags=re.MULTILINE | re.DOTALL)]
    left_out = [int(number) for number in re.findall(r"^  \.\.\. and (\d+) more$", out, flags=re.MULTILINE)]
    assert left_out == [size - 12 for size in sizes if size > 12] != []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("abcdef", "as text 'abcdef' contains no mask; write _ (the tokenizer's mask token) at each blank"),
        ("", "the text is empty"),
        (" \t\n", "the text is empty"),
        ("ab_xyz", "no readable sample: input: a sentence is a text over 'abcdefgh'"),
        ("no-such-file.txt", "no readable sample: input: a sentence"),
        ("a" * 5000, "contains no mask"),
    ],
)
def test_wrong_input(omnimask: Command, run: Path, given: str, message: str) -> None:
    result = omnimask("reconstruct", run, "--input", given)
    assert result.code == 2
    assert message in " ".join(result.errors)
    assert max(map(len, result.errors)) < 400


def test_letters_of_other_locales(omnimask: Command, run: Path) -> None:
    """In the C locale Python keeps the bytes of the command line as lone surrogates."""
    kept = "abc_ä".encode().decode("ascii", "surrogateescape")
    one, other = (omnimask("reconstruct", run, "--input", given) for given in (kept, "abc_ä"))
    assert (one.code, one.err) == (other.code, other.err) and "ä" in one.err
    refused = omnimask("reconstruct", run, "--input", "abc_\udce9")
    assert refused.code == 2 and "not valid UTF-8 text (byte 0xe9)" in " ".join(refused.errors)


def test_more_masks_than_the_corruptor_can_hide(omnimask: Command) -> None:
    assert omnimask("pretrain", RECIPES / "words_sentinels.yaml", "--run", "run", *SHORT).code == 0
    result = omnimask("reconstruct", "run", "--input", "a_" * 13)
    assert (result.code, result.errors) == (
        2,
        ["sample 'input' with 26 tokens cannot be masked: 13 spans need as many sentinels, but num_sentinels is 12"],
    )
    assert omnimask("reconstruct", "run", "--input", "a_" * 12).code == 0


def test_one_of_several_modalities(omnimask: Command) -> None:
    assert omnimask("pretrain", RECIPES / "pairs_drop.yaml", "--run", "run", *SHORT).code == 0
    several = omnimask("reconstruct", "run", "--input", "ab_d")
    assert several.errors == ["--input: several modalities can read ab_d; choose one: --modality signal | words"]
    signal = omnimask("reconstruct", "run", "--input", "ab_d", "--modality", "signal")
    assert signal.errors == ["--input: ab_d does not exist"]
    words = omnimask("reconstruct", "run", "--input", "ab_d", "--modality", "words")
    assert words.out.splitlines()[0] == "input, words"


def test_colours_keep_to_no_color(omnimask: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[3" in omnimask("reconstruct", run, "--count", "1").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in omnimask("reconstruct", run, "--count", "1").out


def test_what_was_read_instead_is_said(omnimask: Command, tmp_path: Path, run: Any) -> None:
    corruptor = "modalities.words.corruptor={name: bert, masked: 0.0, random: 0.5}"
    assert omnimask("pretrain", RECIPES / "words_in_place.yaml", "--run", "other", *SHORT, corruptor).code == 0
    out = omnimask("reconstruct", "other", "--count", "4").out
    assert "(it read this)" in out
    assert re.search(r"^  [a-h] \(it read [a-h]\)", out, flags=re.MULTILINE)
    own = omnimask("reconstruct", "other", "--input", "ab_").out
    assert "(it read" not in own  # what a user hides is hidden


def test_a_byte_model_fills_in_what_is_typed(omnimask: Command, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "omnimask: 1\nextends: text/quickstart\nmodalities: {text: {tokenizer: {name: text.bytes, max_length: 64}}}\n"
        "encoder: {name: transformer, width: 16, depth: 1, heads: 2}\n"
    )
    assert omnimask("pretrain", "recipe.yaml", "--smoke", "--run", "run").code == 0
    result = omnimask("reconstruct", "run", "--input", "größe [MASK]b")
    assert result.code == 0, result.err
    assert "  text    größe [?]b" in result.out.splitlines()
