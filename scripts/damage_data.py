"""Trains on damaged data, many kinds of each form that is read, and records how every command ends.

    python scripts/damage_data.py --cases 500 --seed 1 --seconds 1800 --output damage.json

A case writes a few samples in one form, damages them in one to three ways, and calls ``omnimask.cli.main`` in a forked process,
with a limit of seconds and of memory. It passes if the command ends with 0, with 1 and a reason, or with 2 and no folder left
behind; tracebacks, exit code 70 and limits that are reached are faults. Cases follow from the seed and their number alone:
``--first 17 --cases 1`` repeats case 17.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from damaged_forms import FORMS, TEXTS

IMPORTS = (
    "omnimask.cli", "omnimask.run.api", "omnimask.run.finish", "omnimask_datasets.huggingface", "omnimask_datasets.shards.write",
    "omnimask_image.decode.pillow_decoder", "omnimask_text.tokenize.byte", "scipy.stats", "matplotlib.pyplot",
    "pyarrow.parquet", "webdataset.writer",
)  # fmt: skip
SECONDS = 10.0
MEMORY = 3 * 2**30
"""Bytes of address space that a command may take beyond those that importing took."""

_COMMON = """\
omnimask: 1
device: cpu
modalities:
  {modality}
encoder: {{name: transformer, width: 16, depth: 1, heads: 2}}
predictors:
  - {predictor}
data: {{{data}, validation: 0.2, max_validation: 8}}
train: {{steps: 2, batch_tokens: 256, workers: 0, optimizer: {{name: adamw, lr: 1e-3}}, validate_every: 2, checkpoint_every: 2}}
"""
_TEXT = """\
text:
    tokenizer: {name: text.bytes, max_length: 64}
    masker: {name: random, ratio: 0.3}
    corruptor: {name: mask_token}"""
_IMAGE = """\
image:
    tokenizer: {name: image.patch, image_size: 8, patch_size: 4, channels: 3}
    masker: {name: random, ratio: 0.5}
    corruptor: {name: drop}"""


@dataclass
class Outcome:
    """How one case ended; ``fault`` is empty where that is how it should."""

    number: int
    form: str
    damages: list[str]
    code: int | None
    message: str
    seconds: float
    left: list[str] = field(default_factory=list[str])
    fault: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases, write the result file, and return 1 where any is a fault."""
    parser = argparse.ArgumentParser(description="Train on damaged data, and record how every command ends.")
    parser.add_argument("--cases", type=int, default=100, help="how many are tried")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3600, help="no case begins after so many")
    parser.add_argument("--limit", type=float, default=SECONDS, help="seconds of one case; more on a machine that is busy")
    parser.add_argument("--form", choices=sorted(FORMS), help="this form alone")
    parser.add_argument("--output", type=Path, default=Path("damage.json"))
    given = parser.parse_args(argv)
    begun, found = time.monotonic(), list[Outcome]()
    for number in range(given.first, given.first + given.cases):
        if time.monotonic() - begun > given.seconds:
            break
        outcome = run_case(number, given.seed, given.form, given.limit)
        found.append(outcome)
        if outcome.fault:
            print(f"{number} {outcome.form} {outcome.damages}: {outcome.fault}: {outcome.message}", flush=True)
    record = {
        "seed": given.seed,
        "cases": len(found),
        "faults": sum(bool(outcome.fault) for outcome in found),
        "codes": dict(Counter(str(outcome.code) for outcome in found)),
        "forms": {form: dict(Counter(str(o.code) for o in found if o.form == form)) for form in sorted({o.form for o in found})},
        "seconds": round(time.monotonic() - begun, 1),
        "slowest": round(max((outcome.seconds for outcome in found), default=0.0), 2),
        "outcomes": [asdict(outcome) for outcome in found],
    }
    given.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(found)} cases, {record['faults']} faults, exit codes {record['codes']}, written: {given.output}")
    return 1 if record["faults"] else 0


def run_case(number: int, seed: int, form: str | None = None, limit: float = SECONDS) -> Outcome:
    """Write the data of one case, run the command on them, and judge how it ended."""
    draw = random.Random(f"{seed}:{number}")
    name = form or draw.choice(sorted(FORMS))
    folder = Path(tempfile.mkdtemp(prefix="damage-"))
    try:
        damages = FORMS[name].write(folder / "data", draw)
        command = FORMS[name].command
        is_text = name in TEXTS
        recipe = _COMMON.format(
            modality=_TEXT if is_text else _IMAGE,
            predictor="{name: mlm}" if is_text else "{name: decoder, width: 16, depth: 1, heads: 2, target: {name: patch}}",
            data=FORMS[name].data.format(path=folder / "data"),
        )
        (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
        argv = ["pretrain", str(folder / "recipe.yaml"), "--run", str(folder / "out")]
        if command is not None:
            argv = [part.format(data=folder / "data", out=folder / "out") for part in command]
        code, seconds, output = in_child(argv, folder, limit)
        left = sorted(path.name for path in folder.glob("out*"))
        return _judged(Outcome(number, name, damages, code, _last_line(output), round(seconds, 2), left), output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_child(argv: Sequence[str], folder: Path, limit: float = SECONDS) -> tuple[int | None, float, str]:
    """Exit code (None: it took too long), seconds and output of a command in a forked process of its own."""
    begun, log = time.monotonic(), folder / "log"
    child = os.fork()
    if child == 0:
        _run_and_exit(argv, folder, log)
    code: int | None = None
    while time.monotonic() - begun < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return code, time.monotonic() - begun, log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""


def _run_and_exit(argv: Sequence[str], folder: Path, log: Path) -> None:
    code = 99
    with suppress(BaseException):
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(descriptor), "w", encoding="utf-8") for _ in range(2))
        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
        os.environ["OMNIMASK_CACHE"] = str(folder / "cache")
        os.environ["HF_DATASETS_CACHE"] = str(folder / "hf")
        os.chdir(folder)
        from omnimask.cli import main as command

        code = command(list(argv))
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _judged(outcome: Outcome, output: str) -> Outcome:
    faults: list[tuple[bool, str]] = [
        (outcome.code is None, "took too long"),
        ("Traceback" in output, "traceback"),
        (outcome.code not in (0, 1, 2, None), f"exit code {outcome.code}"),
        (outcome.code in (1, 2) and not outcome.message, "no message"),
        (outcome.code == 2 and bool(outcome.left), "a refusal left a folder"),
    ]
    outcome.fault = next((text for is_so, text in faults if is_so), "")
    return outcome


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1][:300]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for module in IMPORTS:  # once, before forking
        importlib.import_module(module)
    sys.exit(main())
