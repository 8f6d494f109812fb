"""Export of trained image models as folders of `transformers`. N patches of an image, K of them visible, D width."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor, nn

from omnimask.interfaces import Context, Draw, Exported, MaskedBatch, Masking, Model, Sample, Tokens, TokenSpec, Trained
from omnimask.modules import MLP, Decoder, Drop, LinearEmbedding, Patch, SinCos, TransformerEncoder, collate
from omnimask.pretrained import check_class, compared, quiet
from omnimask_image.tokenize.tokenizer import PatchTokenizer
from omnimask_image.weights.vit_mae import POSITIONS, to_vit_mae

_PUBLISHED_NAMES = (
    (r"^vit\.layers\.", "vit.encoder.layer."),
    (r"\.attention\.([qkv])_proj\.", lambda match: f".attention.attention.{_LETTERS[match[1]]}."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
"""Names of transformers 5, and those of published files, which are readable by all versions."""
_LETTERS = {"q": "query", "k": "key", "v": "value"}


class VitMaeExporter:
    """A ``ViTMAEForPreTraining``, encoder and decoder, and the preprocessing of its images.

    Supports recipes with the encoder ``transformer`` (``summary: 1``, LayerNorm, GELU) and a ``decoder`` of the same kind,
    positions ``sincos``, the target ``patch`` (mean squared error), and ``image.patch`` with square images and patches; others are
    refused.
    """

    format: ClassVar[str] = "transformers"
    tolerance: ClassVar[float] = 1e-4

    def __init__(self, context: Context) -> None:
        del context

    def __call__(self, trained: Trained, folder: Path) -> Exported:
        parts = _parts_of(trained)
        visible = _num_visible(trained.batch, parts)
        config = transformers.ViTMAEConfig(**_settings(parts, visible), architectures=["ViTMAEForPreTraining"])
        config.save_pretrained(folder)
        save_file(_published(_state(trained.model, parts)), folder / "model.safetensors", {"format": "pt"})
        (folder / "preprocessor_config.json").write_text(json.dumps(_preprocessing(parts.tokenizer), indent=2) + "\n")
        with quiet(transformers.utils.logging), torch.random.fork_rng(devices=[]):
            again = transformers.ViTMAEForPreTraining.from_pretrained(folder, local_files_only=True)
        return _compare(trained, parts, again.float().eval(), visible)


@dataclass(frozen=True)
class _VitMaeParts:
    modality: str
    label: str
    tokenizer: PatchTokenizer
    spec: TokenSpec
    encoder: Any
    decoder: Any
    target: Patch

    @property
    def stacks(self) -> tuple[Any, Any]:
        return self.encoder.stack.blocks, self.decoder.stack.blocks


def _parts_of(trained: Trained) -> _VitMaeParts:
    """Return the parts of a model that ViTMAE can represent. Raise ``ValueError`` for any other."""
    model = trained.model
    part = model.each()[0]
    if len(model.passes) != 1 or len(part.embeddings) != 1 or len(part.predictors) != 1:
        raise ValueError("the model must have one pass, one modality and one predictor")
    ((modality, embedding),) = part.embeddings.items()
    ((label, decoder),) = part.predictors.items()
    tokenizer, encoder = trained.tokenizers[modality], part.encoder
    check_class(tokenizer, PatchTokenizer, "the tokenizer image.patch")
    check_class(embedding, LinearEmbedding, "the embedding linear")
    check_class(encoder, TransformerEncoder, "the encoder transformer")
    check_class(decoder, Decoder, "the predictor decoder")
    assert isinstance(tokenizer, PatchTokenizer) and isinstance(decoder, Decoder)
    for owner in (encoder, decoder):
        check_class(owner.position, SinCos, "the position sincos")
    target: Any = decoder.target(modality)
    check_class(target, Patch, "the target patch")
    parts = _VitMaeParts(modality, label, tokenizer, trained.specs[modality], encoder, decoder, target)
    _check_form(parts)
    return parts


def _check_form(parts: _VitMaeParts) -> None:
    """Check properties not determined by weights and classes."""
    encoder, decoder, tokenizer = parts.encoder, parts.decoder, parts.tokenizer
    blocks = [block for stack in parts.stacks for block in stack]
    norms = [module for owner in (encoder, decoder) for module in owner.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm)]
    wrong = {
        "summary: 1 and no registers": encoder.num_summary == 1 and encoder.registers is None,
        "norm: layer": not any(isinstance(norm, nn.RMSNorm) for norm in norms),
        "mlp: gelu": all(isinstance(block.mlp, MLP) for block in blocks),
        "qk_norm: false": all(isinstance(block.attention.norm_query, nn.Identity) for block in blocks),
        "one norm_eps in encoder and decoder": len({norm.eps for norm in norms}) == 1,
        "a predictor of the last layer": decoder.context.layer is None,
        "loss: mse": parts.target.kind == "mse",
        "eps: 1e-6 in a normalized target": not parts.target.normalize or parts.target.eps == 1e-6,
        "square images and patches": len({*tokenizer.image_size}) == 1 and len({*tokenizer.patch_size}) == 1,
    }
    missing = [remedy for remedy, is_fine in wrong.items() if not is_fine]
    if missing:
        raise ValueError(f"not a ViTMAE model; it needs {'; '.join(missing)}")


def _settings(parts: _VitMaeParts, visible: int) -> Mapping[str, Any]:
    """Return entries of ``ViTMAEConfig``."""
    (encoder, decoder), count = parts.stacks, parts.tokenizer.count(None)
    ratio = (count - visible) / count
    if int(count * (1 - ratio)) != visible:  # the peer rounds down
        ratio -= 0.5 / count
    return {
        "hidden_size": parts.encoder.width,
        "num_hidden_layers": len(encoder),
        "num_attention_heads": encoder[0].attention.heads,
        "intermediate_size": encoder[0].mlp[0].out_features,
        "layer_norm_eps": parts.encoder.norm.eps,
        "image_size": parts.tokenizer.image_size[0],
        "patch_size": parts.tokenizer.patch_size[0],
        "num_channels": parts.tokenizer.channels,
        "decoder_num_attention_heads": decoder[0].attention.heads,
        "decoder_hidden_size": parts.decoder.project.out_features,
        "decoder_num_hidden_layers": len(decoder),
        "decoder_intermediate_size": decoder[0].mlp[0].out_features,
        "mask_ratio": ratio,
        "norm_pix_loss": parts.target.normalize,
    }


def _state(model: Model, parts: _VitMaeParts) -> dict[str, Tensor]:
    """Return weights of ``ViTMAEForPreTraining``, including position tables, in which the class token comes first."""
    height, width = parts.tokenizer.patch_size
    encoder, decoder = parts.stacks
    state = to_vit_mae(
        model.state_dict(),
        (len(encoder), len(decoder)),
        (height, width, parts.tokenizer.channels),
        modality=parts.modality,
        predictor=parts.label,
    )
    for name, owner in zip(POSITIONS, (parts.encoder, parts.decoder), strict=True):
        state[name] = torch.cat([owner.position.table[-1:], owner.position.table[:-1]])[None]
    return state


def _published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, former in _PUBLISHED_NAMES:
            name = re.sub(pattern, former, name)
        renamed[name] = tensor.contiguous()
    return renamed


def _preprocessing(tokenizer: PatchTokenizer) -> Mapping[str, Any]:
    """Return ``preprocessor_config.json``. Images of the model's size are read as here; others are squeezed instead of cropped."""
    height, width = tokenizer.image_size
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(tokenizer.mean),
        "image_std": list(tokenizer.std),
    }


# ---- comparison -----------------------------------------------------------------------------------------------------------------


def _num_visible(batch: MaskedBatch, parts: _VitMaeParts) -> int:
    """Return K, the number of patches shown by the recipe, rounded if it differs between images."""
    lengths = batch.views["main"].context.layout.lengths
    return min(max(round(float(lengths.mean())), 1), parts.tokenizer.count(None) - 1)


def _compare(trained: Trained, parts: _VitMaeParts, peer: Any, visible: int) -> Exported:
    """Compare the predicted patches of the batch's images, with masks supported by both models."""
    name, spec, count = parts.modality, parts.spec, parts.tokenizer.count(None)
    store = trained.batch.store[name].data
    images = store.unflatten(0, (-1, count))
    noise = torch.rand(len(images), count, generator=torch.Generator().manual_seed(0))
    samples, views = [], []
    for number, (content, draws) in enumerate(zip(images, noise, strict=True)):
        places = np.indices(parts.tokenizer.grid).reshape(2, -1).T.astype(np.float32)
        sample = Sample({name: Tokens(content.numpy(), places)}, Draw(0, 0, str(number)), (name,))
        is_visible = np.zeros(count, bool)
        is_visible[np.argsort(draws.numpy(), kind="stable")[:visible]] = True
        samples.append(sample)
        views.append({"main": Drop(Context(specs={name: spec}))(sample, {name: Masking(is_visible, ~is_visible)})})
    with torch.inference_mode():
        (prediction,) = trained.model.predict(collate(samples, views, {name: spec}))["main"].predictions.values()
        expected = prediction.head(prediction.features)
        found = peer(_pixels(images, parts), noise=noise).logits.flatten(0, 1)[prediction.targets.of]
    outputs = f"the {len(expected):,} predicted patches of {len(images)} images"
    return compared(outputs, expected, found)


def _pixels(images: Tensor, parts: _VitMaeParts) -> Tensor:
    """Convert (B, N, p, q, C) in stored units to scaled (B, C, H, W)."""
    scaled = (images.float() - torch.tensor(parts.spec.mean)) / torch.tensor(parts.spec.std)
    rows, _ = parts.tokenizer.grid
    return rearrange(scaled, "b (r s) p q c -> b c (r p) (s q)", r=rows).contiguous()
