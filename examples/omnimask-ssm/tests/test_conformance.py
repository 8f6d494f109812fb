"""Conformance tests of the encoder."""

from omnimask.component import Component, named
from omnimask.testing import EncoderContract, PluginContract, RecipeContract
from omnimask_ssm.encoder import SelectiveEncoder

OPTIONS = {"width": 32, "depth": 2, "states": 4, "position": named("position", "sincos")}


class TestSelective(EncoderContract):
    def encoder(self):
        return Component("encoder", "ssm.selective", OPTIONS, cls=SelectiveEncoder)


class TestSelectiveOnVectors(TestSelective):
    modality = "vectors"


class TestWithoutPositions(TestSelective):
    """The encoder without positions: the recurrence itself depends on the order."""

    def encoder(self):
        return Component("encoder", "ssm.selective", {**OPTIONS, "position": named("position", "none")}, cls=SelectiveEncoder)


class TestQuickstart(RecipeContract):
    def recipe(self):
        return "ssm/quickstart"


class TestMaskedAutoencoder(RecipeContract):
    """A recipe of omnimask with its encoder replaced."""

    overrides = ("encoder={name: ssm.selective, width: 64, depth: 3}",)

    def recipe(self):
        return "image/digits"


class TestPlugin(PluginContract):
    def plugin(self):
        return "ssm"
