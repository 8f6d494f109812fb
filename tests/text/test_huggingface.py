"""Tokenizers of transformers: the same ids, and clear words at once where there is none."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from omnimask.cli import main
from omnimask.component import Component
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.errors import UserError
from omnimask.interfaces import Context, Draw
from omnimask.recipe import load_recipe
from omnimask_text.tokenize import find_tokenizer as source
from omnimask_text.tokenize import huggingface
from omnimask_text.tokenize.english import FOLDER
from omnimask_text.tokenize.huggingface import HuggingFaceTokenizer
from omnimask_text.tokenize.train import files, train

transformers = pytest.importorskip("transformers")
constants = pytest.importorskip("huggingface_hub.constants")

DRAW = Draw(0, 0, "text")
REAL = (FOLDER / "README.md").read_text(encoding="utf-8")
TEXTS = [
    *(line for line in REAL.splitlines() if line),
    REAL,
    "  leading, trailing  ",
    "a\tb\n\n\nc",
    "Ünïcode 漢字 😀 e\u0301 “quoted” isn’t",
    "a [MASK] and <mask> of [SEP] </s>",
    "x",
]
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "t"), ("Ġt", "h"), ("Ġth", "e"), ("o", "f"), ("Ġ", "of")]
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
PIECES = [("▁", -2.0), ("▁the", -3.0), ("the", -3.5), *((letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyzTPW.,")]


def bert(folder: Path) -> None:
    """Files of old: a list of words, without a tokenizer.json."""
    words = [
        *["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        *"abcdefghijklmnopqrstuvwxyz.,[]",
        *(f"##{c}" for c in "abcdefghijklmnop"),
        "the",
    ]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")


def roberta(folder: Path) -> None:
    words = ["<s>", "<pad>", "</s>", "<unk>", *ALPHABET, *("".join(pair) for pair in MERGES), "<mask>"]
    transformers.RobertaTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=MERGES).save_pretrained(folder)


def gpt2(folder: Path) -> None:
    words = [*ALPHABET, *("".join(pair) for pair in MERGES), "<|endoftext|>"]
    transformers.GPT2Tokenizer(vocab={word: i for i, word in enumerate(words)}, merges=MERGES).save_pretrained(folder)


def t5(folder: Path) -> None:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *PIECES]
    transformers.T5Tokenizer(vocab=pieces, extra_ids=3).save_pretrained(folder)


def xlm_roberta(folder: Path) -> None:
    pieces = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    transformers.XLMRobertaTokenizer(vocab=[*pieces, *PIECES, ("<mask>", 0.0)]).save_pretrained(folder)


def english(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((FOLDER / name).read_bytes())


KINDS = [bert, roberta, gpt2, t5, xlm_roberta, english]


@pytest.mark.parametrize("make", KINDS)
def test_ids_are_those_of_transformers(make: Any, tmp_path: Path) -> None:
    make(tmp_path)
    theirs: Any = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = HuggingFaceTokenizer(Context(), path=str(tmp_path), max_length=10_000)
    plain = HuggingFaceTokenizer(Context(), path=str(tmp_path), max_length=10_000, add_special=False)
    for text in TEXTS:
        assert ours(text, DRAW).content.tolist() == theirs(text).input_ids
        assert plain(text, DRAW).content.tolist() == theirs(text, add_special_tokens=False).input_ids
        assert ours.count(text) == len(theirs(text).input_ids)
    pair = ["the first of the texts", "x"]
    tokens = ours(pair, DRAW)
    assert tokens.content.tolist() == theirs(*pair).input_ids
    frames = [number is None for number in theirs(*pair).sequence_ids()]
    assert tokens.fields["special"].tolist() == frames
    for use, number in ours.spec.special_ids.items():
        assert number == getattr(theirs, f"{use}_token_id")
    assert ours.spec.vocabulary == len(theirs)


@pytest.mark.parametrize("make", KINDS)
def test_offsets_begin_with_the_word(make: Any, tmp_path: Path) -> None:
    make(tmp_path)
    text = "the  end\n\nof the"
    fields = HuggingFaceTokenizer(Context(), path=str(tmp_path))(text, DRAW).fields
    for start, stop in fields["offset"][~fields["special"]].tolist():
        assert start <= stop
        assert start == stop or not text[start].isspace() or text[start:stop].isspace()
    assert len(set(fields["word"].tolist()) - {-1}) >= 4


def test_words_are_found_where_a_tokenizer_splits_nothing(tmp_path: Path) -> None:
    """As SentencePiece models do whose pieces hold the spaces."""
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), *((letter, -5.0) for letter in "abcdefghij ,.")], unk_id=0))
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = HuggingFaceTokenizer(Context(), path=str(tmp_path / "tokenizer.json"))
    assert tokenizer("ab cd, ef.", DRAW).fields["word"].tolist() == [0, 0, 1, 1, 1, 2, 3, 3, 3, 4]
    assert tokenizer.spec.special_ids == {}


def test_a_folder_with_nothing_but_a_tokenizer_json(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((FOLDER / "tokenizer.json").read_bytes())
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        tokenizer = HuggingFaceTokenizer(Context(), path=str(path))
        assert tokenizer.spec.special_ids == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}


def test_padding_and_truncation_of_the_file_are_switched_off(tmp_path: Path) -> None:
    backend = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    backend.enable_padding(length=32)
    backend.enable_truncation(max_length=8)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = HuggingFaceTokenizer(Context(), path=str(tmp_path / "tokenizer.json"))
    assert len(tokenizer("a list of names and their values is returned by the function", DRAW)) == 14


def test_another_vocabulary_has_another_fingerprint(tmp_path: Path) -> None:
    english(tmp_path)
    first = HuggingFaceTokenizer(Context(), path=str(tmp_path)).fingerprint()
    assert first == HuggingFaceTokenizer(Context(), path=str(tmp_path)).fingerprint()
    data = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = data["model"]["vocab"]
    vocabulary["the"], vocabulary["of"] = vocabulary["of"], vocabulary["the"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    assert HuggingFaceTokenizer(Context(), path=str(tmp_path)).fingerprint() != first


def test_vocabulary_is_padded_for_a_checkpoint() -> None:
    assert HuggingFaceTokenizer(Context(), path=str(FOLDER), vocabulary=8200).spec.vocabulary == 8200
    with pytest.raises(ValueError, match="has 8,192 ids, but vocabulary is 8,000;"):
        HuggingFaceTokenizer(Context(), path=str(FOLDER), vocabulary=8000)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({}, "contains no tokenizer .* it contains nothing"),
        ({"config.json": '{"model_type": "bert"}'}, "contains no tokenizer .* it contains config.json"),
        ({"tokenizer.json": "{}"}, "cannot be read"),
        ({"vocab.json": "{}", "config.json": '{"model_type": "bert"}'}, "has an empty vocabulary|cannot be read"),
        (
            {"vocab.txt": "", "tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["evil.T", null]}}'},
            "refers to Python code .*trust_remote_code: true",
        ),
    ],
)
def test_folders_that_hold_no_tokenizer(held: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in held.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        if "auto_map" in text:
            (tmp_path / "evil.py").write_text("raise SystemExit('this ran')", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        HuggingFaceTokenizer(Context(), path=str(tmp_path))


def test_a_tokenizer_in_python_cannot_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        @classmethod
        def from_pretrained(cls, path: str, **options: Any) -> Slow:
            assert options == {"local_files_only": True, "trust_remote_code": False}
            return cls()

    monkeypatch.setattr(source, "_auto_tokenizer", lambda: Slow)
    with pytest.raises(ValueError, match="is a Slow, which the tokenizers library does not support"):
        HuggingFaceTokenizer(Context(), path=str(FOLDER))


@pytest.mark.parametrize("path", ["./missing", "/missing/folder", "~/missing", "a/b/c", "C:\\tokenizer", ""])
def test_paths_that_do_not_exist_are_no_names(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_from_hub", lambda name: pytest.fail(f"asked the hub for {name}"))
    with pytest.raises(ValueError, match=r"does not exist|contains no tokenizer"):
        HuggingFaceTokenizer(Context(), path=path)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("trouble", ["refused", "silent", "unknown name", "name service hangs", "switched off"])
def test_without_a_network_it_fails_at_once(trouble: str, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: Any, *rest: Any, **options: Any) -> Any:
        if trouble == "name service hangs":
            time.sleep(20)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(source, "PATIENCE", 0.5)
    endpoint = {"refused": "http://127.0.0.1:9", "silent": silent}.get(trouble, "https://hub.invalid")
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", trouble == "switched off")
    if "name" in trouble:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
    transformers.AutoTokenizer  # noqa: B018  (its import is no part of the time)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"hf download omnimask-tests/none .*--local-dir FOLDER; then"):
        source.load("omnimask-tests/none")
    assert time.monotonic() - start < 3


def test_the_local_cache_of_the_hub_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = "0123456789012345678901234567890123456789"
    model = tmp_path / "models--omnimask-tests--cached"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(revision, encoding="utf-8")
    (model / "snapshots" / revision).mkdir(parents=True)
    english(model / "snapshots" / revision)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(source, "_unreachable", lambda: pytest.fail("asked the hub"))
    assert source.load("omnimask-tests/cached")[1]["mask"] == 4


def test_the_tokenizer_is_named_with_its_place_in_the_recipe() -> None:
    component: Component[Any] = Component("tokenizer", "text.huggingface", {"path": "./missing"}, where="recipe.yaml:4: tokenizer")
    with pytest.raises(UserError, match=r"recipe.yaml:4: tokenizer: the folder missing does not exist"):
        component(Context())


def test_a_recipe_keeps_the_absolute_path_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    english(tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    recipe = load_recipe("text/bert", [f"modalities.text.tokenizer.path={tmp_path.name}", "data={name: english}"])
    assert recipe.modalities["text"].tokenizer.options["path"] == str(tmp_path)
    named = load_recipe("text/bert", ["modalities.text.tokenizer.path=google/bert", "data={name: english}"])
    assert named.modalities["text"].tokenizer.options["path"] == "google/bert"


def test_a_smoke_run_resumes_where_the_embedded_tokenizer_lies_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another environment: nothing in the run names the folder of the package."""
    run, moved, read = tmp_path / "run", tmp_path / "elsewhere", list[str]()
    assert main(["pretrain", "text/bert", "--smoke", "--run", str(run), "device=cpu"]) == 0
    for path in (run / "recipe.yaml", *run.glob("checkpoints/*/recipe.yaml")):
        assert "path: embedded" in path.read_text() and str(FOLDER.parent) not in path.read_text()
    shutil.copytree(FOLDER, moved)

    def reading(path: str, **options: Any) -> Any:
        read.append(path)
        return source.load(path, **options)

    monkeypatch.setattr(huggingface, "FOLDER", moved)
    monkeypatch.setattr(huggingface, "load", reading)
    assert main(["resume", str(run), "train.steps=10"]) == 0
    assert set(read) == {str(moved)}
    assert json.loads((run / "summary.json").read_text())["step"] == 10


def test_the_embedded_tokenizer_and_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "embedded").mkdir()
    monkeypatch.chdir(tmp_path)
    for given, path in {"embedded": "embedded", "./embedded": str(tmp_path / "embedded")}.items():
        recipe = load_recipe("text/bert", [f"modalities.text.tokenizer.path={given}", "data={name: english}"])
        assert recipe.modalities["text"].tokenizer.options["path"] == path
    assert HuggingFaceTokenizer(Context(), path="embedded").spec == HuggingFaceTokenizer(Context(), path=str(FOLDER)).spec


def test_trained_ones_are_read_by_transformers(tmp_path: Path) -> None:
    for algorithm, vocabulary in (("bpe", 300), ("wordpiece", 200), ("unigram", 100)):
        folder = tmp_path / algorithm
        folder.mkdir()
        for name, text in files(train(lambda: [REAL] * 3, algorithm, vocabulary)).items():
            (folder / name).write_text(text, encoding="utf-8")
        theirs: Any = transformers.AutoTokenizer.from_pretrained(folder)
        ours = HuggingFaceTokenizer(Context(), path=str(folder), max_length=10_000)
        assert theirs.mask_token_id == ours.spec.special_ids["mask"] == 4
        for text in TEXTS:
            assert ours(text, DRAW).content.tolist() == theirs(text).input_ids
        assert ours(TEXTS[:2], DRAW).content.tolist() == theirs(*TEXTS[:2]).input_ids


def test_a_tokenizer_without_a_mask_token(tmp_path: Path) -> None:
    """The corruptor asks for an id of its own, behind the vocabulary."""
    gpt2(tmp_path)
    spec = HuggingFaceTokenizer(Context(), path=str(tmp_path)).spec
    assert "mask" not in spec.special_ids
    assert MaskToken(Context(specs={"text": spec}, modalities=("text",))).specials == ("mask",)
