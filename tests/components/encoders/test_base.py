"""The forward that encoders with self-attention share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from omnimask.builder.build import build
from omnimask.component import Component, named
from omnimask.data.planner import Place
from omnimask.interfaces import Packed
from omnimask.testing import synthetic_recipe

OPTIONS: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2}


@pytest.mark.parametrize("name", ["bert", "deberta", "modernbert", "transformer"])
def test_a_context_is_refused(name: str) -> None:
    position = {} if name == "deberta" else {"position": named("position", "sincos")}
    encoder = Component("encoder", name, {**OPTIONS, **position})
    built = build(synthetic_recipe(encoder=encoder))
    batch = built.pipeline.pack([built.pipeline.sample(Place(0, 0, 0, 0.0))])
    (part,) = built.model.each()
    stream = batch.views["main"].context
    embedded = Packed(torch.zeros(stream.layout.num_slots, 16), stream.layout)
    context = part.encoder(embedded, stream, batch)
    with pytest.raises(ValueError, match=f"encoder {name} "):
        part.encoder(embedded, stream, batch, context=context)
