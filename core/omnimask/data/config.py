"""The `data:` section of a recipe: its keys and their documentation. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class BadSamples(BaseModel):
    """Limit of unreadable samples before a run stops: the larger of the two values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fraction: Annotated[float, Field(ge=0, le=1, description="share of the data set")] = 0.001
    at_least: Annotated[int, Field(ge=0, description="tolerated number, whatever the fraction")] = 10


def _limit(value: Any) -> Any:
    """Expand ``10`` to ``{fraction: 0, at_least: 10}``, and ``0.01`` to ``{fraction: 0.01, at_least: 0}``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return {"fraction": 0.0, "at_least": value} if isinstance(value, int) else {"fraction": value, "at_least": 0}


class DataOptions(BaseModel):
    """Framework keys of `data:`. All others belong to the selected data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: Annotated[float, Field(ge=0, lt=1, description="share of held-out samples, chosen by a hash of their key")] = 0.05
    max_validation: Annotated[int, Field(gt=0, description="maximum number of held-out samples per validation")] = 2048
    window: Annotated[
        Annotated[int, Field(gt=0)] | Literal["auto"],
        Field(description="shuffle window of sharded data, in samples; shards are shuffled first; auto: 65536"),
    ] = "auto"
    max_bad: Annotated[
        BadSamples,
        BeforeValidator(_limit),
        Field(description="tolerated unreadable samples; an integer is short for at_least, a float for fraction"),
    ] = BadSamples()
    cache_tokens: Annotated[
        int, Field(ge=0, description="largest number of tokens to keep in the cache, where a tokenizer allows it; 0: tokenize anew")
    ] = 2**28
