"""One query per set of targets, and a share of the targets."""

from __future__ import annotations

import numpy as np
import pytest

from omnimask.components.corruptors.drop import Drop
from omnimask.interfaces import Context, Draw, Masking, Sample, TokenSpec
from omnimask.testing import make_sample

SPECS = {"first": TokenSpec(vocabulary=5), "second": TokenSpec(width=(2,))}


def sample_of(key: str = "a") -> Sample:
    return make_sample(SPECS, {"first": 3, "second": 6}, Draw(0, 0, key))


def masking_of(groups: list[list[int]] | None, length: int, hidden: list[int]) -> Masking:
    is_target = np.isin(np.arange(length), hidden)
    sets = None if groups is None else np.array([np.isin(np.arange(length), group) for group in groups]).reshape(-1, length)
    return Masking(~is_target, is_target, weight=np.arange(length, dtype=np.float32), groups=sets)


def test_every_set_of_targets_is_a_sequence_of_its_own() -> None:
    masking = {"first": masking_of(None, 3, [1]), "second": masking_of([[0, 1], [], [1, 4]], 6, [0, 1, 4])}
    view = Drop(Context())(sample_of(), masking)
    assert view.query is not None
    layout = view.query.layout
    assert layout.lengths.tolist() == [1, 2, 0, 2]
    assert layout.parent.tolist() == [0, 0, 0, 0]  # all read the one context
    assert layout.modality is not None
    assert layout.modality[[0, 1, 3]].tolist() == [0, 1, 1]
    assert view.query.source.tolist() == [1, 3, 4, 4, 7]  # the token of two sets is asked for twice
    assert view.query.targets.of.tolist() == view.query.source.tolist()
    assert view.query.targets.at[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert view.query.targets.weight.tolist() == [1, 0, 1, 1, 4]
    assert view.context.source.tolist() == [0, 2, 5, 6, 8]


def test_without_sets_there_is_one_sequence_per_modality() -> None:
    masking = {"first": masking_of(None, 3, [1, 2]), "second": masking_of(None, 6, [5])}
    view = Drop(Context())(sample_of(), masking)
    assert view.query is not None
    assert view.query.layout.lengths.tolist() == [2, 1]


def test_no_sets_at_all_ask_nothing() -> None:
    sample = sample_of().only("second")
    view = Drop(Context())(sample, {"second": masking_of([], 6, [])})
    assert view.query is not None
    assert len(view.query.targets) == 0


@pytest.mark.parametrize(("ask", "counts"), [(0.5, {3}), (0.25, {1, 2}), (1.0, {6})])
def test_a_share_is_asked_for_in_exact_number(ask: float, counts: set[int]) -> None:
    masking = {"first": masking_of(None, 3, []), "second": masking_of(None, 6, [0, 1, 2, 3, 4, 5])}
    draws = 2000
    asked = np.zeros((draws, 6))
    for key in range(draws):
        view = Drop(Context(), ask=ask)(sample_of(str(key)), masking)
        assert view.query is not None
        asked[key, view.query.targets.of - 3] = 1
        assert view.context.source.tolist() == [0, 1, 2]  # what is not asked for is not shown either
    assert set(asked.sum(axis=1)) == counts
    assert np.abs(asked.mean(axis=0) - ask).max() <= 5 * np.sqrt(ask * (1 - ask) / draws)


def test_a_token_that_is_not_drawn_is_asked_for_in_none_of_its_sets() -> None:
    sets = [[0, 1, 2, 3], [2, 3, 4, 5]]
    masking = {"second": masking_of(sets, 6, [0, 1, 2, 3, 4, 5])}
    for key in range(20):
        view = Drop(Context(), ask=0.5)(sample_of(str(key)).only("second"), masking)
        assert view.query is not None
        asked = view.query.targets.of
        drawn = set(asked.tolist())
        assert len(drawn) == 3
        assert sorted(asked.tolist()) == sorted(token for group in sets for token in group if token in drawn)


def test_modalities_draw_their_shares_apart() -> None:
    specs = {"first": TokenSpec(vocabulary=5), "second": TokenSpec(vocabulary=5)}
    everything = Masking(np.zeros(8, bool), np.ones(8, bool))
    differs = 0
    for key in range(10):
        sample = make_sample(specs, {"first": 8, "second": 8}, Draw(0, 0, str(key)))
        view = Drop(Context(), ask=0.5)(sample, {"first": everything, "second": everything})
        assert view.query is not None
        asked = view.query.targets.of
        differs += asked[asked < 8].tolist() != (asked[asked >= 8] - 8).tolist()
    assert differs > 5
