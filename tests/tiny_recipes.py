"""Recipes so small that a step takes milliseconds."""

IMAGE = """\
omnimask: 1
device: cpu
modalities:
  image:
    tokenizer: {name: image.patch, image_size: 8, patch_size: 4, channels: 1}
    masker: {name: random, ratio: 0.5}
    corruptor: {name: drop}
encoder: {name: transformer, width: 16, depth: 1, heads: 2}
predictors:
  - {name: decoder, width: 16, depth: 1, heads: 2, target: {name: patch}}
data: {name: digits, max_validation: 16}
train:
  steps: 6
  batch_tokens: 32
  optimizer: {name: adamw, lr: 1e-3}
  log_every: 1
  validate_every: 3
  checkpoint_every: 2
"""
TEXT = """\
omnimask: 1
device: cpu
modalities:
  text:
    tokenizer: {name: text.bytes, max_length: 64}
    masker: {name: random, ratio: 0.3}
    corruptor: {name: mask_token}
encoder: {name: transformer, width: 16, depth: 1, heads: 2}
predictors:
  - {name: mlm}
data: {name: english}
train: {steps: 4, batch_tokens: 256, optimizer: {name: adamw, lr: 1e-3}}
"""
