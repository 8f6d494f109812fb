"""Does the alarm for collapsed features ring when it must, and only then?

Trains small recipes with learned answers (the target `features`, the predictor `contrast`), healthy ones with several seeds and
ones whose answers have gradient, and records at every validation the standard deviation of the answers as a share of its value at
the start, RankMe, and whether the run warned. The thresholds of `omnimask.training.collapse` were chosen on such runs. Run from the
project's root:

    python benchmarks/collapse.py
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import torch

from omnimask.builder.build import build
from omnimask.recipe import load_recipe
from omnimask.registry import Registry
from omnimask.registry.installed import GROUP, collect
from omnimask.training import collapse
from omnimask.training.checkpoints.run_directory import RunDirectory
from omnimask.training.inputs import RunContext, TrainingData
from omnimask.training.loop import Trainer

ROOT = Path(__file__).resolve().parent.parent
TOYS = ROOT / "tests" / "toys"
STEPS, EVERY, TOKENS = 200, 50, 128

SIGNAL, WORDS, IMAGE = str(TOYS / "recipes/signal_latent.yaml"), str(TOYS / "recipes/words_mirrored.yaml"), "image/quickstart"
LAST = "predictors.0.target={name: features, of: teacher}"
SMALL = ("train.micro_batch_tokens=24", "train.batch_tokens=24")
BATCH = ("train.checkpoint_every=100000", f"train.batch_tokens={TOKENS}", f"train.micro_batch_tokens={TOKENS}")
LATENT_IMAGE = (
    "views={whole: {masker: {name: none}, corruptor: {name: keep}}}",
    "encoders={teacher: {name: average, follows: main, decay: 0.99}}",
    "passes=[{name: teacher, view: whole, encoder: teacher}]",
    "predictors=[{name: decoder, width: 32, depth: 1, heads: 4, target: {name: features, of: teacher}}]",
    "encoder={name: transformer, width: 48, depth: 2, heads: 4}",
    "train.batch_tokens=1024",
)


def leaky(norm: str, recipe: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Overrides that let gradient into the answers."""
    return (
        *recipe,
        "encoders={}",
        "passes=[{name: teacher, view: whole, grad: true, predictors: []}]",
        f"predictors.0.target={{name: toy.features_with_gradient, of: teacher, norm: {norm}}}",
    )


HEALTHY: dict[str, tuple[str, tuple[str, ...], int]] = {
    "image/ijepa": ("image/ijepa", (), 1),
    "image/data2vec2": ("image/data2vec2", (), 1),
    "text/data2vec2": ("text/data2vec2", (), 1),
    "text/mirror-bert": ("text/mirror-bert", (), 1),
    "text/self-distillation": ("text/self-distillation", (), 1),
    "data2vec": (SIGNAL, (), 2),
    "data2vec, long": (SIGNAL, ("train.steps=600", "train.validate_every=100"), 1),
    "data2vec, tiny batches": (SIGNAL, SMALL, 2),
    "data2vec, fast teacher": (SIGNAL, ("encoders.teacher.decay=0.9",), 1),
    "data2vec, learning rate 1e-2": (SIGNAL, ("train.optimizer.lr=1e-2",), 1),
    "last features": (SIGNAL, (LAST,), 2),
    "last features, cosine": (SIGNAL, ("predictors.0.target={name: features, of: teacher, loss: cosine}",), 1),
    "last features, contrast": (SIGNAL, ("predictors.0.target={name: features, of: teacher, loss: contrast}",), 1),
    "last features, no norm": (SIGNAL, ("predictors.0.target={name: features, of: teacher, norm: none}",), 1),
    "last features, tiny batches": (SIGNAL, (LAST, *SMALL), 2),
    "frozen teacher": (SIGNAL, (LAST, "encoders.teacher.decay=1.0"), 1),
    "chirps": (SIGNAL, (LAST, "data={name: toy.chirps, validation: 0.1}"), 1),
    "data of rank two": (SIGNAL, (LAST, "data={name: toy.levels, validation: 0.1}"), 1),
    "data of rank two, data2vec": (SIGNAL, ("data={name: toy.levels, validation: 0.1}",), 1),
    "sentences": (WORDS, (), 2),
    "sentences, projected": (WORDS, ("predictors.1.width=16",), 1),
    "sentences, first slot": (WORDS, ("predictors.1.pool=first",), 1),
    "sentences, long": (WORDS, ("train.steps=600", "train.validate_every=100"), 1),
    "sentences, tiny batches": (WORDS, ("train.batch_tokens=48", "train.micro_batch_tokens=48"), 2),
    "images": (IMAGE, LATENT_IMAGE, 1),
    "random weights, signals": (SIGNAL, ("train.optimizer.lr=1e-12", LAST), 1),
    "random weights, sentences": (WORDS, ("train.optimizer.lr=1e-12",), 1),
}
COLLAPSING: dict[str, tuple[str, tuple[str, ...], int]] = {
    "gradient, no norm": (SIGNAL, leaky("none"), 3),
    "gradient, norm of a token": (SIGNAL, leaky("layer"), 3),
    "gradient, chirps": (SIGNAL, leaky("none", ("data={name: toy.chirps, validation: 0.1}",)), 2),
    "gradient, tiny batches": (SIGNAL, leaky("none", SMALL), 2),
}
UNJUDGED: dict[str, tuple[str, tuple[str, ...], int]] = {
    "teacher equal to the student": (SIGNAL, (LAST, "encoders.teacher.decay=0.0001"), 2),
    "teacher equal to the student, decay 0.5": (SIGNAL, (LAST, "encoders.teacher.decay=0.5"), 1),
    "sentences without negatives": (WORDS, ("data={name: toy.sentences, validation: 0.1}",), 1),
}


def registry() -> Registry:
    """The installed plugins and the toys of the tests."""
    sys.path.insert(0, str(TOYS / "plugins"))
    modules = ("toy_signal", "toy_grammar")
    return collect([*entry_points(group=GROUP), *(EntryPoint(name=name, value=name, group=GROUP) for name in modules)])


def train(found: Registry, recipe: str, overrides: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Train a recipe; return its measurements and the step of its warning."""
    is_smoke = "/" in recipe and not recipe.endswith(".yaml") and recipe != IMAGE
    options = () if is_smoke else (f"train.steps={STEPS}", f"train.validate_every={EVERY}", *BATCH)
    loaded = load_recipe(recipe, (*options, "device=cpu", *overrides, f"seed={seed}"), registry=found, smoke=is_smoke)
    built = build(loaded)
    measured_at: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = TrainingData(lambda cursor, step: built.loader(cursor, step), built.validation_batches)
        run = RunContext(RunDirectory(Path(folder) / "run"), torch.device("cpu"), seed, show=False, registry=found)
        trainer = Trainer(built.model, data, loaded.train, run)
        # The loop's own call, so that the step is known.
        steps: list[int] = []
        watch = collapse.watch

        def watched(progress: Any, measured: Any) -> None:
            before = len(progress.collapsed)
            watch(progress, measured)
            steps.extend([progress.step] * (len(progress.collapsed) - before))
            measured_at.extend({"step": progress.step, "term": term, "rows": m.rows, **m.scores} for term, m in measured.items())

        collapse.watch = watched
        try:
            trainer.fit()
        finally:
            collapse.watch = watch
    at_start = trainer.progress.spread_at_start
    points = [{**point, "share": point["spread"] / at_start[point["term"]]} for point in measured_at]
    lowest = min(points, key=lambda point: point["share"])
    summary = {"seed": seed, "warned_at": steps[0] if steps else None, "spread_at_start": at_start[lowest["term"]]}
    summary |= {"lowest_share": lowest["share"], "predictions_there": lowest["prediction_spread"]}
    summary |= {"lowest_prediction_spread": min(point["prediction_spread"] for point in points)}
    summary |= {"rankme_first": points[0]["rankme"], "rankme_lowest": min(point["rankme"] for point in points)}
    summary |= {"steps": points[-1]["step"], "rows": points[-1]["rows"]}
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in summary.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "collapse.json")
    parser.add_argument("--group", choices=("healthy", "collapsing", "unjudged"), help="default: all")
    parser.add_argument("--only", default="", help="part of a case's name")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found, results = registry(), dict[str, dict[str, list[dict[str, Any]]]]()
    for group, cases in (("healthy", HEALTHY), ("collapsing", COLLAPSING), ("unjudged", UNJUDGED)):
        if arguments.group not in (None, group):
            continue
        results[group] = {}
        for name, (recipe, overrides, seeds) in cases.items():
            if arguments.only not in name:
                continue
            begin = time.perf_counter()
            results[group][name] = [train(found, recipe, overrides, seed) for seed in range(seeds)]
            print(group, name, f"{time.perf_counter() - begin:.0f} s", *results[group][name], sep="\n  ", flush=True)
            thresholds = {name: getattr(collapse, name) for name in ("SHARE", "PREDICTIONS", "FLOOR", "FEWEST")}
            arguments.out.write_text(json.dumps({"thresholds": thresholds, **results}, indent=1) + "\n", encoding="utf-8")
    wrong = [name for name, runs in results.get("healthy", {}).items() if any(run["warned_at"] is not None for run in runs)]
    missed = [name for name, runs in results.get("collapsing", {}).items() if any(run["warned_at"] is None for run in runs)]
    counts = {group: sum(len(runs) for runs in cases.values()) for group, cases in results.items()}
    print(f"{counts}; false alarms: {wrong or 'none'}; missed: {missed or 'none'}")
    raise SystemExit(bool(wrong or missed))


if __name__ == "__main__":
    main()
