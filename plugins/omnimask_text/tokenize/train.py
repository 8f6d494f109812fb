"""Deterministic training of tokenizers: byte-level BPE [0], WordPiece [1] and unigram [2].

[0] Radford et al.: Language Models are Unsupervised Multitask Learners, 2019.
[1] Devlin et al.: BERT, NAACL 2019.
[2] Kudo: Subword Regularization, ACL 2018.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

Algorithm: TypeAlias = Literal["bpe", "wordpiece", "unigram"]

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Special tokens of every tokenizer trained here, with ids from 0."""
CONFIG: Mapping[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "clean_up_tokenization_spaces": False,
}
"""``tokenizer_config.json``, which tells ``transformers`` the uses of special tokens."""

_PREFIX, _SPACE = "##", "▁"
_DIGITS = 4
"""Decimals of a unigram piece's log probability, enough for the trainer's own steps; summation order affects only later digits."""


def train(
    corpus: Callable[[], Iterable[str]],
    algorithm: Algorithm,
    vocabulary: int,
    *,
    lowercase: bool = False,
    characters: str = "",
) -> Tokenizer:
    """Train a tokenizer that frames texts as ``[CLS] a [SEP]`` and pairs as ``[CLS] a [SEP] b [SEP]``.

    Args:
        corpus: called twice for an iterator over the same texts.
        algorithm: ``bpe`` works on bytes and supports every text; ``wordpiece`` and ``unigram`` know the corpus's characters.
        vocabulary: number of ids, including the five special tokens.
        lowercase: convert to lower case; ``wordpiece`` then also drops accents, as BERT does.
        characters: known besides the corpus's.

    Raises:
        ValueError: the corpus contains no text, or has too few words or too many characters for the vocabulary.
    """
    tokenizer = _untrained(algorithm, lowercase)
    found = _characters(tokenizer, corpus())
    if not found:
        raise ValueError("the corpus contains no text")
    singles = sorted(found | set(characters) | ({_SPACE} if algorithm == "unigram" else set()))
    least = _smallest(algorithm, singles)
    if vocabulary < least:
        raise ValueError(
            f"a vocabulary of {vocabulary:,} is too small for {algorithm}: {len(SPECIALS)} special tokens and "
            f"single characters need {least:,}; raise it (8,192 suits a small corpus, 32,768 a large one)"
            + ("" if algorithm == "bpe" else ", or use bpe, which needs 261 for any corpus")
        )
    with _one_thread():
        tokenizer.train_from_iterator(corpus(), _trainer(algorithm, vocabulary, singles))
    finished = _finished(tokenizer, algorithm)
    if (reached := finished.get_vocab_size()) < vocabulary:
        raise ValueError(f"the corpus is too small for a vocabulary of {vocabulary:,}: it yields {reached:,}; use at most that")
    return finished


def files(tokenizer: Tokenizer) -> Mapping[str, str]:
    """Return contents by file name of a folder for ``AutoTokenizer.from_pretrained``."""
    compact = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    return {"tokenizer.json": compact + "\n", "tokenizer_config.json": json.dumps(CONFIG, indent=2) + "\n"}


def _untrained(algorithm: Algorithm, lowercase: bool) -> Tokenizer:
    match algorithm:
        case "bpe":
            tokenizer = Tokenizer(models.BPE())
            steps: list[Any] = [normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])]
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
        case "wordpiece":
            tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
            steps = [normalizers.BertNormalizer(lowercase=lowercase)]
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            tokenizer.decoder = decoders.WordPiece(prefix=_PREFIX)
        case "unigram":
            tokenizer = Tokenizer(models.Unigram())
            spaces = normalizers.Replace(Regex(r"\s+"), " ")
            steps = [normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else []), spaces]
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
            tokenizer.decoder = decoders.Metaspace()
    tokenizer.normalizer = steps[0] if len(steps) == 1 else normalizers.Sequence(steps)
    return tokenizer


def _characters(tokenizer: Tokenizer, corpus: Iterable[str]) -> set[str]:
    """Return the characters seen by the model, without white space."""
    found: set[str] = set()
    for text in corpus:
        found.update(tokenizer.normalizer.normalize_str(text))
    return {character for character in found if not character.isspace()}


def _smallest(algorithm: Algorithm, characters: list[str]) -> int:
    match algorithm:
        case "bpe":
            return len(SPECIALS) + 256
        case "wordpiece":
            return len(SPECIALS) + 2 * len(characters)
        case "unigram":
            return len(SPECIALS) + len(characters)


def _trainer(algorithm: Algorithm, vocabulary: int, characters: list[str]) -> Any:
    """Return a trainer with all single characters in a fixed order; otherwise ids depend on the order of a hash table."""
    specials = list(SPECIALS)
    match algorithm:
        case "bpe":
            alphabet = pre_tokenizers.ByteLevel.alphabet()
            return trainers.BpeTrainer(
                vocab_size=vocabulary, initial_alphabet=alphabet, special_tokens=specials, show_progress=False
            )
        case "wordpiece":
            singles = [*characters, *(_PREFIX + character for character in characters)]
            return trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=[*specials, *singles], show_progress=False)
        case "unigram":
            return trainers.UnigramTrainer(
                vocab_size=vocabulary,
                initial_alphabet=characters,
                special_tokens=specials,
                unk_token="[UNK]",
                show_progress=False,
            )


def _finished(trained: Tokenizer, algorithm: Algorithm) -> Tokenizer:
    """Move the trained vocabulary to a clean tokenizer with frames around texts."""
    model: Any = json.loads(trained.to_str())["model"]
    match algorithm:
        case "bpe":
            finished = Tokenizer(trained.model)
        case "wordpiece":
            finished = Tokenizer(models.WordPiece(model["vocab"], unk_token="[UNK]"))
        case "unigram":
            finished = Tokenizer(models.Unigram(_settled(model["vocab"]), unk_id=model["unk_id"]))
    finished.normalizer, finished.pre_tokenizer, finished.decoder = trained.normalizer, trained.pre_tokenizer, trained.decoder
    finished.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIALS])
    finished.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, finished.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return finished


def _settled(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Make the order and scores of unigram pieces independent of the order in which the trainer met the words.

    Pruned characters return in any order, each with a score one step above the previous one, starting from the lowest.
    """
    specials = [(piece, float(score)) for piece, score in pieces[: len(SPECIALS)]]
    scored = {piece: round(score, _DIGITS) for piece, score in pieces[len(SPECIALS) :]}
    lowest, step = min(scored.values()), 10**-_DIGITS
    singles = sorted(piece for piece in scored if len(piece) == 1)
    returned = [piece for piece in singles if scored[piece] <= lowest + step * (len(singles) + 1)]
    scored |= {piece: round(lowest + step * number, _DIGITS) for number, piece in enumerate(returned)}
    return specials + sorted(scored.items(), key=lambda one: (-one[1], one[0]))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Disable parallelism, because trainers add floats in the order of their threads."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
