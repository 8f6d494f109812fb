"""Shards: samples as consecutive members of tar files in WebDataset form, each file with an index."""
