"""The recipe `text/electra` against `transformers`: same weights, texts and random numbers; drawn ids, losses, gradients.

Both compute in float32 in another order of operations; the tolerance is that of the other text encoders.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from omnimask.builder.build import Built
from omnimask.interfaces import MaskedBatch
from omnimask_text.weights.hf_names import bert_names

from .learning import batches, small
from .test_parity import TOLERANCE, compare, with_noise

transformers = pytest.importorskip("transformers")

DEPTH, GENERATOR_DEPTH = 2, 1
SIZES = (
    "encoder.width=32", "encoder.heads=4", f"encoder.depth={DEPTH}", "encoder.embedding_width=24", "encoder.dropout=0.0",
    "encoders.generator.width=16", "encoders.generator.heads=2", f"encoders.generator.depth={GENERATOR_DEPTH}",
    "encoders.generator.embedding_width=24", "encoders.generator.dropout=0.0", "encoders.generator.position.max_length=128",
)  # fmt: skip


def peers(rows: int, length: int) -> tuple[Any, Any]:
    """Generator and discriminator with one module of embeddings."""
    common = {
        "vocab_size": rows, "embedding_size": 24, "max_position_embeddings": length, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "type_vocab_size": 2, "pad_token_id": None,
    }  # fmt: skip
    judge = transformers.ElectraForPreTraining(
        transformers.ElectraConfig(hidden_size=32, num_hidden_layers=DEPTH, num_attention_heads=4, intermediate_size=128, **common)
    )
    generator = transformers.ElectraForMaskedLM(
        transformers.ElectraConfig(
            hidden_size=16, num_hidden_layers=GENERATOR_DEPTH, num_attention_heads=2, intermediate_size=64, **common
        )
    )
    generator.electra.embeddings = judge.electra.embeddings
    generator.generator_lm_head.weight = judge.electra.embeddings.word_embeddings.weight
    return generator.eval(), judge.eval()


def names() -> dict[str, tuple[str, str | tuple[str, ...]]]:
    """Which peer and which of its parameters ours is."""
    found: dict[str, tuple[str, str | tuple[str, ...]]] = {}
    for network, peer, depth in (("main", "judge", DEPTH), ("generator", "generator", GENERATOR_DEPTH)):
        for ours, theirs in bert_names(depth, types=True):
            if ".embeddings." in ours and network == "generator":
                continue
            own = ours.replace("networks.main", f"networks.{network}")
            is_shared = any(part in own for part in (".encoder.norm.", ".encoder.types.", ".encoder.position."))
            if own.startswith("predictors") or (is_shared and network == "generator"):
                continue
            found[own] = peer, tuple(name.replace("bert.", "electra.", 1) for name in theirs)
        for part in ("weight", "bias"):
            found[f"networks.{network}.encoder.project.{part}"] = peer, (f"electra.embeddings_project.{part}",)
    for part in ("weight", "bias"):
        found[f"predictors.mlm.dense.{part}"] = "generator", (f"generator_predictions.dense.{part}",)
        found[f"predictors.mlm.norm.{part}"] = "generator", (f"generator_predictions.LayerNorm.{part}",)
        found[f"predictors.replaced.dense.0.{part}"] = "judge", (f"discriminator_predictions.dense.{part}",)
        found[f"predictors.replaced.heads.text.{part}"] = "judge", (f"discriminator_predictions.dense_prediction.{part}",)
    found["predictors.mlm.heads.text.bias"] = "generator", ("generator_lm_head.bias",)
    return found


def values(of: dict[str, Any], where: tuple[str, Any]) -> Tensor:
    return torch.cat([of[where[0]][name] for name in where[1]])


def padded(values: Tensor, lengths: list[int], fill: int) -> Tensor:
    return pad_sequence(values.split(lengths), batch_first=True, padding_value=fill)


@pytest.fixture(scope="module")
def scene() -> tuple[Built, MaskedBatch, Any, Any]:
    built = small("text/electra", *SIZES)
    generator, judge = peers(len(built.model.networks["main"].embeddings["text"].weight), 128)
    with_noise(generator)
    with_noise(judge)
    state = {"generator": generator.state_dict(), "judge": judge.state_dict()}
    own = dict(built.model.named_parameters())
    assert own.keys() == names().keys()
    with torch.no_grad():
        for name, where in names().items():
            source = values(state, where)
            own[name].copy_(source[: len(own[name])])
    return built, next(iter(batches(built, 1))), generator, judge


def test_losses_and_gradients(scene: tuple[Built, MaskedBatch, Any, Any]) -> None:
    built, batch, generator, judge = scene
    model = built.model.eval()
    output = model(batch)
    output.loss.backward()
    stream, judged = batch.views["main"].context, batch.views["judged"].context
    content, lengths = batch.store["text"].data, stream.layout.lengths.tolist()
    types = batch.fields["text"].get("document", torch.zeros_like(content))
    mask = padded(torch.ones_like(content), lengths, 0)
    shown = torch.where(stream.literal >= 0, stream.literal, content)
    more = {"attention_mask": mask, "token_type_ids": padded(types, lengths, 0)}
    logits = generator(input_ids=padded(shown, lengths, 0), **more).logits[mask.bool()]
    chosen = stream.targets.at[:, 0]
    width = model.predictors["mlm"].heads["text"].out_features
    generated = functional.cross_entropy(logits[chosen][:, :width], content[stream.targets.of])
    # The same numbers draw the same ids: the inverse of the cumulated probabilities of the vocabulary.
    vocabulary = built.specs["text"].vocabulary
    with torch.no_grad():
        cumulated = logits[chosen][:, :vocabulary].double().softmax(1).cumsum(1)
        drawn = torch.searchsorted(cumulated, judged.noise[chosen][:, None] * cumulated[:, -1:], right=True).squeeze(1)
        replaced = content.index_copy(0, chosen, drawn)
        ours = model.predict(batch)["main"].encoded.stream
    assert torch.equal(torch.where(ours.literal >= 0, ours.literal, content), replaced)
    asked = judged.targets.at[:, 0]
    assert set(asked.tolist()) == set(np.flatnonzero(~np.asarray(batch.fields["text"]["special"])).tolist())
    found = judge(input_ids=padded(replaced, lengths, 0), **more).logits[mask.bool()][asked]
    is_other = (replaced != content)[asked]
    assert 0.03 < is_other.float().mean() < 0.3
    discriminated = functional.binary_cross_entropy_with_logits(found, is_other.float())
    assert output.terms["mlm"].item() == pytest.approx(generated.item(), rel=TOLERANCE)
    assert output.terms["replaced"].item() == pytest.approx(discriminated.item(), rel=TOLERANCE)
    assert output.loss.item() == pytest.approx((generated + 50 * discriminated).item(), rel=TOLERANCE)
    (generated + 50 * discriminated).backward()
    gradients = {
        name: {key: parameter.grad for key, parameter in peer.named_parameters() if parameter.grad is not None}
        for name, peer in (("generator", generator), ("judge", judge))
    }
    mine = {name: parameter.grad for name, parameter in model.named_parameters()}
    theirs = {name: values(gradients, where)[: len(mine[name])] for name, where in names().items()}
    compare(mine, theirs)
