"""Peak memory of a training step with a large vocabulary: each variant in a process of its own, which reports its largest size.

What counts is the growth from after the model, the batch and the optimizer's state were made (one step with two tokens) to the
largest size during a step, in MiB.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

VOCABULARY, WIDTH, DEPTH, HEADS, TEXTS, LENGTH = 50_368, 256, 2, 4, 32, 256


def peak_mib() -> float:
    """Largest resident size of this process so far (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def variant(name: str) -> float:
    """Growth of the process during a step, in MiB."""
    import numpy as np
    import texts
    import torch

    torch.set_num_threads(1)
    texts.WIDTH, texts.DEPTH, texts.HEADS, texts.VOCABULARY = WIDTH, DEPTH, HEADS, VOCABULARY
    sizes = np.full(TEXTS, LENGTH)
    options = f"name: text.huggingface, path: {texts.FOLDER}, max_length: {LENGTH}, vocabulary: {VOCABULARY}"
    tokenizer = f"modalities.text.tokenizer={{{options}}}"
    built, samples = texts.ours("text/bert", 0.15, sizes, [tokenizer, "encoder.dropout=0", "encoder.types=0"])
    small, batch = built.pipeline.pack(samples[:1]), built.pipeline.pack(samples)
    if name == "omnimask":
        call, first = (
            texts.step(built.model, lambda: built.model(batch).loss),
            texts.step(built.model, lambda: built.model(small).loss),
        )
    else:
        peer = texts.bert()
        rows, few = texts.rows_of(batch, LENGTH), texts.rows_of(small, LENGTH)
        call, first = texts.step(peer, lambda: peer(**rows).loss), texts.step(peer, lambda: peer(**few).loss)
    first()
    before = peak_mib()
    call()
    return peak_mib() - before


def run() -> dict[str, Any]:
    """Both variants."""
    grown = {}
    for name in ("BertForMaskedLM", "omnimask"):
        done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
        grown[name] = float(done.stdout.splitlines()[-1])
    inputs = {
        "model": f"{WIDTH} x {DEPTH}, {HEADS} heads, {VOCABULARY} ids",
        "texts": f"{TEXTS} of {LENGTH} tokens, none padded; 15 % hidden",
    }
    return {"title": "Growth of the process during a training step", "inputs": inputs, "mib": grown}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(variant(sys.argv[1]))
    else:
        found = run()
        print(json.dumps(found, indent=2))
        (Path(__file__).parent / "results" / "text_memory.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
