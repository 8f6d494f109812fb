"""No mask token is shown; what is shown instead is another id, of the vocabulary, of a cluster, or of another hidden token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnimask.components.corruptors.cluster_substitute import ClusterSubstitute
from omnimask.components.corruptors.pools import Pools
from omnimask.components.corruptors.substitute import Substitute
from omnimask.components.corruptors.swap import Swap
from omnimask.components.units.clusters import find_clusters, read_clusters
from omnimask.data.view_sequences import asking_all
from omnimask.interfaces import CONTENT, Context, TokenSpec

from .views import built, masking_of, read, sample_of

SPEC = TokenSpec(vocabulary=20, special_ids={"mask": 4, "end": 0})
ids = st.lists(st.integers(1, 19).filter(lambda number: number != 4), min_size=1, max_size=30)


@given(ids, st.data(), st.sampled_from([Substitute, Swap]), st.text(max_size=2))
def test_hidden_tokens_show_another_id_and_never_a_special_one(content: list[int], data, cls: type, key: str) -> None:
    hidden = data.draw(st.lists(st.integers(0, len(content) - 1), unique=True))
    corruptor, spec = built(cls, SPEC)
    sample = sample_of(content, key)
    view = corruptor(sample, masking_of(len(content), hidden))
    shown = read(view.context, sample)
    assert spec.specials == ()
    assert not np.isin(shown, [4, 0]).any()
    assert np.flatnonzero(view.context.literal != CONTENT).tolist() == sorted(hidden)
    assert view.context.targets.of.tolist() == view.context.targets.at[:, 0].tolist() == sorted(hidden)
    if cls is Substitute:
        assert np.all(shown[sorted(hidden)] != np.array(content)[sorted(hidden)])
    elif len(hidden) > 1:
        assert sorted(shown.tolist()) == sorted(content)


def test_substitutes_are_uniform() -> None:
    """17 ids other than the own one and the two special ones; 34,000 draws, 5 standard errors."""
    sample = sample_of([7] * 34_000)
    shown = read(built(Substitute, SPEC)[0](sample, masking_of(34_000, range(34_000))).context, sample)
    counts = np.bincount(shown, minlength=20)
    assert counts[[0, 4, 7]].tolist() == [0, 0, 0]
    assert np.abs(np.delete(counts, [0, 4, 7]) - 2000).max() < 5 * np.sqrt(2000)


def test_originality_is_asked_of_every_token_but_those_that_frame() -> None:
    sample = sample_of([0, 5, 6, 7, 0], special=[0, 4])
    masking = masking_of(5, [2])
    view = asking_all(built(Substitute, SPEC)[0](sample, masking), sample, masking, "substitute")
    assert view.context.targets.of.tolist() == [1, 2, 3]
    assert (read(view.context, sample) == sample.tokens["m"].content).tolist() == [True, True, False, True, True]


def test_every_hidden_token_moves() -> None:
    """With distinct ids none shows its own, and every one is shown once."""
    sample = sample_of(range(5, 20))
    for key in range(50):
        moved = sample_of(range(5, 20), str(key))
        shown = read(built(Swap, SPEC)[0](moved, masking_of(15, range(0, 15, 2))).context, sample)
        assert np.all(shown[::2] != np.arange(5, 20)[::2])
        assert sorted(shown.tolist()) == list(range(5, 20))


def test_a_single_hidden_token_has_nobody_to_change_with() -> None:
    sample = sample_of([5, 6, 7])
    shown = read(built(Swap, SPEC)[0](sample, masking_of(3, [1])).context, sample)
    assert shown[1] != 6 and shown[[0, 2]].tolist() == [5, 7]


CLUSTERS = np.array([-1, 0, 0, 0, 9, 1, 1, 2, -1, *[3] * 11])


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_substitutes_are_of_the_same_cluster(tmp_path: Path, suffix: str) -> None:
    """Ids 5 and 6 are a cluster; 7 is alone, 8 in none, and 4 is the mask: those show anything that may be drawn."""
    path = tmp_path / f"clusters{suffix}"
    if suffix == ".npy":
        np.save(path, CLUSTERS)
    else:
        path.write_text("# of the test\n" + "\n".join(map(str, CLUSTERS)), encoding="utf-8")
    corruptor, _ = built(ClusterSubstitute, SPEC, clusters=path)
    sample = sample_of([1, 5, 6, 7, 8, 15] * 400)
    shown = read(corruptor(sample, masking_of(2400, range(2400))).context, sample).reshape(400, 6)
    assert set(shown[:, 0]) == {2, 3}
    assert (set(shown[:, 1]), set(shown[:, 2])) == ({6}, {5})
    assert set(shown[:, 3]) == set(range(1, 20)) - {4, 7, 8}
    assert set(shown[:, 4]) == set(range(1, 20)) - {4, 8}
    assert set(shown[:, 5]) == set(range(9, 20)) - {15}


@given(st.lists(st.integers(-1, 3), min_size=2, max_size=12), st.floats(0, 1, exclude_max=True))
def test_another_member_is_drawn(pool: list[int], uniform: float) -> None:
    members = [number for number, cluster in enumerate(pool) if cluster >= 0]
    if len(members) < 2:
        with pytest.raises(ValueError, match="at least two are needed"):
            Pools.of(np.array(pool), "m")
        return
    pools = Pools.of(np.array(pool), "m")
    for number, cluster in enumerate(pool):
        drawn = int(pools.other(np.array([number]), np.array([uniform]))[0])
        others = [other for other in members if other != number and pool[other] == cluster]
        assert drawn in (others or [other for other in members if other != number])


def test_clusters_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups of rows far apart; a row more than ids, as in files of other programs; special ids take no part."""
    torch, save = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch").save_file
    pytest.importorskip("sklearn")
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))
    rows = torch.randn(21, 4, generator=torch.Generator().manual_seed(0)) * 0.1
    rows[10:] += 5
    path = tmp_path / "model.safetensors"
    save({"embed.weight": rows.to(torch.bfloat16), "head.weight": rows[:3].clone(), "bias": rows[:, 0].clone()}, str(path))
    corruptor, _ = built(ClusterSubstitute, SPEC, embeddings=path, num_clusters=2)
    sample = sample_of([2, 15] * 300)
    shown = read(corruptor(sample, masking_of(600, range(600))).context, sample).reshape(300, 2)
    assert set(shown[:, 0]) == set(range(1, 10)) - {2, 4}
    assert set(shown[:, 1]) == set(range(10, 20)) - {15}
    (kept,) = (tmp_path / "cache" / "clusters").iterdir()
    before = kept.stat().st_mtime_ns
    built(ClusterSubstitute, SPEC, embeddings=path, num_clusters=2)
    assert kept.stat().st_mtime_ns == before
    assert np.load(kept, allow_pickle=False)[[0, 4]].tolist() == [-1, -1]


def test_matrices_that_cannot_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch, save = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch").save_file
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))
    path, everyone = tmp_path / "model.safetensors", np.ones(5, bool)
    save({"a": torch.zeros(5, 2), "b": torch.zeros(6, 2), "c": torch.zeros(4, 2)}, str(path))
    with pytest.raises(ValueError, match=r"2 matrices have 5 rows \(one per id\); choose one with tensor=.*a \(5, 2\)"):
        find_clusters(path, None, 2, everyone)
    with pytest.raises(ValueError, match="0 matrices have 5 rows \(one per id\) and the name 'c';"):
        find_clusters(path, "c", 2, everyone)
    with pytest.raises(ValueError, match="9 clusters need as many ids, got 5"):
        find_clusters(path, "a", 9, everyone)
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        find_clusters(path, None, 2, everyone)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        find_clusters(tmp_path / "absent", None, 2, everyone)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"1\n2\n", "has 2 ids, but the tokenizer has 3"),
        ("a.txt", b"1\ntwo\n3\n", "invalid literal"),
        ("a.npy", b"\x93NUMPY", "cannot be read"),
        ("a.npy", None, r"float64 \(3,\)"),
    ],
)
def test_clusters_that_cannot_be_read(tmp_path: Path, name: str, data: bytes | None, message: str) -> None:
    if data is None:
        np.save(tmp_path / name, np.zeros(3))
    else:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_clusters(tmp_path / name, 3)


@pytest.mark.parametrize("cls", [Substitute, Swap])
def test_tokens_that_are_no_ids(cls: type) -> None:
    with pytest.raises(ValueError, match="needs ids, but the tokens of 'm' are continuous; use"):
        cls(Context(specs={"m": TokenSpec(width=(2,))}, modalities=("m",)))


def test_one_source_of_clusters(tmp_path: Path) -> None:
    for options in ({}, {"clusters": "random", "embeddings": tmp_path}):
        with pytest.raises(ValueError, match=r"needs either clusters \(a file\), or embeddings"):
            built(ClusterSubstitute, SPEC, **options)
