"""The text encoders and their head against `transformers`: same weights, masks and texts of different lengths; loss, gradients.

Both compute in float32, in another order of operations, the peers on padded texts. Measured worst cases: loss 1.1e-7, whole
gradient 2.9e-7, single tensors 5.0e-7 of their scale; the tolerance of 1e-5, that of the image recipe, leaves room for other CPUs'
kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omnimask.component import named
from omnimask.components.corruptors.bert import BertCorruptor
from omnimask.components.embeddings.table import TableEmbedding
from omnimask.components.encoders.bert import BertEncoder
from omnimask.components.encoders.deberta import DebertaEncoder
from omnimask.components.encoders.modernbert import ModernBertEncoder
from omnimask.components.predictors.mlm import MaskedLM
from omnimask.data.collation import collate
from omnimask.interfaces import Context, Draw, FieldSpec, MaskedBatch, Masking, Sample, Tokens, TokenSpec
from omnimask.network.model import MaskedModel
from omnimask.network.network import Network
from omnimask.network.passes import Pass, WeightedPredictor
from omnimask.pretrained import gather, load, scatter
from omnimask_text.weights.hf_names import (
    BERT_TIED,
    DEBERTA_TIED,
    MODERNBERT_TIED,
    bert_names,
    deberta_names,
    modernbert_names,
)

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5
LENGTHS = [9, 40, 1, 23, 40, 17]
VOCABULARY, WIDTH, HEADS, DEPTH, HIDDEN = 97, 32, 4, 4, 48
SPEC = TokenSpec(
    vocabulary=VOCABULARY, axes=1, special_ids={"mask": 4}, fields={"document": FieldSpec("int64"), "special": FieldSpec("bool")}
)
CONTEXT = Context(specs={"text": SPEC}, modalities=("text",))


def batch_of_texts(*numbers: int) -> MaskedBatch:
    """Texts of two parts each, about a third of their tokens hidden by 80-10-10."""
    corruptor = BertCorruptor(CONTEXT)
    samples, views = [], []
    for number in numbers or range(len(LENGTHS)):
        length = LENGTHS[number]
        rng = np.random.default_rng(number)
        fields = {"document": (np.arange(length) >= length // 2).astype(np.int64), "special": np.zeros(length, bool)}
        tokens = Tokens(rng.integers(5, VOCABULARY, length), np.arange(length, dtype=np.float32)[:, None], fields)
        sample = Sample({"text": tokens}, Draw(0, 0, str(number)), ("text",))
        is_target = rng.random(length) < 0.35
        samples.append(sample)
        views.append({"main": corruptor(sample, {"text": Masking(~is_target, is_target)})})
    return collate(samples, views, {"text": SPEC})


def model_of(encoder: Any, **head: Any) -> MaskedModel:
    embedding = TableEmbedding(Context(specs={"text": SPEC}, modalities=("text",), width=WIDTH))
    context = Context(
        specs={"text": SPEC}, modalities=("text",), width=WIDTH, depth=DEPTH, embeddings={"text": embedding}, label="mlm"
    )
    predictor = MaskedLM(context, target=named("target", "ids"), **head)
    network = Network({"text": embedding}, encoder)
    return MaskedModel({"main": network}, [Pass("main", "main", network, {"mlm": WeightedPredictor(predictor)})])


def padded(batch: MaskedBatch) -> dict[str, Tensor]:
    """The batch as the peers take it."""
    stream, content = batch.views["main"].context, batch.store["text"].data
    shown = torch.where(stream.literal >= 0, stream.literal, content)
    labels = torch.full_like(content, -100)
    labels[stream.targets.at[:, 0]] = content[stream.targets.of]
    lengths = stream.layout.lengths.tolist()
    out = {"input_ids": shown, "labels": labels, "token_type_ids": batch.fields["text"]["document"]}
    fill = {"input_ids": 0, "labels": -100, "token_type_ids": 0}
    rows = {
        name: torch.nn.utils.rnn.pad_sequence(values.split(lengths), batch_first=True, padding_value=fill[name])
        for name, values in out.items()
    }
    rows["attention_mask"] = torch.nn.utils.rnn.pad_sequence([torch.ones(n, dtype=torch.long) for n in lengths], batch_first=True)
    return rows


def bert() -> tuple[Any, MaskedModel, list[Any], Any]:
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        max_position_embeddings=40,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    position = named("position", "learned", max_length=40)
    ours = model_of(BertEncoder(CONTEXT, width=WIDTH, depth=DEPTH, heads=HEADS, mlp_width=HIDDEN, types=2, position=position))
    return transformers.BertForMaskedLM(config), ours, list(bert_names(DEPTH)), BERT_TIED


def modernbert() -> tuple[Any, MaskedModel, list[Any], Any]:
    """Windows of 8 slots, so that most texts are longer."""
    config = transformers.ModernBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        local_attention=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    )
    ours = model_of(
        ModernBertEncoder(CONTEXT, width=WIDTH, depth=DEPTH, heads=HEADS, mlp_width=HIDDEN, window=8), bias=False, norm_eps=1e-5
    )
    return transformers.ModernBertForMaskedLM(config), ours, list(modernbert_names(DEPTH)), MODERNBERT_TIED


def deberta() -> tuple[Any, MaskedModel, list[Any], Any]:
    """Eight buckets up to a distance of 16, so that texts have single, logarithmic and clamped distances."""
    config = transformers.DebertaV2Config(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        relative_attention=True,
        position_buckets=8,
        max_relative_positions=16,
        position_biased_input=False,
        pos_att_type="p2c|c2p",
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        type_vocab_size=0,
        conv_kernel_size=0,
    )
    encoder = DebertaEncoder(CONTEXT, width=WIDTH, depth=DEPTH, heads=HEADS, mlp_width=HIDDEN, buckets=8, max_distance=16)
    ours = model_of(encoder, norm_eps=1e-7)
    return transformers.DebertaV2ForMaskedLM(config), ours, list(deberta_names(DEPTH)), DEBERTA_TIED


FAMILIES = {"bert": bert, "modernbert": modernbert, "deberta": deberta}


def with_noise(model: Any) -> None:
    """Weights of a realistic scale: the peers' own initialisation has zero biases."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients(family: str) -> None:
    peer, model, names, tied = FAMILIES[family]()
    with_noise(peer)
    peer.eval()
    load(model, gather(peer.state_dict(), names, ignored=tied))
    batch = batch_of_texts()
    rows = padded(batch)
    if family != "bert":
        del rows["token_type_ids"]
    expected, found = peer(**rows).loss, model(batch).loss
    assert found.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    expected.backward()
    found.backward()
    theirs = gather({name: parameter.grad for name, parameter in peer.named_parameters()}, names, ignored=tied)
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert ours.keys() == theirs.keys()
    compare(ours, theirs)


def compare(ours: dict[str, Any], theirs: dict[str, Tensor]) -> None:
    whole = torch.cat([theirs[name].flatten() for name in theirs]).norm().item()
    difference = torch.cat([(ours[name] - theirs[name]).flatten() for name in theirs]).norm().item()
    assert difference / whole <= TOLERANCE
    for name, right in theirs.items():
        scale = right.norm().item() + 1e-3 * whole / len(theirs) ** 0.5
        assert (ours[name] - right).norm().item() / scale <= TOLERANCE, name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_way_back(family: str) -> None:
    """Weights that were renamed and named back are theirs again, bit for bit."""
    peer, model, names, tied = FAMILIES[family]()
    state = {name: tensor for name, tensor in peer.state_dict().items() if name not in tied}
    load(model, gather(state, names))
    back = scatter(model.state_dict(), names)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_is_one_by_one(family: str) -> None:
    """Texts that share a batch do not see each other."""
    _, model, _, _ = FAMILIES[family]()
    with_noise(model)
    together = model.predict(batch_of_texts())["main"].encoded.features
    for number, length in enumerate(LENGTHS):
        first = int(together.layout.offsets[number])
        alone = model.predict(batch_of_texts(number))["main"].encoded.features.data
        assert torch.allclose(together.data[first : first + length], alone, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_only_what_is_asked_is_computed(family: str) -> None:
    """The loss reads the asked slots of the last block and no others; the gradient is that of the whole block."""
    _, model, _, _ = FAMILIES[family]()
    with_noise(model)
    batch = batch_of_texts()
    (part,) = model.each()
    assert part.needs_asked_only
    features = model.predict(batch, only_asked=True)["main"].encoded
    assert features.only_asked
    assert len(features.features.data) == len(np.unique(batch.views["main"].context.targets.at))
    gradients = []
    for is_whole in (False, True):
        vars(part)["needs_asked_only"] = not is_whole
        model.zero_grad()
        model(batch).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    compare(gradients[0], gradients[1])
