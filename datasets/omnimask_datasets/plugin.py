"""Registration of the embedded data sets, and of those without a modality."""

from __future__ import annotations

from omnimask import hookimpl
from omnimask.registry import Registrar


@hookimpl
def omnimask_register(registry: Registrar) -> None:
    """Register the embedded data sets, data sets of rows, shards, and those of other libraries."""
    registry.add_dataset("digits", "omnimask_datasets.digits:Digits", extra="image")
    registry.add_dataset("english", "omnimask_datasets.english:English")
    registry.add_dataset("chronicle", "omnimask_datasets.chronicle.dataset:Chronicle")
    registry.add_dataset("jsonl", "omnimask_datasets.jsonl:Jsonl")
    registry.add_dataset("csv", "omnimask_datasets.csv_files:Csv")
    registry.add_dataset("parquet", "omnimask_datasets.parquet:Parquet", extra="parquet")
    registry.add_dataset("shards", "omnimask_datasets.shards.dataset:Shards", extra="shards")
    registry.add_dataset("huggingface", "omnimask_datasets.huggingface:HuggingFace", extra="hf")
