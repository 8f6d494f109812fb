"""A batch crosses from a worker in one buffer: the same values and sharing, aligned, one file, and nothing is left behind."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from omnimask.builder.build import build
from omnimask.data.loader import BadSample, LoadedBatch, Loader
from omnimask.data.order import StreamOrder
from omnimask.data.planner import Cursor, Place, Planner
from omnimask.errors import RunStopped
from omnimask.interfaces import Layout, MaskedBatch, Packed
from omnimask.packed import pin_memory, to_device
from omnimask.recipe import load_recipe
from omnimask.remote import retries
from omnimask.transport.joint_buffer import ALIGNMENT
from omnimask.transport.parcel import parcel

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")


@dataclass(frozen=True)
class Holder:
    """Arrays of every kind."""

    values: Any


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Places at which two values differ in type, data type, shape or bits."""
    if type(one) is not type(other):
        yield f"{place}: {type(one).__name__} and {type(other).__name__}"
    elif isinstance(one, torch.Tensor | np.ndarray):
        if (one.dtype, tuple(one.shape)) != (other.dtype, tuple(other.shape)) or _bits(one) != _bits(other):
            yield f"{place}: {one!r} and {other!r}"
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            yield from differences(getattr(one, field.name), getattr(other, field.name), f"{place}.{field.name}")
    elif isinstance(one, Mapping):
        yield from differences(list(one), list(other), f"{place} keys")
        for key in one:
            yield from differences(one[key], other[key], f"{place}[{key!r}]")
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield f"{place}: {len(one)} and {len(other)} items"
        for number, pair in enumerate(zip(one, other, strict=False)):
            yield from differences(*pair, f"{place}[{number}]")
    elif one != other:
        yield f"{place}: {one!r} and {other!r}"


def _bits(array: Any) -> Any:
    if isinstance(array, torch.Tensor):
        return pickle.dumps(array.tolist()) if array.dtype is torch.bfloat16 else array.numpy().tobytes()
    return array.tolist() if array.dtype.hasobject else array.tobytes()


def arrays_of(value: Any, kind: type) -> Iterator[Any]:
    if isinstance(value, kind):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from arrays_of(getattr(value, field.name), kind)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from arrays_of(item, kind)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from arrays_of(item, kind)


TENSORS = [
    torch.arange(7, dtype=torch.int64),
    torch.tensor([True, False, True]),
    torch.randn(3, 5).to(torch.bfloat16),
    torch.zeros(0, 4),
    torch.zeros(0, dtype=torch.int64),
    torch.tensor(2.5),
    torch.arange(12).reshape(3, 4).T,
    torch.ones(1).expand(5),
    torch.from_numpy(np.broadcast_to(np.float32(3), (0, 2)).copy()),
    torch.tensor([float("nan"), -0.0, float("inf")]),
    torch.arange(100, dtype=torch.uint8)[3:10],
    torch.full((100,), -1),
    torch.full((50, 2), float("nan")),
    torch.cat([torch.zeros(50), torch.tensor([-0.0]), torch.zeros(49)]),
    torch.ones(100, dtype=torch.bool),
    torch.full((3, 40), 1.5, dtype=torch.bfloat16),
    torch.full((20,), 2, dtype=torch.complex64),
    torch.arange(100) - 50,
    torch.arange(300),
    torch.arange(40) * 1000,
    torch.arange(100) * 2**40,
    torch.tensor([-(2**63), 2**63 - 1]).repeat(20),
    torch.arange(100, dtype=torch.int32),
    torch.arange(100, dtype=torch.int16) * 300,
    torch.arange(100, dtype=torch.int8),
]
ARRAYS = [
    np.arange(5),
    np.zeros((0, 3), np.float32),
    np.array(4, np.int32),
    np.array([["ab", "c"]]),
    np.array(["", ""], "U0"),
    np.array([b"x", b"yz"]),
    np.array([{"a": 1}, None], object),
    np.arange(12).reshape(3, 4).T,
    np.arange(10)[::2],
    np.array(["2020-01-01"], "datetime64[D]"),
    np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    np.array([float("nan"), -0.0]),
    np.broadcast_to(np.int64(1), (3,)),
]


@pytest.mark.parametrize("number", range(len(TENSORS)))
def test_every_tensor_arrives_as_it_was(number: int) -> None:
    assert not list(differences(Holder(TENSORS[number]), parcel(Holder(TENSORS[number])).open()))


@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_every_host_array_arrives_as_it_was(number: int) -> None:
    assert not list(differences(Holder(ARRAYS[number]), parcel(Holder(ARRAYS[number])).open()))


def test_all_of_them_together_with_other_values() -> None:
    value = Holder({"tensors": tuple(TENSORS), "arrays": ARRAYS, "rest": ("key", 1, None, 2.5, b"bytes", True)})
    assert not list(differences(value, parcel(value).open()))


def test_what_can_be_restored_does_not_travel() -> None:
    def travels(tensor: torch.Tensor) -> int:
        return len(parcel(tensor).buffer) - len(parcel(torch.zeros(0, dtype=tensor.dtype)).buffer)

    count = 64_000
    assert travels(torch.full((count,), 7)) <= ALIGNMENT
    assert travels(torch.full((count // 2, 2), float("nan"))) <= ALIGNMENT
    assert travels(torch.arange(count) % 100) == count
    assert travels(torch.arange(count) % 300) == 2 * count
    assert travels(torch.arange(count) - 40_000) == 4 * count
    assert travels(torch.arange(count) << 32) == 8 * count
    assert travels(torch.rand(count)) == 4 * count
    constant = parcel(torch.full((count,), 7)).open()
    assert constant.stride() == (0,)
    assert constant.untyped_storage().nbytes() < 1000


def test_shared_arrays_stay_shared_and_others_apart() -> None:
    tensor, array = torch.arange(3), np.arange(3)
    layout = Layout(array, np.arange(3))
    first, second, third, fourth, copy, one, other = parcel((tensor, tensor, array, array, tensor.clone(), layout, layout)).open()
    assert first is second
    assert third is fourth
    assert one is other
    assert one.lengths is third
    assert copy is not first
    copy[0] = 9
    assert first.tolist() == [0, 1, 2]


def test_arrays_are_aligned_writable_and_lie_in_one_buffer() -> None:
    sent = parcel((*TENSORS[:6], *ARRAYS[:4]))
    tensors, arrays = (list(arrays_of(sent.open(), kind)) for kind in (torch.Tensor, np.ndarray))
    assert sent.buffer.is_shared()
    assert sent.buffer.data_ptr() % ALIGNMENT == 0
    assert {tensor.untyped_storage().data_ptr() for tensor in tensors} == {sent.buffer.data_ptr()}
    starts = [tensor.storage_offset() * tensor.element_size() for tensor in tensors]
    starts += [array.ctypes.data - sent.buffer.data_ptr() for array in arrays]
    assert starts == sorted(starts), "tensors come first"
    assert all(start % ALIGNMENT == 0 and 0 <= start <= len(sent.buffer) for start in starts)
    assert all(array.flags.writeable for array in arrays)


class _Copies(TorchDispatchMode):
    """Counts copies to another device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._to_copy.default
        return func(*args, **(kwargs or {}))


def test_one_buffer_is_copied_to_a_device_at_once() -> None:
    value = {"a": tuple(TENSORS[:6]), "host": Holder(np.arange(3))}
    with _Copies() as singly:
        to_device(value, "meta")
    with _Copies() as together:
        moved = to_device(parcel(value).open(), "meta")
    assert (singly.count, together.count) == (6, 1)
    assert [(t.dtype, t.shape, t.device.type) for t in moved["a"]] == [(t.dtype, t.shape, "meta") for t in TENSORS[:6]]
    assert all(tensor.is_contiguous() for tensor in moved["a"])


def test_a_few_rows_of_a_large_tensor_do_not_take_it_along() -> None:
    large = torch.zeros(10**6)
    with _Copies() as mode:
        moved = to_device((large[:4], large[-4:]), "meta")
    assert mode.count == 2
    assert all(tensor.untyped_storage().nbytes() <= 64 for tensor in moved)


def test_tensors_of_equal_elements_are_copied_with_the_others() -> None:
    value = (torch.arange(300), torch.full((200,), 3), torch.rand(5))
    sent, empty = parcel(value), torch.empty
    with patch("torch.empty", lambda *args, pin_memory=False, **options: empty(*args, **options)):  # there may be no CUDA
        pinned = sent.pin_memory()
    with _Copies() as mode:
        moved = to_device(pinned, "meta")
    assert mode.count == 1
    assert not list(differences(pinned, value))
    assert [(t.dtype, t.shape, t.stride()) for t in moved] == [
        (torch.int64, (300,), (1,)),
        (torch.int64, (200,), (0,)),
        (torch.float32, (5,), (1,)),
    ]


@pytest.mark.gpu
def test_a_batch_is_pinned_once_and_copied_once() -> None:
    value = {"a": (*TENSORS[:6], torch.arange(300), torch.full((200,), 3)), "host": np.arange(3)}
    for pinned in (parcel(value).pin_memory(), pin_memory(value)):
        assert all(tensor.is_pinned() for tensor in pinned["a"] if tensor.numel())
        assert len({tensor.untyped_storage().data_ptr() for tensor in pinned["a"]}) == 1
        with _Copies() as mode:
            moved = to_device(pinned, "cuda", non_blocking=True)
        torch.cuda.synchronize()
        assert mode.count == 1
        assert len({tensor.untyped_storage().data_ptr() for tensor in moved["a"]}) == 1
        assert not list(differences(to_device(moved["a"], "cpu"), value["a"]))
        assert not list(differences(pinned["host"], value["host"]))


RECIPES = {
    "text/quickstart": ["data={name: english}"],
    "text/retromae": ["modalities.text.tokenizer={name: text.english, max_length: 128}", "data={name: english}"],
    "image/digits": [],
}


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_worker_delivers_the_batches_of_a_shipped_recipe_bit_for_bit(recipe: str) -> None:
    sizes = ["train.steps=2", "train.batch_tokens=3000", "train.micro_batch_tokens=1500"]
    retries.take()  # of other tests in this process
    here, there = (
        list(build(load_recipe(recipe, [*RECIPES[recipe], *sizes, f"train.workers={workers}"])).loader(Cursor(), 0))
        for workers in (0, 1)
    )
    assert not list(differences(here, there))
    assert sum(len(step.batches) for step in there) >= 2
    for batch in (batch for step in there for batch in step.batches):
        tensors = list(arrays_of(batch, torch.Tensor))
        assert len(tensors) > 10
        assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) <= 2  # as they travelled, and widened ones


def pipeline(places: Sequence[Place]) -> LoadedBatch:
    """A batch with many arrays; without any of them every third time."""
    if places[0].position % 3 == 2:
        return LoadedBatch(None, (BadSample("bad", 0, 0, "broken"),))
    layout = Layout(np.ones(len(places), np.int64), np.arange(len(places)))
    fields = {"toy": {str(number): torch.full((1000,), float(number)) for number in range(20)}}
    keys = tuple(str(place.index) for place in places)
    return LoadedBatch(MaskedBatch({"toy": Packed(torch.ones(3), layout)}, {"toy": 0}, {}, np.arange(len(places)), keys, fields))


class DiesLater:
    """Kills one worker in the middle."""

    def __call__(self, places: Sequence[Place]) -> LoadedBatch:
        if places[0].position == 120:
            os.kill(os.getpid(), signal.SIGKILL)
        return pipeline(places)


def steps(source: Any, workers: int = 2) -> Any:
    planner = Planner(StreamOrder(1000, seed=1), 3, batch_tokens=9, micro_batch_tokens=9, steps=100)
    return iter(Loader(source, planner, workers=workers, start=Cursor(), first_step=0))


def open_files() -> tuple[int, int]:
    """Numbers of descriptors of this process and of files in shared memory, without those of unreachable queues."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/dev/shm").iterdir()))


@pytest.fixture
def warm() -> None:
    list(steps(pipeline))  # the resource tracker and the like start once


@needs_proc
def test_many_batches_leave_no_files(warm: None) -> None:
    before = open_files()
    held = [next(iterator) for iterator in [steps(pipeline)] for _ in range(100)]
    del held
    assert open_files() == before


@needs_proc
@pytest.mark.parametrize("read", [0, 1, 20])
def test_an_early_end_leaves_no_files(warm: None, read: int) -> None:
    before = open_files()
    iterator = steps(pipeline)
    for _ in range(read):
        next(iterator)
    iterator.close()
    del iterator
    assert open_files() == before


@needs_proc
def test_a_killed_worker_is_named_and_leaves_no_files(warm: None) -> None:
    before = open_files()
    with pytest.raises(RunStopped, match=r"data loader worker \d+ \(exit code -9\) died while reading samples"):
        list(steps(DiesLater()))
    assert open_files() == before


def test_without_workers_nothing_is_packed() -> None:
    with patch("omnimask.data.loader.parcel", side_effect=AssertionError):
        assert len(list(steps(pipeline, workers=0))) == 100
