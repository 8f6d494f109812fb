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
LATENT = """\
omnimask: 1
device: cpu
seed: 5
modalities:
  image:
    tokenizer: {name: image.patch, image_size: 8, patch_size: 2, channels: 1}
    masker: {name: random, ratio: 0.6}
    corruptor: {name: drop}
views:
  main: {repeat: 3}
  whole: {masker: {name: none}, corruptor: {name: keep}}
encoder: {name: transformer, width: 32, depth: 3, heads: 4, summary: 1}
encoders:
  teacher: {name: average, follows: main, decay: {schedule: linear, from: 0.7, to: 0.95, until: 0.8}}
passes:
  - {name: teacher, view: whole, encoder: teacher}
predictors:
  - {name: decoder, width: 32, depth: 1, heads: 4, target: {name: features, of: teacher, last: 2, mlp: true, final_norm: layer}}
data: {name: digits, max_validation: 64}
train:
  steps: 20
  batch_tokens: 512
  micro_batch_tokens: 128
  optimizer: {name: adamw, lr: 2e-3, eps: 1e-4}
  clip: 1.0
  log_every: 1
  validate_every: 10
  checkpoint_every: 10
  keep_checkpoints: 9
"""
"""A teacher over whole pictures that are masked three times."""
REPLACED = """\
omnimask: 1
device: cpu
seed: 5
modalities:
  text:
    tokenizer: {name: text.english, max_length: 48}
    masker: {name: random, ratio: 0.3}
    corruptor: {name: bert, masked: 0.85, random: 0.0}
views:
  judged: {corruptor: {name: mask_token}, ask: all}
encoder: {name: bert, width: 32, depth: 2, heads: 4}
encoders:
  generator: {name: bert, width: 16, depth: 1, heads: 2, embedding_width: 32, embeddings: main}
passes:
  - {name: generator, encoder: generator, predictors: [{name: mlm}]}
  - name: main
    view: judged
    replace: {name: sampled, by: generator}
    predictors: [{name: in_place, label: replaced, weight: 5.0, dense: true, target: {name: was_replaced}}]
data: {name: english, max_validation: 64}
train:
  steps: 20
  batch_tokens: 700
  micro_batch_tokens: 200
  optimizer: {name: sgd, lr: 0.1, momentum: 0.5}
  log_every: 1
  validate_every: 10
  checkpoint_every: 10
"""
"""A small generator fills in hidden tokens, and the main network judges which were replaced."""
