"""Options of data on a server: `data.cache` of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class CacheOptions(BaseModel):
    """Location of the copies of remote files, and limits of their downloads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Annotated[Path | None, Field(description="local folder; null: a folder in omnimask's cache")] = None
    size: Annotated[int, Field(gt=0, description="maximum size of all copies; least recently used ones are removed")] = 20 * 10**9
    timeout: Annotated[float, Field(gt=0, description="timeout of an attempt: seconds without data")] = 60.0
    retries: Annotated[int, Field(ge=0, description="number of retries, with exponential backoff")] = 4
