"""Shards: samples as consecutive members of tar files, in the form of WebDataset, with an index beside each."""
