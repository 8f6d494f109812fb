"""Conformance kit: test classes for every kind of component, for plugin authors to subclass.

A contract has one or two abstract factory methods and provides the tests. pytest collects the subclass (its name begins with
``Test``); the kit itself imports neither pytest nor anything private. A complete test file of a plugin::

    import numpy as np
    from omnimask.component import named
    from omnimask.interfaces import Context
    from omnimask.testing import MaskerContract, PluginContract, RecipeContract, TokenizerContract

    from omnimask_timeseries.maskers import SeasonMasker
    from omnimask_timeseries.tokenizer import WindowTokenizer

    class TestWindowTokenizer(TokenizerContract):
        tolerance = 1e-6  # raw -> tokens -> raw, largest absolute difference

        def tokenizer(self):
            return WindowTokenizer(Context(), window=16)

        def raw_values(self):
            return [np.zeros((16, 2), np.float32), np.random.default_rng(0).normal(size=(160, 2)).astype(np.float32)]

        def bad_values(self):
            return {"no axis": np.float32(1), "not a number": np.full((16, 2), np.nan, np.float32), "text": "series"}

    class TestSeasonMasker(MaskerContract):
        ratio, is_exact = 0.3, False

        def masker(self):
            return SeasonMasker(Context(), ratio=0.3)

    class TestPretrain(RecipeContract):
        def recipe(self):
            return "timeseries/mae"

    class TestPlugin(PluginContract):
        def plugin(self):
            return "timeseries"

Also: :class:`DecoderContract` (bytes of files), :class:`AugmentContract`, :class:`TransformContract` (groups of samples),
:class:`JointMaskerContract` (several modalities), :class:`DatasetContract`, :class:`RendererContract`, :class:`CorruptorContract`,
:class:`EmbeddingContract`, :class:`PositionContract`, :class:`EncoderContract`, :class:`PredictorContract` and
:class:`TargetContract`. A failing test names the remedy. For other shapes of data, contracts have attributes and methods to
override; their docstrings list them.
"""

from __future__ import annotations

from omnimask.testing.corruptor import CorruptorContract
from omnimask.testing.dataset import DatasetContract
from omnimask.testing.host import AugmentContract, RendererContract
from omnimask.testing.joint_masker import JointMaskerContract
from omnimask.testing.masker import MaskerContract
from omnimask.testing.model import ModelContract
from omnimask.testing.model_parts import EmbeddingContract, EncoderContract, PredictorContract, RecipeContract
from omnimask.testing.plugin import PluginContract, train_briefly, with_module
from omnimask.testing.position import PositionContract
from omnimask.testing.samples import make_masking, make_sample, make_tokens
from omnimask.testing.synthetic import synthetic_recipe
from omnimask.testing.target import TargetContract
from omnimask.testing.tokenizer import BAD_FILES, DecoderContract, TokenizerContract
from omnimask.testing.transform import TransformContract

__all__ = [
    "BAD_FILES",
    "AugmentContract",
    "CorruptorContract",
    "DatasetContract",
    "DecoderContract",
    "EmbeddingContract",
    "EncoderContract",
    "JointMaskerContract",
    "MaskerContract",
    "ModelContract",
    "PluginContract",
    "PositionContract",
    "PredictorContract",
    "RecipeContract",
    "RendererContract",
    "TargetContract",
    "TokenizerContract",
    "TransformContract",
    "make_masking",
    "make_sample",
    "make_tokens",
    "synthetic_recipe",
    "train_briefly",
    "with_module",
]
