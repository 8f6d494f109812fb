"""Do sentence vectors find the other half of a passage that was never trained on? RetroMAE-2 against its own masked language model.

Both encoders begin with the same weights and read the same texts, masked alike, for the same number of steps; the one is asked for
the hidden tokens alone (`mlm`), the other for RetroMAE-2's three losses. A held-out passage of the English documentation that comes
with Python is cut in two; each first half must find its second half among those of all passages by the cosine of their vectors.
Recall at 1 and at 10 over pairs, for the first token's vector and for the mean of all, over seeds, beside untrained weights and
beside the words themselves (tf-idf). Eight minutes of one thread for a seed; the second line takes two, and writes a file of its
own. Run from the project's root:

    python benchmarks/retrieval.py
    python benchmarks/retrieval.py --steps 1000
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import machine
from sklearn.feature_extraction.text import TfidfVectorizer

from omnimask.builder.build import Built, build
from omnimask.data.planner import Cursor, Place
from omnimask.evaluation.features import Pool, clean_pipeline, encode, initial_model
from omnimask.interfaces import Context
from omnimask.network.model import MaskedModel
from omnimask.recipe import load_recipe
from omnimask.training.devices.precision import Precision
from omnimask_datasets.english import English
from omnimask_text.tokenize import train as tokenizers

WIDTH, DEPTH, HEADS, VOCABULARY, LENGTH, BATCH, RATE, WARMUP = 64, 2, 4, 1024, 96, 1024, 1.2e-3, 40
PAIRS, SHORTEST, STEPS = 256, 150, 3500
"""How many held-out passages at most, and how many characters one has at least; steps of training."""

POOLS: tuple[Pool, ...] = ("first", "mean")

SIZES = (
    "data={name: english, validation: 0.1}",
    f"encoder.width={WIDTH}",
    f"encoder.depth={DEPTH}",
    f"encoder.heads={HEADS}",
    f"encoder.position.max_length={LENGTH}",
    "encoder.dropout=0",
    f"train.batch_tokens={BATCH}",
    "train.workers=0",
)
DECODER = ("predictors.1.heads=4", f"predictors.1.position.max_length={LENGTH}", "predictors.1.dropout=0")
RECIPES: dict[str, Sequence[str]] = {"mlm": ("predictors=[{name: mlm}]", "views={}"), "retromae": DECODER}


def built(name: str, seed: int, steps: int, vocabulary: Path) -> Built:
    """One of the recipes at the benchmark's size; both draw the encoder's weights first, so that these begin alike."""
    tokenizer = f"modalities.text.tokenizer={{name: text.huggingface, path: {vocabulary}, max_length: {LENGTH}}}"
    return build(load_recipe("text/retromae", [tokenizer, *SIZES, *RECIPES[name], f"seed={seed}", f"train.steps={steps}"]))


def small_vocabulary(folder: Path) -> Path:
    """Of the same documents: most of a step's work is the product with the vocabulary."""
    texts = English(Context()).texts
    tokenizers.train(lambda: iter(texts), "wordpiece", VOCABULARY, lowercase=True).save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def train(of: Built, steps: int) -> dict[str, float]:
    """Losses of the last step, and CPU seconds of all."""
    optimizer = torch.optim.AdamW(of.model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, (steps - step) / max(steps - WARMUP, 1))
    )
    begin, losses = time.process_time(), {}
    of.model.train()
    for _, loaded in zip(range(steps), of.loader(Cursor(), 0), strict=False):
        (batch,) = loaded.batches
        output = of.model(batch)
        optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(of.model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses = {name: round(value.item(), 4) for name, value in output.terms.items()}
    return {**losses, "cpu seconds": round(time.process_time() - begin, 1)}


def halves(of: Built) -> tuple[list[str], list[str]]:
    """First and second halves of held-out passages, cut between two words."""
    texts = [of.dataset[index]["text"] for index in of.validation_indices.tolist()]
    texts = [text for text in dict.fromkeys(texts) if len(text) >= SHORTEST and " " in text[len(text) // 2 :]][:PAIRS]
    middles = [text.index(" ", len(text) // 2) for text in texts]
    return [t[:m] for t, m in zip(texts, middles, strict=True)], [t[m:] for t, m in zip(texts, middles, strict=True)]


class Texts:
    """A data set of texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def key(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> dict[str, str]:
        return {"text": self.texts[index]}

    def fingerprint(self) -> str:
        return "texts"


def vectors(of: Built, model: MaskedModel, texts: Sequence[str], pool: Pool) -> np.ndarray:
    """(n, D) unit vectors of texts, of which all tokens are shown."""
    pipeline, precision, found = clean_pipeline(of, Texts(texts)), Precision("fp32", torch.device("cpu")), []
    for start in range(0, len(texts), 64):
        batch = pipeline.pack([pipeline.sample(Place(0, 0, i, 0.0)) for i in range(start, min(start + 64, len(texts)))])
        found.append(encode(model, batch, pool, precision))
    rows = np.concatenate(found)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def recalls(similarity: np.ndarray) -> dict[str, float]:
    """Share of rows whose own column is the largest, and among the ten largest."""
    rank = (similarity > similarity.diagonal()[:, None]).sum(1)
    return {"1": round(float((rank < 1).mean()), 4), "10": round(float((rank < 10).mean()), 4)}


def words(first: Sequence[str], second: Sequence[str]) -> dict[str, float]:
    """By the words themselves, no network."""
    vectorizer = TfidfVectorizer().fit([*first, *second])
    return recalls((vectorizer.transform(first) @ vectorizer.transform(second).T).toarray())


def of_seed(seed: int, steps: int, vocabulary: Path) -> dict[str, Any]:
    """Recall by encoder and pool, and what training came to."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"seed": seed, "training": {}, "recall": {}}
    for name in RECIPES:
        part = built(name, seed, steps, vocabulary)
        first, second = halves(part)
        found["pairs"] = len(first)
        if name == "mlm":
            found["recall"]["tf-idf"] = words(first, second)
        found["training"][name] = train(part, steps)
        models = {name: part.model} | ({"untrained": initial_model(part)} if name == "mlm" else {})
        for label, model in models.items():
            for pool in POOLS:
                own, others = (vectors(part, model, texts, pool) for texts in (first, second))
                found["recall"][f"{label}, {pool}"] = recalls(own @ others.T)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="seeds at once")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(given.jobs) as pool:
        one = partial(of_seed, steps=given.steps, vocabulary=small_vocabulary(Path(folder)))
        for row in pool.map(one, range(given.seeds)):
            rows.append(row)
            print(json.dumps(row), flush=True)
    write(rows, given.steps, given.out)


def write(rows: Sequence[dict[str, Any]], steps: int, folder: Path) -> None:
    """The means over seeds, and every seed."""
    names = rows[0]["recall"]
    means = {n: {k: round(float(np.mean([row["recall"][n][k] for row in rows])), 4) for k in ("1", "10")} for n in names}
    inputs = {
        "encoder": f"{WIDTH} x {DEPTH}, {HEADS} heads, {VOCABULARY} ids",
        "steps": steps,
        "tokens of a step": BATCH,
        "learning rate": RATE,
        "longest passage": LENGTH,
        "pairs": [row["pairs"] for row in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        "title": "Recall of the other half of a held-out passage",
        "inputs": inputs,
        "mean": means,
        "seeds": rows,
        "machine": machine(),
    }
    name = "retrieval.json" if steps == STEPS else f"retrieval_{steps}.json"
    (folder / name).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, found in means.items():
        print(f"{name:20} recall@1 {found['1']:.3f}  recall@10 {found['10']:.3f}")


if __name__ == "__main__":
    main()
