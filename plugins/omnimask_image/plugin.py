"""Registers the image modality."""

from __future__ import annotations

from omnimask import hookimpl
from omnimask.registry import Registrar


@hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Register tokenizers, decoders, augmentations, target, initializer, exporter, data sets, renderer and suggester of images."""
    registry.reads_named_fields()
    registry.add_tokenizer("image.patch", "omnimask_image.tokenize.tokenizer:PatchTokenizer", extra="image")
    registry.add_tokenizer("image.native", "omnimask_image.tokenize.native:NativeTokenizer", extra="image")
    registry.add_decoder("image.pillow", "omnimask_image.decode.pillow_decoder:PillowDecoder", extra="image")
    registry.add_decoder("image.torchvision", "omnimask_image.decode.torchvision_decoder:TorchvisionDecoder", extra="torchvision")
    registry.add_augment("image.random_resized_crop", "omnimask_image.augment.geometry:RandomResizedCrop", extra="image")
    registry.add_augment("image.random_crop", "omnimask_image.augment.geometry:RandomCrop", extra="image")
    registry.add_augment("image.flip", "omnimask_image.augment.geometry:Flip", extra="image")
    registry.add_augment("image.color", "omnimask_image.augment.color:Color", extra="image")
    registry.add_dataset("image.folder", "omnimask_image.data.files:ImageFolder", extra="image")
    registry.add_dataset("image.zip", "omnimask_image.data.files:ImageZip", extra="image")
    registry.add_dataset("emoji", "omnimask_image.data.emoji:Emoji", extra="image")
    registry.add_target("image.hog", "omnimask_image.targets:Hog", extra="image")
    registry.add_initializer("image.vit_mae", "omnimask_image.weights.initializers:VitMaeInitializer", extra="image")
    registry.add_exporter("image.vit_mae", "omnimask_image.weights.exporters:VitMaeExporter", extra="text")
    registry.add_renderer("image.grid", "omnimask_image.show:ImageGrid", extra="image")
    registry.add_suggester("image.folder", "omnimask_image.suggest.suggester:SuggestFolder", extra="image")
