"""The recipe `text/deberta-v3` against `transformers`: same weights, texts and random numbers; drawn ids, losses, gradients.

Both compute in float32 in another order of operations; the tolerance is that of the other text encoders.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from omnimask.builder.build import Built, build
from omnimask.interfaces import MaskedBatch
from omnimask.recipe import load_recipe
from omnimask_text.weights.hf_names import deberta_names

from .learning import ENGLISH, batches
from .test_parity import TOLERANCE, compare, with_noise

transformers = pytest.importorskip("transformers")

WIDTH, DEPTH, GENERATOR_DEPTH = 32, 2, 1
SHARED = ("width=32", "heads=4", "mlp_width=48", "dropout=0.0", "buckets=8", "max_distance=16")
SIZES = (
    f"modalities.text.tokenizer={ENGLISH}", "data={name: english, validation: 0.02, max_validation: 64}",
    "train.batch_tokens=1024", "train.workers=0",
    *(f"{network}.{size}" for network in ("encoder", "encoders.discriminator") for size in SHARED),
    f"encoder.depth={GENERATOR_DEPTH}", f"encoders.discriminator.depth={DEPTH}",
)  # fmt: skip
CORRECTION = "networks.discriminator.embeddings.text.correction.weight"
TABLE = "networks.main.embeddings.text.weight"


class Judge(nn.Module):
    """A discriminator of ``transformers``' encoder, and ELECTRA's head."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.deberta = transformers.DebertaV2Model(config)
        self.dense, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.last(functional.gelu(self.dense(self.deberta(**inputs).last_hidden_state))).squeeze(-1)


def peers(rows: int) -> tuple[Any, Judge]:
    common = {
        "vocab_size": rows, "hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 48, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "relative_attention": True, "position_buckets": 8, "max_relative_positions": 16,
        "position_biased_input": False, "pos_att_type": "p2c|c2p", "share_att_key": True, "norm_rel_ebd": "layer_norm",
        "type_vocab_size": 0, "pad_token_id": None,
    }  # fmt: skip
    generator = transformers.DebertaV2ForMaskedLM(transformers.DebertaV2Config(num_hidden_layers=GENERATOR_DEPTH, **common))
    return generator.eval(), Judge(transformers.DebertaV2Config(num_hidden_layers=DEPTH, **common)).eval()


def names() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Which peer and which of its parameters ours is; the discriminator's table is the sum of both of ours."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {ours: ("generator", theirs) for ours, theirs in deberta_names(GENERATOR_DEPTH)}
    for ours, theirs in deberta_names(DEPTH):
        if ours.startswith("networks.main.encoder"):
            found[ours.replace(".main.", ".discriminator.")] = "judge", theirs
    found[CORRECTION] = "judge", ("deberta.embeddings.word_embeddings.weight",)
    for part in ("weight", "bias"):
        found[f"predictors.replaced.dense.0.{part}"] = "judge", (f"dense.{part}",)
        found[f"predictors.replaced.heads.text.{part}"] = "judge", (f"last.{part}",)
    return found


def padded(values: Tensor, lengths: list[int]) -> Tensor:
    return pad_sequence(values.split(lengths), batch_first=True)


@pytest.fixture(scope="module")
def scene() -> tuple[Built, MaskedBatch, Any, Judge]:
    built = build(load_recipe("text/deberta-v3", SIZES))
    own = dict(built.model.named_parameters())
    generator, judge = peers(len(own[TABLE]))
    with_noise(generator)
    with_noise(judge)
    state = {"generator": generator.state_dict(), "judge": judge.state_dict()}
    assert own.keys() == names().keys()
    with torch.no_grad():
        for name, (peer, theirs) in names().items():
            own[name].copy_(torch.cat([state[peer][part] for part in theirs])[: len(own[name])])
        own[CORRECTION].sub_(own[TABLE])
    return built, next(iter(batches(built, 1))), generator, judge


def test_losses_and_gradients(scene: tuple[Built, MaskedBatch, Any, Judge]) -> None:
    built, batch, generator, judge = scene
    model: Any = built.model.eval()
    output = model(batch)
    output.loss.backward()
    judged: Any
    stream, judged = batch.views["main"].context, batch.views["judged"].context
    content, lengths = batch.store["text"].data, stream.layout.lengths.tolist()
    assert len(set(lengths)) > 1
    attention = padded(torch.ones_like(content), lengths)
    shown = torch.where(stream.literal >= 0, stream.literal, content)
    logits = generator(input_ids=padded(shown, lengths), attention_mask=attention).logits[attention.bool()]
    chosen, width = stream.targets.at[:, 0], model.predictors["mlm"].heads["text"].out_features
    generated = functional.cross_entropy(logits[chosen][:, :width], content[stream.targets.of])
    with torch.no_grad():
        cumulated = logits[chosen][:, : built.specs["text"].vocabulary].double().softmax(1).cumsum(1)
        drawn = torch.searchsorted(cumulated, judged.noise[chosen][:, None] * cumulated[:, -1:], right=True).squeeze(1)
        replaced = content.index_copy(0, chosen, drawn)
        ours = model.predict(batch)["discriminator"].encoded.stream
    assert torch.equal(torch.where(ours.literal >= 0, ours.literal, content), replaced)
    asked = judged.targets.at[:, 0]
    found = judge(input_ids=padded(replaced, lengths), attention_mask=attention)[attention.bool()][asked]
    discriminated = functional.binary_cross_entropy_with_logits(found, (replaced != content)[asked].float())
    assert output.terms["mlm"].item() == pytest.approx(generated.item(), rel=TOLERANCE)
    assert output.terms["replaced"].item() == pytest.approx(discriminated.item(), rel=TOLERANCE)
    (generated + 50 * discriminated).backward()
    gradients = {
        name: {key: parameter.grad for key, parameter in peer.named_parameters() if parameter.grad is not None}
        for name, peer in (("generator", generator), ("judge", judge))
    }
    mine: dict[str, Any] = {name: parameter.grad for name, parameter in model.named_parameters()}
    theirs = {
        name: torch.cat([gradients[peer][part] for part in parts])[: len(mine[name])] for name, (peer, parts) in names().items()
    }
    # The generator's table has the gradient of its own loss alone: its peer's is another tensor than the judge's.
    compare(mine, theirs)
