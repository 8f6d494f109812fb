"""Two synthetic modalities and a data set, for tests of single encoders and predictors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from omnimask.component import Component
from omnimask.data.config import DataOptions
from omnimask.interfaces import Context, Draw, FieldSpec, Tokens, TokenSpec
from omnimask.recipe import DataConfig, ModalityConfig, PredictorConfig, Recipe
from omnimask.recipe.config import GroupConfig, LabelConfig, ViewConfig
from omnimask.testing.samples import make_field
from omnimask.training.config import TrainConfig

VOCABULARY = 7
WIDTH = 4


class VectorTokenizer:
    """Tokenizer of (L, 4) float32 arrays, unchanged, with one position axis; ``fields`` are filled with synthetic values."""

    fields: ClassVar[Mapping[str, FieldSpec]] = {}

    decoder: ClassVar[str | None] = None
    embedded: ClassVar[str | None] = None
    renderer: ClassVar[str | None] = None

    def __init__(self, context: Context) -> None:
        del context

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(width=(WIDTH,), fields=self.fields)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        return self._placed(np.asarray(raw, np.float32))

    def _placed(self, content: NDArray[Any]) -> Tokens:
        rng = Draw(0, 0, str(content.tobytes())).rng("fields")  # identical for a sample in every epoch
        fields = {name: make_field(field, len(content), rng) for name, field in self.fields.items()}
        return Tokens(content, np.arange(len(content), dtype=np.float32)[:, None], fields)

    def decode(self, tokens: Tokens) -> Any:
        return np.asarray(tokens.content)

    def count(self, raw: Any) -> int | None:
        return None if raw is None else len(raw)


class Letters(VectorTokenizer):
    """Tokenizer of (L,) ids below 7, unchanged."""

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=VOCABULARY, fields=self.fields)

    def __call__(self, raw: Any, draw: Draw) -> Tokens:
        return self._placed(np.asarray(raw, np.int64))


class Waves:
    """Data set of 64 samples of 2 to 20 tokens, with ``vectors`` (sampled sines) and ``letters`` (their quantized first component).

    Two thirds of the samples have the labels ``begins`` (whether the first letter is high) and ``mean`` (of the vectors).
    """

    def __init__(self, context: Context) -> None:
        del context

    def __len__(self) -> int:
        return 64

    def key(self, index: int) -> str:
        return f"waves/{range(len(self))[index]:02d}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = Draw(0, 0, self.key(index)).rng("waves")
        length = int(rng.integers(2, 21))
        phase = rng.uniform(0, 6) + 0.7 * np.arange(length)[:, None] + np.arange(WIDTH) / 2
        vectors = np.sin(phase) + rng.normal(0, 0.1, phase.shape)
        letters = np.clip(np.floor((vectors[:, 0] + 1) / 2 * VOCABULARY), 0, VOCABULARY - 1)
        row = {"vectors": vectors.astype(np.float32), "letters": letters.astype(np.int64)}
        labels = {"begins": int(letters[0] > VOCABULARY // 2), "mean": float(vectors.mean())}
        return {**row, **(labels if index % 3 else {})}

    def fingerprint(self) -> str:
        return "waves of the conformance kit, 2"


TOKENIZERS: dict[str, type] = {"vectors": VectorTokenizer, "letters": Letters}
LABELS = {"begins": LabelConfig("begins", "begins", 2), "mean": LabelConfig("mean", "mean")}
AGAIN = "again"
"""Second view with its own masking, for predictors decoding one."""
_POSITION = Component("position", "sincos")


def synthetic_recipe(
    *,
    encoder: Component[Any] | None = None,
    predictor: Component[Any] | None = None,
    corruptor: Component[Any] | None = None,
    masker: Component[Any] | None = None,
    embedding: Component[Any] | None = None,
    position: Component[Any] | None = None,
    target: Component[Any] | None = None,
    modality: str = "letters",
    layer: int | None = None,
    query: str | None = None,
    group: int = 1,
    fields: Mapping[str, FieldSpec] | None = None,
) -> Recipe:
    """Return a recipe around one component, with everything else small: BERT's arrangement over synthetic letters (or vectors).

    Args:
        encoder, predictor, corruptor, masker, embedding: the component under test; a small standard one if None.
        position, target: parts of the standard encoder and predictor.
        modality: ``letters`` (ids) or ``vectors`` (continuous content).
        layer: the layer read by the predictor.
        query: the view it decodes: ``again``, which shows half of the same sample's tokens.
        group: samples per group.
        fields: token fields with synthetic values.
    """
    target = target or Component("target", "ids" if modality == "letters" else "patch")
    options = {"width": 32, "depth": 2, "heads": 2, "position": position or _POSITION}
    encoder = encoder or Component("encoder", "transformer", options)
    predictor = predictor or Component("predictor", "in_place", {"target": target})
    part = ModalityConfig(
        name=modality,
        tokenizer=Component("tokenizer", modality, cls=_with_fields(TOKENIZERS[modality], fields)),
        field=modality,
        masker=masker or Component("masker", "random", {"ratio": 0.4}),
        corruptor=corruptor or Component("corruptor", "mask_token"),
        embedding=embedding,
    )
    return Recipe(
        modalities={modality: part},
        encoder=encoder,
        predictors=(PredictorConfig(predictor, (modality,), layer, 1.0, predictor.name.replace(".", "_"), query),),
        labels=LABELS,
        views={} if query is None else {AGAIN: _again(modality)},
        data=DataConfig(Component("dataset", "waves", cls=Waves), DataOptions(), GroupConfig(group)),
        train=TrainConfig(steps=1, batch_tokens=256),
    )


def _with_fields(tokenizer: type, fields: Mapping[str, FieldSpec] | None) -> type:
    return type(tokenizer.__name__, (tokenizer,), {"fields": fields, "__module__": tokenizer.__module__}) if fields else tokenizer


def _again(modality: str) -> ViewConfig:
    masker, corruptor = Component("masker", "random", {"ratio": 0.5}), Component("corruptor", "mask_token")
    return ViewConfig(AGAIN, None, {modality: masker}, corruptor, AGAIN)
