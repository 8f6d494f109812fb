"""What components return is compared with their interface while a run goes on: a breach ends it, and names the component."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omnimask.cli import main
from omnimask.data.sample_errors import Unexpected, of_one_sample
from omnimask.errors import RunStopped

SOURCE = (Path(__file__).parent / "breaches" / "breaching.py").read_text(encoding="utf-8")
RECIPE = """\
omnimask: 1
device: cpu
modalities:
  wave:
    tokenizer: {tokenizer}
    masker: {masker}
    corruptor: {corruptor}
encoder: {{name: transformer, width: 8, depth: 1, heads: 2, position: {{name: rotary}}}}
predictors: [{{name: in_place, target: {{name: {target}}}}}]
data: {data}
train: {{steps: 12, batch_tokens: 64, workers: {workers}, optimizer: {{name: adamw, lr: 1.0e-3}}, log_every: 1,
  validate_every: 100, checkpoint_every: 4}}
"""

Train = Callable[..., tuple[int, str, Path]]


@pytest.fixture
def train(distribution: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Train:
    """Trains the plugin's components, each with the options given; exit code, what stderr shows, and the run's folder."""
    distribution("omnimask-breaching", {"breaching": SOURCE}, "[omnimask]\nbreaching = breaching\n", version="2.5")

    def run(*, ids: bool = False, workers: int = 0, **options: Any) -> tuple[int, str, Path]:
        def component(name: str, part: str) -> str:
            return json.dumps({"name": name, **options.get(part, {})})

        text = RECIPE.format(
            tokenizer=component("breaching.ids" if ids else "breaching.tokens", "tokenizer"),
            masker=component("breaching.masker", "masker"),
            corruptor=component("breaching.corruptor", "corruptor"),
            data=component("breaching.data", "data"),
            target="ids" if ids else "patch",
            workers=workers,
        )
        (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
        folder = tmp_path / "run"
        code = main(["pretrain", str(tmp_path / "recipe.yaml"), "--run", str(folder), "data.validation=0"])
        return code, capfd.readouterr().err, folder

    return run


def cases(**parts: str) -> list[Any]:
    """(part, breach, words of the message) of a table ``breach: words``."""
    return [
        pytest.param(part, *line.strip().split(" | "), id=line.strip().split(" | ")[0])
        for part, table in parts.items()
        for line in table.strip().splitlines()
    ]


BREACHES = cases(
    tokenizer="""
        no tokens object | it must return Tokens, not a ndarray
        None | it must return Tokens, not None
        positions of two axes | positions has shape (8, 2); expected (8, 1)
        positions without an axis | positions has shape (8,); expected (8, 1)
        position beyond the extent | positions on axis 0 must be less than 8, got 8.0
        position NaN | 1 of 8 values of positions are not finite
        content too wide | content has shape (8, 5); expected (8, 4)
        content one row short | content has shape (7, 4); expected (8, 4)
        content infinite | 1 of 32 values of content are not finite
        content of text | content has dtype <U1; expected float32
        content overflows | content reaches 1e+300, which exceeds float32
        field missing | field 'phase' is declared in the spec but missing; the tokens have
        field one row short | field 'phase' has shape (7,); expected (8,)
        field of pairs not square | field 'pairs' has shape (8, 7); expected (8, 8)
        field infinite | field 'phase' is infinite
        class beyond the last | field 'kind' must be less than 3, got 3
        classes as fractions | field 'kind' has dtype float64; expected int64
    """,
    masker="""
        None for a masking | it must return a Masking, not None
        is_target one short | is_target has shape (7,); expected (8,)
        is_visible of numbers | is_visible has dtype float64; expected bool
        unit below -1 | unit must be at least -1, got -2
        weight NaN | a loss weight is negative or not finite
        weight negative | a loss weight is negative or not finite
        level beyond 1 | level must be in [0, 1], got 1.5
        groups miss a target | the union of groups must be is_target
    """,
    corruptor="""
        no view | it must return a View, not a Stream
        source beyond the sample | source must be less than 8, got 8
        literal beyond the specials | literal must be less than 1, got 7
        rank one short | context rank has shape (7,); expected (8,)
        stream position NaN | 8 of 8 values of context positions are not finite
        modality unknown | modality must be less than 1, got 4
        target beyond the stream | targets.at must be less than 8, got
        answer beyond the sample | targets.of must be less than 8, got
        target weight infinite | a loss weight is negative or not finite
        prefix beyond the ranks | context layout.prefix contradicts rank and block
        prefix beyond the sequence | context layout.prefix must be less than 9, got 9
        prefix of two sequences | context layout.prefix has shape (2,); expected (1,)
        a row too few | context targets.at has shape
        field of pairs not square in the view | the view's field 'pairs' of 'wave' has shape (8, 7)
        field unknown to the tokens | the view has a field 'angles'
    """,
)
NAMES = {"tokenizer": "breaching.tokens", "masker": "breaching.masker", "corruptor": "breaching.corruptor"}


@pytest.mark.parametrize(("part", "breach", "words"), BREACHES)
def test_a_breach_is_named_before_anything_is_written(train: Train, part: str, breach: str, words: str) -> None:
    code, shown, folder = train(**{part: {"breach": breach}})
    assert code == 2, shown
    assert f"{part} '{NAMES[part]}' of omnimask-breaching 2.5, sample 's" in shown
    assert words in shown
    assert "Traceback" not in shown and not folder.exists()


@pytest.mark.parametrize(
    ("breach", "words"),
    [
        ("id beyond the vocabulary", "ids must be less than 10, got 10"),
        ("id negative", "ids must be at least 0, got -1"),
        ("ids as fractions", "content has dtype float64; expected int64"),
    ],
)
def test_ids_are_compared_with_the_vocabulary(train: Train, breach: str, words: str) -> None:
    code, shown, folder = train(ids=True, tokenizer={"breach": breach})
    assert code == 2 and words in shown and "tokenizer 'breaching.ids' of omnimask-breaching 2.5" in shown
    assert not folder.exists()


@pytest.mark.parametrize(("breach", "found"), [("answer without an output", "10 ('mask')"), ("answer beyond all ids", "11")])
def test_an_answer_without_an_output_is_named_before_the_first_step(train: Train, breach: str, found: str) -> None:
    """The corruptor inserts its mask token, but does not declare it as an answer."""
    code, shown, folder = train(ids=True, corruptor={"breach": breach})
    assert code == 2 and "corruptor 'breaching.corruptor' of omnimask-breaching 2.5, sample 's" in shown
    words = " ".join(shown.split())
    assert "targets.literal must be less than 10, the outputs of a head over the vocabulary and the special tokens" in words
    assert f"got {found}; put answers first in `specials` and count them in `num_answers`" in words
    assert not folder.exists()


def test_a_data_set_gives_mappings(train: Train) -> None:
    code, shown, _ = train(data={"breach": "no mapping"})
    assert code == 2
    assert "dataset 'breaching.data' of omnimask-breaching 2.5, sample 's" in shown and "not a list" in shown


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("part", "breach"),
    [
        ("tokenizer", "field one row short"),
        ("tokenizer", "content infinite"),
        ("masker", "is_target one short"),
        ("corruptor", "source beyond the sample"),
        ("corruptor", "target beyond the stream"),
    ],
)
def test_a_breach_in_the_middle_ends_the_run_and_names_the_sample(train: Train, part: str, breach: str, workers: int) -> None:
    """The last sample of the first epoch alone is concerned, beside seven others in its batch."""
    code, shown, folder = train(workers=workers)
    assert code == 0, shown
    shutil.rmtree(folder)
    code, shown, folder = train(workers=workers, **{part: {"breach": breach, "at": "s41"}})
    assert code == 2, shown
    assert f"{NAMES[part]}' of omnimask-breaching 2.5, sample 's41'" in shown and "Traceback" not in shown
    assert json.loads((folder / "summary.json").read_text())["status"] == "stopped"


@pytest.mark.parametrize("where", ["dataset", "tokenizer"])
@pytest.mark.parametrize("raises", ["OverflowError", "KeyError", "Exception"])
def test_whatever_is_raised_for_a_sample_makes_it_bad(train: Train, raises: str, where: str) -> None:
    code, shown, folder = train(data={"raises": raises, "where": where})
    assert code == 0, shown
    assert json.loads((folder / "summary.json").read_text())["bad_samples"]
    log = "".join(path.read_text(encoding="utf-8") for path in (folder / "logs").iterdir())
    assert f"skipping unreadable sample: s3: {raises}: " in log
    assert log.count("Traceback") == 1, "the traceback of an odd exception is in the log, once"


def test_a_masker_that_fails_is_a_bug_and_named(train: Train) -> None:
    code, shown, _ = train(masker={"breach": "raises KeyError"})
    assert code == 70
    assert "raised by masker 'breaching.masker' of omnimask-breaching 2.5 for the sample 's" in shown


def test_a_run_without_anything_to_answer_stops(train: Train) -> None:
    code, shown, folder = train(masker={"breach": "nothing"})
    assert code == 2, shown
    assert "nothing to answer" in shown and "masker" in shown
    assert json.loads((folder / "summary.json").read_text())["status"] == "stopped"


def test_reasons_to_end_a_run_pass() -> None:
    with pytest.raises(RunStopped), of_one_sample:
        raise RunStopped("no more")
    with pytest.raises(MemoryError), of_one_sample:
        raise MemoryError
    with pytest.raises(OSError), of_one_sample:
        raise OSError("disk")
    with pytest.raises(Unexpected, match="TypeError: odd") as caught, of_one_sample:
        raise TypeError("odd")
    assert "raise TypeError" in caught.value.trace
