"""One corruptor after another, or the one that belongs to the masker's branch; all streams know the branch."""

from __future__ import annotations

import numpy as np
import pytest

from omnimask.component import named
from omnimask.components.corruptors.bert import BertCorruptor
from omnimask.components.corruptors.by_kind import ByKind
from omnimask.components.corruptors.drop import Drop
from omnimask.components.corruptors.keep import Keep
from omnimask.components.corruptors.mask_token import MaskToken
from omnimask.components.corruptors.scheduled import ScheduledCorruptor
from omnimask.components.corruptors.sentinel_spans import SentinelSpans
from omnimask.components.corruptors.sketch import Sketch
from omnimask.components.corruptors.substitute import Substitute
from omnimask.components.corruptors.swap import Swap
from omnimask.components.corruptors.unit_token import UnitToken
from omnimask.interfaces import TokenSpec

from .views import built, masking_of, read, sample_of

SPEC = TokenSpec(vocabulary=20)
STAGES = [named("corruptor", "mask_token"), named("corruptor", "substitute")]


def test_one_corruptor_after_another() -> None:
    corruptor, spec = built(ScheduledCorruptor, SPEC, corruptors=STAGES, until=[0.5])
    assert (corruptor.answers_in, spec.specials) == ("context", ("mask",))
    for progress, is_masked in ((0.0, True), (0.49, True), (0.5, False), (1.0, False)):
        sample = sample_of(range(6), progress=progress)
        shown = read(corruptor(sample, masking_of(6, [2, 3])).context, sample)
        assert (shown[[2, 3]] == spec.id("mask")).tolist() == [is_masked] * 2


def test_the_masker_decides() -> None:
    """Of UL2's denoisers two are spans with sentinels, and one continues a prefix; here, a sketch."""
    corruptors = [named("corruptor", "sentinel_spans", num_sentinels=3), named("corruptor", "sketch")]
    corruptor, spec = built(ByKind, SPEC, corruptors=corruptors)
    assert corruptor.answers_in == "query"
    assert spec.specials == ("sentinel_0", "sentinel_1", "sentinel_2", "end", "start", "mask")
    assert spec.answers == corruptor.num_answers == 4
    sample = sample_of(range(6))
    spans = corruptor(sample, masking_of(6, [2, 3], kind=0))
    assert read(spans.context, sample).tolist() == [0, 1, spec.id("sentinel_0"), 4, 5]
    sketch = corruptor(sample, masking_of(6, [2, 3], kind=1))
    assert read(sketch.context, sample).tolist() == [0, 1, spec.id("mask"), 4, 5]
    with pytest.raises(ValueError, match=r"the masker drew kind 2 \(counted from 0\), but by_kind has 2 corruptors"):
        corruptor(sample, masking_of(6, [2], kind=2))


def test_answers_lie_in_one_stream() -> None:
    with pytest.raises(ValueError, match=r"must put targets into the same stream \(mask_token: context, drop: query\)"):
        built(ByKind, SPEC, corruptors=[named("corruptor", "mask_token"), named("corruptor", "drop")])
    with pytest.raises(ValueError, match="2 corruptors need 1 shares in until"):
        built(ScheduledCorruptor, SPEC, corruptors=STAGES, until=[])


@pytest.mark.parametrize("cls", [BertCorruptor, Drop, Keep, MaskToken, SentinelSpans, Sketch, Substitute, Swap, UnitToken])
def test_streams_know_the_branch_and_the_rate(cls: type) -> None:
    view = built(cls, SPEC)[0](sample_of(range(6)), masking_of(6, [1, 4], kind=3, level=0.25))
    for stream in (view.context, view.query):
        if stream is not None:
            assert np.all(stream.kind == 3) and np.all(stream.level == 0.25)
