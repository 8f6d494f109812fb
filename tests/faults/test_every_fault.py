"""Every row of ``docs/faults.md``: the fault is made in a real run, which ends, counts and says what the row promises.

Pictures lie in shards of ten; windows of ten mean that an epoch goes through shard after shard.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from omnimask.cli import main
from omnimask.network.model import MaskedModel
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.directory import verify

pytest.importorskip("webdataset")
pytest.importorskip("fsspec")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")

RECIPE = """\
omnimask: 1
device: cpu
modalities:
  image:
    tokenizer: {name: image.patch, image_size: 8, patch_size: 4, channels: 1}
    masker: {name: random, ratio: 0.5}
    corruptor: {name: drop}
encoder: {name: transformer, width: 16, depth: 1, heads: 2}
predictors:
  - {name: decoder, width: 16, depth: 1, heads: 2, target: {name: patch}}
data: {name: shards, path: shards, validation: 0, window: 10}
train:
  steps: 30
  batch_tokens: 16
  optimizer: {name: adamw, lr: 1e-3}
  log_every: 1
  checkpoint_every: 2
"""


@dataclass
class Lab:
    """A folder with shards and a recipe, in which commands are run in this process and faults are made at a step."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    serve: Callable[[Path], Any]
    run: Path = field(init=False)
    log: str = ""
    code: int = -1

    def __post_init__(self) -> None:
        self.run = self.folder / "run"
        self.shards = self.folder / "shards"

    def command(self, *arguments: str) -> int:
        self.capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        self.log = self.capfd.readouterr().err
        assert "Traceback" not in self.log, self.log
        return code

    def pretrain(self, *changes: str) -> int:
        return self.command("pretrain", "recipe.yaml", *changes, "--run", "run")

    def pretrain_with(self, step: int, fault: Callable[[], object], *changes: str) -> int:
        """Trains; the fault is made when a step was logged, by the main process."""
        append, main_process = files.Appender.append, os.getpid()

        def watching(appender: files.Appender, line: str) -> None:
            append(appender, line)
            if f'"step": {step},' in line and '"lr"' in line and os.getpid() == main_process:
                fault()

        with self.monkeypatch.context() as patch:
            patch.setattr(files.Appender, "append", watching)
            return self.pretrain(*changes)

    def damaged(self, wanted: Callable[[Any, int], Any]) -> contextlib.AbstractContextManager[None]:
        """Inside the ``with`` block, ``wanted(output, call)`` takes the place of what the model gives in training."""
        forward, calls = MaskedModel.forward, iter(range(10**9))

        @contextlib.contextmanager
        def patched() -> Iterator[None]:
            def watched(model: MaskedModel, *args: Any, **options: Any) -> Any:
                output = forward(model, *args, **options)
                return wanted(output, next(calls)) if model.training else output

            with self.monkeypatch.context() as patch:
                patch.setattr(MaskedModel, "forward", watched)
                yield

        return patched()

    @property
    def last(self) -> dict[str, Any]:
        return json.loads((self.run / "metrics.jsonl").read_text().splitlines()[-1])

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.run / "summary.json").read_text())

    @property
    def text(self) -> str:
        """What was said on the terminal, and the log."""
        return self.log + "".join(path.read_text(encoding="utf-8") for path in sorted(self.run.glob("logs/*.log")))

    def change(self, shard: str, place: int, data: bytes) -> None:
        path = self.shards / shard
        content = path.read_bytes()
        path.write_bytes(content[:place] + data + content[place + len(data) :])

    def resumes(self, *changes: str) -> None:
        """The run can be continued to its end, from checkpoints that are whole."""
        for path in sorted((self.run / "checkpoints").glob("step-*")):
            verify(path)
        assert self.command("resume", "run", *changes) == 0, self.log
        assert self.summary["status"] == "finished" and self.last["step"] == 30


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures in shards of ten."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for number in range(60):
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / "pictures" / f"{number:03d}.png")
    sizes = ["--shard-samples", "10", "--in-order"]
    assert main(["shard", str(folder / "pictures"), str(folder / "shards"), *sizes]) == 0
    return folder / "shards"


@pytest.fixture
def lab(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    serve: Callable[[Path], Any],
) -> Lab:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("omnimask_datasets.shards.download._LONGEST_PAUSE", 0.01)
    shutil.copytree(shards, tmp_path / "shards")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return Lab(tmp_path, monkeypatch, capfd, serve)


# ---- the faults; each returns when the row's promise was found kept ----

FAULTS: dict[str, Callable[[Lab], None]] = {}


def row(name: str) -> Callable[[Callable[[Lab], None]], Callable[[Lab], None]]:
    """Marks what tests the row of that name."""

    def add(fault: Callable[[Lab], None]) -> Callable[[Lab], None]:
        FAULTS[name] = fault
        return fault

    return add


def last_shard(lab: Lab, step: int = 2) -> str:
    """The name of a shard that the first steps do not touch; found by a run that notes what is opened."""
    from omnimask_datasets.shards.reader import Reader

    opened: list[int] = []
    exactly = Reader._exactly

    def noting(reader: Reader, shard: int, *place: int) -> bytes:
        opened.append(shard)
        return exactly(reader, shard, *place)

    with lab.monkeypatch.context() as patch:
        patch.setattr(Reader, "_exactly", noting)
        assert lab.command("pretrain", "recipe.yaml", "train.steps=15", "--run", "probe") == 0
    shutil.rmtree("probe")
    order = list(dict.fromkeys(opened))
    assert len(order) == 6
    return f"shard-{order[-1]:06d}.tar"


@row("a tar with a damaged header, at the start")
def damaged_header(lab: Lab) -> None:
    content = bytearray((lab.shards / "shard-000002.tar").read_bytes())
    content[10] ^= 1
    (lab.shards / "shard-000002.tar").write_bytes(content)
    lab.code = lab.pretrain()
    assert "data: shard-000002.tar: damaged header at byte 0" in lab.log
    assert not lab.run.exists()


@row("a shard that the manifest lists is missing, at the start")
def missing_at_the_start(lab: Lab) -> None:
    (lab.shards / "shard-000002.tar").unlink()
    lab.code = lab.pretrain()
    assert "lacks 1 of the 6 shards that its manifest lists: shard-000002.tar" in lab.log
    assert not lab.run.exists()


@row("a shard with a pickle, a link, a device, or a name that leaves its folder")
def hostile_shard(lab: Lab) -> None:
    (lab.shards / "manifest.json").unlink()
    members = {
        "0001.pickle": tarfile.REGTYPE,
        "0001.txt": tarfile.SYMTYPE,
        "0002.txt": tarfile.LNKTYPE,
        "../../0003.png": tarfile.REGTYPE,
        "/etc/0004.png": tarfile.REGTYPE,
        "0005.png": tarfile.CHRTYPE,
    }
    before = sorted(lab.folder.rglob("*"))
    for name, kind in members.items():
        with tarfile.open(lab.shards / "hostile.tar", "w") as tar:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        lab.code = lab.pretrain("data.name=shards")
        assert lab.code == 2, name
        assert "hostile.tar: " in lab.log and "refused" in lab.log, lab.log
    new = {path for path in lab.folder.rglob("*") if path not in before}
    assert {path for path in new if lab.folder / "cache" not in (path, *path.parents)} <= {lab.shards / "hostile.tar"}


@row("a header that claims more than 64 KiB")
def huge_header(lab: Lab) -> None:
    (lab.shards / "manifest.json").unlink()
    with tarfile.open(lab.shards / "huge.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("a" * 70_000 + ".txt"))
    lab.code = lab.pretrain()
    assert "huge.tar: " in lab.log and "65,536" in lab.log, lab.log


@row("a shard is cut off during the run")
def cut_off(lab: Lab) -> None:
    name = last_shard(lab)
    lab.code = lab.pretrain_with(2, lambda: os.truncate(lab.shards / name, 2000), "data.max_bad.at_least=10")
    assert lab.last["bad_samples"] >= 8
    assert re.search(rf"skipping unreadable sample: \d+: ValueError: {name} has 2,000 bytes.*the file was truncated", lab.text)


@row("a shard disappears during the run")
def disappears(lab: Lab) -> None:
    name = last_shard(lab)
    lab.code = lab.pretrain_with(2, lambda: (lab.shards / name).unlink(), "data.max_bad.at_least=10")
    assert lab.last["bad_samples"] == len(lab.summary["bad_samples"]) == 10
    assert re.search(rf"skipping unreadable sample: \d+: FileNotFoundError: .*{name}", lab.text)


@row("a member was changed or is cut short")
def changed_member(lab: Lab) -> None:
    lab.change("shard-000001.tar", 520, b"#")
    lab.code = lab.pretrain("train.workers=2")
    assert lab.last["bad_samples"] == 1 and len(lab.summary["bad_samples"]) == 1
    assert "shard-000001.tar, byte 512: a member ending in .png is damaged: checksum mismatch with the index" in lab.text


@row("a sample that cannot be decoded")
def undecodable(lab: Lab) -> None:
    (lab.folder / "some").mkdir()
    assert lab.command("shard", "shards", "x", "--help") == 0
    from PIL import Image

    for number in range(12):
        Image.new("L", (8, 8), number).save(lab.folder / "some" / f"{number:03d}.png")
    (lab.folder / "some" / "005.png").write_bytes(b"no picture")
    lab.code = lab.pretrain("data={name: image.folder, path: some, validation: 0}", "train.workers=2")
    assert lab.last["bad_samples"] == 1 and lab.summary["bad_samples"].keys() == {"005.png"}
    assert "skipping unreadable sample: 005.png: ValueError: not a readable image" in lab.text


@row("more unreadable samples than `data.max_bad`")
def too_many(lab: Lab) -> None:
    name = last_shard(lab)
    shutil.copy(lab.shards / name, lab.folder)
    lab.code = lab.pretrain_with(2, lambda: (lab.shards / name).unlink(), "data.max_bad.at_least=3")
    count = len(lab.summary["bad_samples"])
    assert count > 3 and f"{count} samples are unreadable, but only 3 are tolerated" in lab.log
    assert f"{count} samples are unreadable" in (lab.run / "logs" / "rank0.log").read_text()
    assert lab.summary["status"] == "stopped"
    shutil.copy(lab.folder / name, lab.shards)
    lab.resumes("data.max_bad.at_least=10")


def remote(lab: Lab, **fault: Any) -> Any:
    server = lab.serve(lab.shards)
    text = RECIPE.replace("path: shards", f"url: '{server.url}', cache: {{timeout: 0.3, retries: 1}}")
    (lab.folder / "recipe.yaml").write_text(text, encoding="utf-8")
    for name, value in fault.items():
        setattr(server, name, value)
    return server


@row("a server hangs, breaks off or sends other bytes, and recovers")
def server_recovers(lab: Lab) -> None:
    for number, fault in enumerate(("hangs", "hangs_halfway", "cuts_off", "refuses", "damages")):
        server = remote(lab, fault=fault, faulty="shard-000003.tar", times=1)
        lab.code = lab.command("pretrain", "recipe.yaml", "--run", f"run-{number}", "train.workers=2")
        lab.run = lab.folder / f"run-{number}"
        assert lab.code == 0
        assert lab.last["bad_samples"] == 0 and lab.last["retries"] == lab.summary["retries"] == 1, fault
        assert "shard-000003.tar: attempt 1 of 2 failed: " in lab.text
        assert server.gets("shard-000003.tar") == 2


@row("a server hangs for good")
def server_hangs(lab: Lab) -> None:
    remote(lab, fault="hangs", faulty="shard-000003.tar")
    lab.code = lab.pretrain("data.max_bad.at_least=3")
    failed = r"shard-000003\.tar could not be loaded in 2 attempts; last error: (no byte for 0\.3 seconds|TimeoutError: no answer)"
    assert re.search(failed, lab.log)
    assert lab.summary["bad_samples"] and lab.summary["retries"] >= 1
    assert lab.last["bad_samples"] <= len(lab.summary["bad_samples"])


@row("a loader process dies")
def worker_dies(lab: Lab) -> None:
    def kill() -> None:
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    lab.code = lab.pretrain_with(3, kill, "train.workers=2")
    assert re.search(r"data loader worker \d+ \(exit code -9\) died while it read samples", lab.log)
    assert lab.summary["status"] == "stopped"
    lab.resumes()
    assert lab.last["attempt"] == 2


def refusing_disk(lab: Lab, number: int) -> None:
    write, refuses = files._write, False

    def limited(file: Any, data: Any) -> None:
        nonlocal refuses
        refuses = refuses or "step-00000006" in str(Path(f"/proc/self/fd/{file.fileno()}").readlink())
        if refuses:
            raise OSError(number, os.strerror(number))
        write(file, data)

    with lab.monkeypatch.context() as patch:
        patch.setattr(files, "_write", limited)
        lab.code = lab.pretrain()
    assert os.strerror(number) in lab.log and "MB free there" in lab.log
    assert lab.log.count("error: ") == 1
    assert sorted(path.name for path in lab.run.glob("checkpoints/step-*")) == ["step-00000002", "step-00000004"]
    assert os.strerror(number) in (lab.run / "logs" / "rank0.log").read_text()
    assert not list(lab.run.rglob("*.tmp"))
    lab.resumes()
    assert lab.last["attempt"] == 2


@row("the disk is full")
def disk_full(lab: Lab) -> None:
    refusing_disk(lab, errno.ENOSPC)


@row("the disk becomes read-only")
def read_only(lab: Lab) -> None:
    refusing_disk(lab, errno.EROFS)


def in_a_folder(lab: Lab, count: int = 60) -> str:
    """Pictures as files of a folder; the change that reads them."""
    import numpy as np
    from PIL import Image

    (lab.folder / "some").mkdir()
    for number in range(count):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(lab.folder / "some" / f"{number:03d}.png")
    return "data={name: image.folder, path: some, validation: 0}"


@row("the folder with the data disappears")
def vanished(lab: Lab) -> None:
    data, some = in_a_folder(lab), lab.folder / "some"
    lab.code = lab.pretrain_with(3, lambda: some.rename("elsewhere"), data)
    assert "samples are unreadable, but only 10 are tolerated" in lab.log and "No such file or directory" in lab.log
    assert lab.summary["status"] == "stopped"
    assert lab.command("resume", "run") == 2
    Path("elsewhere").rename(some)
    lab.resumes()


@row("a sample is removed before a resume")
def removed(lab: Lab) -> None:
    data = in_a_folder(lab)
    assert lab.pretrain(data, "train.steps=6") == 0
    kept = (lab.folder / "some" / "007.png").read_bytes()
    (lab.folder / "some" / "007.png").unlink()
    lab.code = lab.command("resume", "run", "train.steps=30")
    assert "the data differ from those at the start of the run (60 samples then, 59 now" in lab.log
    (lab.folder / "some" / "007.png").write_bytes(kept)
    lab.resumes("train.steps=30")


@row("a component returns something that its interface forbids")
def breach(lab: Lab) -> None:
    from omnimask_image.tokenize.tokenizer import PatchTokenizer

    tokenize, data = PatchTokenizer.__call__, in_a_folder(lab)

    def one_short(tokenizer: Any, raw: Any, draw: Any) -> Any:
        import dataclasses

        tokens = tokenize(tokenizer, raw, draw)
        return dataclasses.replace(tokens, content=tokens.content[1:])

    with lab.monkeypatch.context() as patch:
        lab.code = lab.pretrain_with(3, lambda: patch.setattr(PatchTokenizer, "__call__", one_short), data)
    named = r"error: tokenizer 'image\.patch' of omnimask \S+, sample '\d+\.png': content has shape \(3, 4, 4, 1\)"
    assert re.search(named, lab.log)
    assert lab.summary["status"] == "stopped"
    lab.resumes()


@row("ten steps in a row with nothing to answer, from the beginning on")
def unanswered(lab: Lab) -> None:
    lab.code = lab.pretrain("modalities.image.masker={name: none}")
    assert "10 steps in a row had nothing to answer" in lab.log and "raise the masker's ratio" in lab.log
    assert lab.summary["skipped_steps"] == 10 and lab.summary["status"] == "stopped"


@row("writing a cache is interrupted")
def cache_interrupted(lab: Lab) -> None:
    import numpy as np

    Path("texts.jsonl").write_text("".join(json.dumps({"text": f"{n} bottles " * 9}) + "\n" for n in range(60)), encoding="utf-8")
    recipe = RECIPE.replace("image:", "text:").replace("shards, path: shards", "jsonl, path: texts.jsonl").replace("patch}", "ids}")
    recipe = recipe.replace("{name: image.patch, image_size: 8, patch_size: 4, channels: 1}", "{name: text.bytes, max_length: 64}")
    Path("recipe.yaml").write_text(recipe, encoding="utf-8")
    save = np.save

    def half(file: Any, array: Any, **options: Any) -> None:
        save(file, array[:, : array.shape[1] // 2], **options)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with lab.monkeypatch.context() as patch:
        patch.setattr(np, "save", half)
        lab.code = lab.pretrain("train.batch_tokens=256", "train.steps=10")
    assert "are not cached" in lab.text
    assert not list((lab.folder / "cache").rglob("*.npy")) and not list((lab.folder / "cache").rglob("*.part"))
    lab.resumes("train.steps=30")


def without_a_number(output: Any) -> Any:
    import dataclasses

    return dataclasses.replace(output, loss=output.loss * math.nan)


@row("a loss or gradient that is not finite")
def non_finite(lab: Lab) -> None:
    with lab.damaged(lambda output, call: without_a_number(output) if call in (4, 5) else output):
        lab.code = lab.pretrain()
    assert lab.last["skipped_steps"] == lab.summary["skipped_steps"] == 2
    assert "step 5 skipped: non-finite loss" in lab.text


@row("ten steps in a row without finite numbers")
def never_finite(lab: Lab) -> None:
    with lab.damaged(lambda output, call: without_a_number(output) if call >= 4 else output):
        lab.code = lab.pretrain()
    assert lab.last["skipped_steps"] == 10
    assert "10 steps in a row had a non-finite loss, the last one step 14" in lab.log
    assert lab.summary["status"] == "stopped"
    lab.resumes()


@row("memory runs out")
def out_of_memory(lab: Lab) -> None:
    def wanted(output: Any, call: int) -> Any:
        if call == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return output

    with lab.damaged(wanted):
        lab.code = lab.pretrain()
    assert "out of memory in step 5: a micro-batch held 16 tokens" in lab.log
    assert lab.summary["status"] == "stopped"
    lab.resumes("train.micro_batch_tokens=8")


def signalled(lab: Lab, signum: int, workers: int = 0) -> None:
    lab.code = lab.pretrain_with(3, lambda: os.kill(os.getpid(), signum), f"train.workers={workers}")
    assert f"interrupted by signal {signum}: stopping after a checkpoint at step 3" in lab.text
    assert lab.log.splitlines()[-2:] == [
        "resume with: omnimask resume run",
        f"error: interrupted by signal {signum}; a checkpoint was written",
    ]
    assert lab.summary["status"] == "interrupted" and lab.last["step"] == 3
    verify(lab.run / "checkpoints" / "step-00000003")
    lab.resumes()
    assert lab.last["attempt"] == 2


@row("SIGTERM")
def terminated(lab: Lab) -> None:
    signalled(lab, signal.SIGTERM, workers=2)


@row("SIGINT (Ctrl-C)")
def interrupted(lab: Lab) -> None:
    signalled(lab, signal.SIGINT)


@row("SIGUSR1")
def requeued(lab: Lab) -> None:
    signalled(lab, signal.SIGUSR1)


@row("the time of `--max-time` is up")
def time_is_up(lab: Lab) -> None:
    now = [0.0]
    append = files.Appender.append

    def ticking(appender: files.Appender, line: str) -> None:
        append(appender, line)
        now[0] += 60

    with lab.monkeypatch.context() as patch:
        patch.setattr(files.Appender, "append", ticking)
        patch.setattr("omnimask.training.deadline.Deadline.__init__.__defaults__", (None, lambda: now[0]))
        lab.code = lab.pretrain("--max-time", "5m30s")
    assert "the time limit of this attempt was reached: stopping after a checkpoint at step 5" in lab.text
    assert lab.summary["status"] == "interrupted" and lab.last["step"] == 5
    lab.resumes()
    assert lab.last["attempt"] == 2


@row("a checkpoint is damaged")
def damaged_checkpoint(lab: Lab) -> None:
    assert lab.pretrain_with(5, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 143
    newest = lab.run / "checkpoints" / "step-00000005" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"#")
    lab.code = lab.command("resume", "run")
    assert re.search(r"damaged checkpoint ignored: .*step-00000005: model.safetensors was changed", lab.text)
    assert lab.last["step"] == 30 and lab.last["attempt"] == 2


@row("every checkpoint is damaged")
def no_checkpoint(lab: Lab) -> None:
    assert lab.pretrain_with(5, lambda: os.kill(os.getpid(), signal.SIGTERM)) == 143
    for path in (lab.run / "checkpoints").glob("step-*/manifest.json"):
        path.write_text("{}")
    lab.code = lab.command("resume", "run")
    assert "no intact checkpoint" in lab.log
    assert "step-00000005: manifest.json is unreadable" in lab.log


@row("`kill -9`, or a power cut")
def torn(lab: Lab) -> None:
    """What such an end leaves (a torn line, half a checkpoint, no summary); the kills themselves are in test_kill.py."""

    class Killed(BaseException): ...

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        lab.pretrain_with(5, kill)
    with (lab.run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    (lab.run / "checkpoints" / "step-00000006.tmp").mkdir()
    lab.code = lab.pretrain("--continue")
    assert "half-written checkpoint removed: " in lab.text and "metrics.jsonl:6, which is truncated" in lab.text
    assert lab.last["step"] == 30 and lab.last["attempt"] == 2
    steps = [json.loads(line)["step"] for line in (lab.run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 31))


@row("another process trains in the folder")
def locked(lab: Lab) -> None:
    from omnimask.training.checkpoints.run_directory import RunDirectory

    assert lab.pretrain("train.steps=4") == 0
    with RunDirectory(lab.run).locked():
        lab.code = lab.command("resume", "run", "train.steps=6")
    assert "another process is training in run" in lab.log


# ---- the table ----


def table() -> dict[str, Sequence[str]]:
    """The rows of the page's table by their first cell."""
    lines = [line for line in PAGE.partition("## Every fault")[2].partition("\n## ")[0].splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells[1:]}


@pytest.mark.parametrize("name", FAULTS)
def test_the_outcome_is_what_the_page_says(name: str, lab: Lab) -> None:
    assert name in table(), f"docs/faults.md lacks a row for {name!r}"
    _, counted, code = table()[name]
    FAULTS[name](lab)
    assert str(lab.code) == code, lab.log
    for key in re.findall(r"`(\w+)`", counted):
        assert key in (lab.last if (lab.run / "metrics.jsonl").exists() else {}) or key in lab.summary, key


def test_every_row_of_the_page_is_tested() -> None:
    assert set(table()) == set(FAULTS)
