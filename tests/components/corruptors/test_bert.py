"""80-10-10: the shares, what is asked, and the peer's collator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omnimask.components.corruptors.bert import BertCorruptor
from omnimask.components.maskers.random import RandomMasker
from omnimask.interfaces import CONTENT, Context, Draw, Masking, Sample, Tokens, TokenSpec

SPEC = TokenSpec(vocabulary=50, special_ids={"mask": 4})
LENGTH = 40_000


def context(**specs: TokenSpec) -> Context:
    return Context(specs=specs, modalities=tuple(specs))


def sample_of(length: int = LENGTH, key: str = "a") -> Sample:
    content = np.random.default_rng(0).integers(5, 50, length)
    return Sample({"m": Tokens(content, np.arange(length, dtype=np.float32)[:, None])}, Draw(0, 0, key), ("m",))


def fates(corruptor: BertCorruptor, sample: Sample, is_target: np.ndarray) -> tuple[float, float, float]:
    """Shares of the hidden tokens that show the mask token, another id, or what they are."""
    stream = corruptor(sample, {"m": Masking(~is_target, is_target)}).context
    shown = stream.literal[is_target]
    assert np.all(stream.literal[~is_target] == CONTENT)
    assert stream.targets.of.tolist() == np.flatnonzero(is_target).tolist()
    return float(np.mean(shown == 4)), float(np.mean((shown >= 0) & (shown != 4))), float(np.mean(shown == CONTENT))


def test_shares() -> None:
    """6,000 hidden tokens: a share of 0.8 has a standard deviation of 0.005. A fiftieth of the random ids is the mask's own."""
    is_target = np.random.default_rng(1).random(LENGTH) < 0.15
    masked, swapped, kept = fates(BertCorruptor(context(m=SPEC)), sample_of(), is_target)
    assert masked == pytest.approx(0.8 + 0.1 / 50, abs=0.02)
    assert swapped == pytest.approx(0.1 * 49 / 50, abs=0.015)
    assert kept == pytest.approx(0.1, abs=0.015)


def test_random_ids_are_uniform_over_the_vocabulary() -> None:
    stream = BertCorruptor(context(m=SPEC), masked=0, random=1)(
        sample_of(), {"m": Masking(np.zeros(LENGTH, bool), np.ones(LENGTH, bool))}
    ).context
    counts = np.bincount(stream.literal, minlength=50)
    assert counts.min() > 0.85 * LENGTH / 50 and counts.max() < 1.15 * LENGTH / 50  # five standard deviations


def test_masking_statistics_are_those_of_the_peers_collator() -> None:
    """Hidden share, and of the hidden tokens those that show the mask, another id or themselves: within four standard errors."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, **{f"w{i}": i for i in range(5, 50)}}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, mask_token="[MASK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    sample = sample_of()
    torch.manual_seed(0)
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    out = collator([{"input_ids": sample.tokens["m"].content.tolist()}])
    ids, labels, content = out["input_ids"][0].numpy(), out["labels"][0].numpy(), sample.tokens["m"].content
    asked = labels != -100
    theirs = shares(ids[asked], content[asked])
    is_target = RandomMasker(Context(), ratio=0.15)(sample.tokens["m"], sample.draw).is_target
    stream = BertCorruptor(context(m=SPEC))(sample, {"m": Masking(~is_target, is_target)}).context
    shown = np.where(stream.literal == CONTENT, content, stream.literal)[is_target]
    ours = shares(shown, content[is_target])
    assert np.mean(asked) == pytest.approx(np.mean(is_target), abs=4 * (0.15 * 0.85 / LENGTH) ** 0.5)
    for mine, peer in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(peer, abs=4 * (2 * 0.16 / 6000) ** 0.5)


def shares(shown: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    return float(np.mean(shown == 4)), float(np.mean((shown != 4) & (shown != right))), float(np.mean(shown == right))


def test_several_modalities_show_ids_of_their_own() -> None:
    big = TokenSpec(vocabulary=1000, specials=("mask",))
    tokens = {
        "a": Tokens(np.full(500, 7), np.zeros((500, 1), np.float32)),
        "b": Tokens(np.full(500, 700), np.zeros((500, 1), np.float32)),
    }
    hidden = Masking(np.zeros(500, bool), np.ones(500, bool))
    view = BertCorruptor(context(a=SPEC, b=big))(Sample(tokens, Draw(0, 0, "k"), ("a", "b")), {"a": hidden, "b": hidden})
    first, second = view.context.literal[:500], view.context.literal[500:]
    assert 4 in first and first.max() < 50
    assert 1000 in second and np.sum((second >= 50) & (second < 1000)) > 20


def test_options_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="sum to at most 1"):
        BertCorruptor(context(m=SPEC), masked=0.8, random=0.3)
    with pytest.raises(ValueError, match="are continuous; use mask_token"):
        BertCorruptor(context(m=TokenSpec(width=(2,))))
