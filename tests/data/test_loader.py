"""Loaded steps depend on the plan alone; dead workers, bugs and early ends are handled."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omnimask.data.loader import BadSample, LoadedBatch, LoadedStep, Loader, _prepare_worker
from omnimask.data.order import StreamOrder
from omnimask.data.planner import Cursor, Place, Planner
from omnimask.errors import RunStopped
from omnimask.interfaces import Layout, MaskedBatch, Packed


def batch(places: Sequence[Place]) -> MaskedBatch:
    rows = [[place.epoch, place.position, place.index, round(place.progress * 1000)] for place in places]
    layout = Layout(np.ones(len(places), np.int64), np.arange(len(places)))
    keys = tuple(f"s{place.index}" for place in places)
    return MaskedBatch({"toy": Packed(torch.tensor(rows), layout)}, {"toy": 0}, {}, np.arange(len(places)), keys)


class Pipeline:
    """Slow in a way that would reorder batches if order were not kept; sample 3 is always bad."""

    def __call__(self, places: Sequence[Place]) -> LoadedBatch:
        time.sleep(0.002 * (places[0].position % 3))
        bad = tuple(BadSample(f"s{p.index}", p.epoch, p.position, "broken") for p in places if p.index == 3)
        good = [place for place in places if place.index != 3]
        return LoadedBatch(batch(good) if good else None, bad)


class Failing(Pipeline):
    """Does ``action`` when it reaches sample 5."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.action = action

    def __call__(self, places: Sequence[Place]) -> LoadedBatch:
        if any(place.index == 5 for place in places):
            self.action()
        return super().__call__(places)


class Reporting:
    """Tells about the process in which it runs."""

    def __call__(self, places: Sequence[Place]) -> LoadedBatch:
        ignored = all(signal.getsignal(s) is signal.SIG_IGN for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))
        facts = f"{torch.get_num_threads()} {os.environ.get('TOKENIZERS_PARALLELISM')} {ignored}"
        return LoadedBatch(None, (BadSample(facts, 0, 0, str(os.getpid())),))


def planner() -> Planner:
    return Planner(StreamOrder(11, seed=4), 3, batch_tokens=13, micro_batch_tokens=7, steps=9)


def loader(pipeline: Callable[[Sequence[Place]], LoadedBatch], workers: int, **options: Any) -> Loader:
    return Loader(pipeline, planner(), workers=workers, **{"start": Cursor(), "first_step": 0, **options})


def content(steps: Sequence[LoadedStep]) -> list[Any]:
    return [(s.step, [b.store["toy"].data.tolist() for b in s.batches], [b.keys for b in s.batches], s.bad, s.after) for s in steps]


def exit_hard() -> None:
    os._exit(3)


def stop() -> None:
    raise RunStopped("this sample cannot be masked")


def raise_type_error() -> None:
    raise TypeError("a bug in a component")


def raise_runtime_error() -> None:
    raise RuntimeError("a bug in a component")


@pytest.fixture(autouse=True)
def no_children_left() -> Any:
    before = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) <= before


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    return content(list(loader(Pipeline(), 0)))


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_steps(expected: list[Any], workers: int) -> None:
    assert content(list(loader(Pipeline(), workers))) == expected


@pytest.mark.parametrize(("workers", "resumed"), [(0, 2), (2, 1)])
def test_a_resume_with_other_workers_goes_on_where_it_was(expected: list[Any], workers: int, resumed: int) -> None:
    first = list(loader(Pipeline(), workers, last_step=3))
    rest = list(loader(Pipeline(), resumed, start=first[-1].after, first_step=4))
    assert content([*first, *rest]) == expected


def test_every_planned_sample_arrives_or_is_reported() -> None:
    plan, cursor = planner(), Cursor()
    for step in loader(Pipeline(), 0):
        planned = plan.step(step.step, cursor)
        arrived = [key for loaded in step.batches for key in loaded.keys] + [bad.key for bad in step.bad]
        assert sorted(arrived) == sorted(f"s{place.index}" for place in planned.places)
        cursor = step.after


def test_ranks_together_load_the_whole_step() -> None:
    alone = [sorted(key for b in step.batches for key in b.keys) for step in loader(Pipeline(), 0)]
    ranks = [list(loader(Pipeline(), 0, rank=rank, world=2)) for rank in range(2)]
    together = [sorted(k for step in steps for b in step.batches for k in b.keys) for steps in zip(*ranks, strict=True)]
    assert together == alone


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dead_worker_stops_the_run_and_is_named(workers: int) -> None:
    with pytest.raises(RunStopped, match=r"data loader worker \d+ \(exit code 3\) died"):
        list(loader(Failing(exit_hard), workers))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("action", "kind"), [(raise_type_error, TypeError), (raise_runtime_error, RuntimeError)])
def test_a_bug_in_the_pipeline_propagates_with_its_traceback(workers: int, action: Callable[[], None], kind: type) -> None:
    with pytest.raises(kind, match="a bug in a component") as caught:
        list(loader(Failing(action), workers))
    assert not isinstance(caught.value, RunStopped)
    assert action.__name__ in str(caught.value) + "".join(entry.name for entry in caught.traceback)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pipeline_stops_the_run_in_its_own_words_and_at_its_own_step(workers: int) -> None:
    first = next(step.step for step in loader(Pipeline(), 0) if any("s5" in b.keys for b in step.batches))
    steps = iter(loader(Failing(stop), workers))
    assert [next(steps).step for _ in range(first)] == list(range(first))
    with pytest.raises(RunStopped, match=r"^this sample cannot be masked$"):
        next(steps)


def test_an_early_end_leaves_no_processes() -> None:
    steps = iter(loader(Pipeline(), 2))
    next(steps)
    assert len(multiprocessing.active_children()) >= 2
    del steps
    gc.collect()
    assert not multiprocessing.active_children()


def test_workers_use_one_thread_and_leave_signals_to_the_main_process() -> None:
    (step,) = loader(Reporting(), 1, last_step=0)
    assert {bad.key for bad in step.bad} == {"1 false True"}
    assert {bad.reason for bad in step.bad} != {str(os.getpid())}
    assert step.batches == []


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_signal_handlers_and_torchs_generator_alone(workers: int) -> None:
    before, state = signal.getsignal(signal.SIGCHLD), torch.get_rng_state()
    list(loader(Pipeline(), workers, last_step=1))
    assert signal.getsignal(signal.SIGCHLD) == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
def test_pinned_batches_hold_the_same_values(expected: list[Any]) -> None:
    steps = list(loader(Pipeline(), 2, pin_memory=True))
    assert content(steps) == expected
    assert all(b.store["toy"].data.is_pinned() for step in steps for b in step.batches)


def _late(note: Path) -> None:
    """A worker that is prepared when the process that started it is gone."""
    note.write_text(str(os.getpid()))
    time.sleep(0.5)
    _prepare_worker(0)
    time.sleep(100)


def _is_alive(pid: str) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks for processes in /proc")
def test_a_worker_ends_with_a_parent_that_was_killed_while_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    starter = os.fork()
    if starter == 0:
        multiprocessing.get_context("fork").Process(target=_late, args=(note,)).start()
        os._exit(0)
    os.waitpid(starter, 0)
    deadline = time.monotonic() + 30
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    while _is_alive(note.read_text()):
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.05)
