"""Notebooks: the example runs as it was committed, progress is shown, and an interrupted cell leaves a checkpoint and a kernel."""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "notebooks" / "first_run.ipynb"

ENDLESS = """
import omnimask
omnimask.pretrain("image/digits", "run", ["device=cpu", "train.steps=100000", "train.checkpoint_every=100000"])
"""


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "scripts" / "run_notebooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path), startup_timeout=120)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def shown(notebook: Any) -> list[list[str]]:
    """Kinds of outputs by cell of code."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [[kind for output in cell.outputs for kind in sorted(output.get("data") or [output.name])] for cell in cells]


def texts(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output["data"]["text/plain"] for output in outputs)


def without_losses(text: str) -> str:
    """Losses and speeds depend on the machine; steps, samples and tokens do not."""
    return re.sub(r"[\d.]+[kMG]? tokens/s|\d+\.\d+", "x", text)


@pytest.mark.process
def test_the_example_runs_as_it_was_committed(script: ModuleType, tmp_path: Path) -> None:
    committed: Any = nbformat.read(NOTEBOOK, as_version=4)
    executed = script.execute(NOTEBOOK, tmp_path, timeout=240)
    assert shown(executed) == shown(committed)
    assert "image/png" in shown(committed)[1]
    assert without_losses(texts(executed)) == without_losses(texts(committed))
    losses = [float(number) for number in re.findall(r"validation loss (\d\.\d+)$", texts(executed), flags=re.MULTILINE)]
    assert len(losses) > 2 and losses[-1] < losses[0] < 1
    assert NOTEBOOK.stat().st_size < 150_000


@pytest.mark.process
def test_an_interrupted_cell_leaves_a_checkpoint_and_a_kernel(
    kernel: tuple[KernelManager, BlockingKernelClient], tmp_path: Path
) -> None:
    manager, client = kernel
    request = client.execute(ENDLESS)
    wait_for_progress(client)
    manager.interrupt_kernel()
    reply = reply_to(client, request)
    assert (reply["status"], reply["ename"]) == ("error", "Interrupted"), reply
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    assert (checkpoint / "manifest.json").is_file()
    assert answered(client, "assert omnimask.load_recipe('run/recipe.yaml').train.steps == 100000")["status"] == "ok"


def wait_for_progress(client: BlockingKernelClient) -> None:
    """Until the cell's line was written anew, without a widget."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=120)
        if message["msg_type"] == "update_display_data":
            assert re.match(r"\d+/100000 [━╌]+ loss", message["content"]["data"]["text/plain"])
            return
        assert message["msg_type"] != "error", message["content"]
    raise AssertionError("no progress")


def answered(client: BlockingKernelClient, code: str) -> dict[str, Any]:
    """Execute a cell after one that failed: for a moment the kernel aborts what was queued behind the failure."""
    end = time.monotonic() + 30
    while (reply := reply_to(client, client.execute(code)))["status"] == "aborted" and time.monotonic() < end:
        time.sleep(0.2)
    return reply


def reply_to(client: BlockingKernelClient, request: str) -> dict[str, Any]:
    while True:
        message = client.get_shell_msg(timeout=120)
        if message["parent_header"].get("msg_id") == request:
            return message["content"]
