"""The training loop. It handles steps, files, ranks and devices, and is independent of modalities."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from omnimask.data.loader import LoadedStep
from omnimask.errors import Interrupted, NothingToLearn, RunStopped, UserError
from omnimask.registry.observers import RunInfo, StepResult, Validation
from omnimask.training import collapse
from omnimask.training.bad_samples import BadSampleGuard
from omnimask.training.checkpoints import durable_files as files
from omnimask.training.checkpoints.directory import Checkpoints, verify
from omnimask.training.checkpoints.rewind import Folder
from omnimask.training.checkpoints.run_directory import versions
from omnimask.training.closing import closing
from omnimask.training.config import TrainConfig
from omnimask.training.counters import Counters
from omnimask.training.deadline import Deadline
from omnimask.training.devices import memory
from omnimask.training.devices.precision import Precision, remedies
from omnimask.training.devices.ranks import told
from omnimask.training.devices.switches import determinism, flushed_denormals
from omnimask.training.inputs import RunContext, ScoresByTerm, TrainingData
from omnimask.training.monitoring.journal import Journal
from omnimask.training.monitoring.observers import Observers
from omnimask.training.monitoring.summary import summarise
from omnimask.training.monitoring.tensorboard import check_tensorboard
from omnimask.training.refusals import refusals
from omnimask.training.setup import parallel_of, prepare, saver_of, schedule_of
from omnimask.training.signals import Signals
from omnimask.training.step import StepRunner
from omnimask.training.validation import Scored, Validator

logger = logging.getLogger(__name__)

_TIME = 255
"""Stands for the time limit among the signal numbers."""

FAILURES_IN_ROW = 10
"""Number of consecutive steps without a finite update to stop a run."""

_FAILURES = {
    "nothing to answer": (
        "nothing to answer",
        "The maskers produce no targets: raise the ratio, or choose a masker that suits the data (`omnimask "
        "inspect RECIPE --figure FILE` draws masks)",
    )
}


class Trainer:
    """Trainer of a model. Creating one checks the configuration and writes nothing.

    Args:
        model: a module with ``counts(batch)`` and ``forward(batch, denominators, is_scored=...)`` like ``MaskedModel``; moved to
            the run's device.
        data: training steps and held-out batches.
        config: the recipe's ``train:`` section.
        run: directory, device, seed and processes.

    Raises:
        UserError: the configuration is invalid.
    """

    def __init__(self, model: nn.Module, data: TrainingData, config: TrainConfig, run: RunContext) -> None:
        check_tensorboard(config)
        if config.patience is not None and data.validation is None:
            raise UserError("train.patience needs held-out samples; raise data.validation")
        self.data, self.config, self.run = data, config, run
        self.ranks, self.directory = run.ranks, run.directory
        self.checkpoints = Checkpoints(run.directory.checkpoints, config.keep_checkpoints, run.notes)
        self.precision = Precision(config.precision, run.device)
        parallel = parallel_of(config, run.device, self.precision, self.ranks)
        self.state = prepare(model, config, run.device, self.precision, parallel)
        self.runner = StepRunner(
            model,
            self.state.optimizer,
            schedule_of(config),
            self.precision,
            steps=config.steps,
            clip=config.clip,
            ema=self.state.ema,
            seed=run.seed,
            device=run.device,
            parallel=parallel,
        )
        self._versions = versions(run.plugins)
        self._saver = saver_of(parallel, self.checkpoints, self.state, self._versions, run.directory.path)
        num_scored = None if data.scored is None else data.scored.samples
        self.progress.scored_samples = num_scored
        self._validator = None
        if data.validation is not None:
            self._validator = Validator(model, data.validation, self.precision, run.device, run.seed, parallel, num_scored)
        self._baselines: ScoresByTerm | None = None
        self._continues = False
        self._adopt: Callable[[], None] | None = None
        self._failure: Exception | None = None

    @property
    def progress(self) -> Counters:
        """Counters of the run."""
        return self.state.progress

    @property
    def is_over(self) -> bool:
        """Whether the run has no steps left."""
        return self.progress.is_over(self.config.steps, self.config.patience)

    def restore(
        self, checkpoint: Path | None = None, *, adopt: Callable[[], None] | None = None, renews_optimizer: bool = False
    ) -> Path | None:
        """Prepare :meth:`fit` to continue from a checkpoint, by default the newest intact one.

        Return the checkpoint, or None if the run has none yet and starts anew.

        Args:
            checkpoint: of this run.
            adopt: called by rank 0 after the first new step; until then the run's folder stays unchanged.
            renews_optimizer: whether to take optimizer options such as learning rate and weight decay from this configuration
                instead of the checkpoint.

        Raises:
            Damaged: the given checkpoint is damaged.
            RunStopped: all checkpoints of the run are damaged.
            UserError: the checkpoint belongs to another model.
        """
        path = self.ranks.first(lambda: checkpoint or self.checkpoints.newest())
        self._continues, self._adopt = True, adopt
        if path is None:
            return None
        written_by = self.ranks.first(lambda: verify(path).versions)
        changed = {name for name in self._versions if written_by.get(name) != self._versions[name]}
        if changed:
            names = ", ".join(f"{name} {written_by.get(name)} -> {self._versions[name]}" for name in sorted(changed))
            logger.warning("versions changed since the checkpoint, losses may differ in the last digits: %s", names)
        self.state.restore(path, renews_optimizer=renews_optimizer)
        if self.data.scored is not None:
            self._rescore(self.data.scored)
        return path

    def _rescore(self, scored: Scored) -> None:
        """Reset the best validation if the scored samples changed."""
        before, self.progress.scored_samples = self.progress.scored_samples or scored.held_out, scored.samples
        if before != scored.samples:
            self.progress.forget_best()
            logger.warning(
                "validations now score %s instead of %d samples: their losses are not compared with earlier ones",
                scored,
                before,
            )

    def fit(self, deadline: Deadline | None = None) -> dict[str, Any]:
        """Train to the last step and return the contents of ``summary.json``.

        Args:
            deadline: time limit of this attempt; None for no limit.

        Raises:
            UserError: the directory contains a run not restored, or another process trains there.
            RunStopped: the data, non-finite numbers or the disk end the run.
            Interrupted: a signal or the deadline ended it, after a checkpoint.
        """
        with ExitStack() as held, determinism(self.config.deterministic, self.runner.device), flushed_denormals():
            with self.ranks.together():
                self.directory.prepare()
                if self.ranks.is_first:
                    held.enter_context(self.directory.locked())
            info = self._info()
            journal = held.enter_context(Journal(info, Observers(info, self.run.registry)))
            self._begin(journal)
            with Signals() as signals:
                try:
                    with self.ranks.guarded(), ExitStack() as observed:
                        with self.ranks.together():
                            observed.enter_context(journal.observers)
                        self._train(journal, signals, deadline or Deadline())
                        return self.ranks.first(lambda: self._summarise("finished"))
                except Interrupted:
                    self._try_to_summarise("interrupted")
                    raise
                except RunStopped as reason:
                    logger.error("%s", reason)
                    self._try_to_summarise("stopped")
                    raise

    def _info(self) -> RunInfo:
        state, ranks = self.state, self.ranks
        device, show = self.runner.device, self.run.show and ranks.is_first
        return RunInfo(self.directory.path, self.config, state.progress, state.model, state.optimizer, device, ranks.rank, show)

    def _begin(self, journal: Journal) -> None:
        """Increment the attempt. The folder of a restored run stays unchanged until the first step."""
        place = (self.directory, self.checkpoints, journal.metrics, self.progress)
        self._folder: Folder = Folder(*place, self.ranks, continues=self._continues, adopt=self._adopt)
        self._continues, self._adopt = True, None

    def _train(self, journal: Journal, signals: Signals, deadline: Deadline) -> None:
        progress = self.progress
        logger.info("attempt %d starts at step %d of %d", progress.attempt, progress.step, self.config.steps)
        guard = BadSampleGuard(progress.bad_samples, self.data.max_bad, self.data.num_samples)
        if self._validator is not None and progress.step == 0:
            with memory.explained((), self.config, self.directory.path, "the measurement of learned vectors"):
                collapse.remember(progress, self._validator.at_start())
        stop: Interrupted | None = None
        with closing(self.data.steps(progress.cursor, progress.step)) as loaded_steps:
            while not self.is_over and (stop := self._asked_to_stop(signals, deadline)) is None:
                with deadline.timed("step"):
                    self._take_step(loaded_steps, guard, journal)
                is_best = False
                if self._is_due(self.config.validate_every):
                    with deadline.timed("validation"):
                        is_best = self._validate(journal)
                self._tell_of_checkpoints(journal)
                if is_best or self.is_over or self._is_due(self.config.checkpoint_every):
                    with deadline.timed("checkpoint"):
                        self._save(journal, is_best=is_best)
        if progress.ends_early(self.config.patience):
            count, best = progress.validations_without_gain, progress.best_step
            logger.info(
                "early stopping at step %d: %d validations in a row without a lower loss than at step %s",
                progress.step,
                count,
                best,
            )
        if stop is not None:
            logger.warning("%s: stopping after a checkpoint at step %d", stop, progress.step)
            self._save(journal)
        self._folder.settle()  # if no steps were left
        self._tell_of_checkpoints(journal, is_waiting=True)
        self.ranks.agree(self._failure)
        if stop is not None:
            raise stop if self.ranks.is_first else told(stop)

    def _asked_to_stop(self, signals: Signals, deadline: Deadline) -> Interrupted | None:
        """Return the reason to stop before the next step, or None. The result is the same on all ranks."""
        validates = (self.progress.step + 1) % self.config.validate_every == 0
        (reason,) = self.ranks.largest([signals.received or (_TIME if deadline.is_near(validates=validates) else 0)])
        return None if not reason else Interrupted() if reason == _TIME else Interrupted(reason)

    def _take_step(self, loaded_steps: Iterator[LoadedStep], guard: BadSampleGuard, journal: Journal) -> None:
        begin = time.perf_counter()
        loaded: LoadedStep | None = None
        with self._postponed():
            journal.observers.before_step(self.progress.step)
        with self._postponed():
            loaded = next(loaded_steps, None)
        totals = self.runner.totals(loaded, self._failure)
        assert loaded is not None and loaded.step == self.progress.step, "the loader's steps differ from those of the run"
        self.progress.retries += totals.retries
        if totals.bad:
            with self.ranks.alike():
                guard([bad for several in self.ranks.gathered(loaded.bad) for bad in several])
        doing = f"step {loaded.step + 1}"
        explained = memory.explained(loaded.batches, self.config, self.directory.path, doing, self.data.slots_per_token)
        with explained, refusals(doing, self.directory.path):
            result = self.runner(loaded, totals)
        self._folder.settle()
        seconds = time.perf_counter() - begin
        self._count(loaded, result, seconds)
        with self._postponed(), files.writing(self.directory.metrics, self.directory.path):
            journal.step(result, seconds, len(self.progress.bad_samples))
        failures = self.progress.failures_in_row
        if failures >= min(FAILURES_IN_ROW, self.config.steps):
            with self.ranks.alike():
                numbers = (f"a {result.skipped}", f"Lower the learning rate{remedies(self.config.clip, self.precision)}")
                what, remedy = _FAILURES.get(result.skipped or "", numbers)
                kept = "the checkpoints are intact" if self.checkpoints.paths() else "there is no checkpoint yet"
                kind = NothingToLearn if result.skipped in _FAILURES and self.progress.loss is None else RunStopped
                raise kind(f"{failures} steps in a row had {what}, the last one step {self.progress.step}; {kept}. {remedy}")

    @contextmanager
    def _postponed(self) -> Generator[None]:
        """Defer an error on this rank until all ranks can learn of it. A single rank raises it at once."""
        try:
            yield
        except (RunStopped, UserError, Interrupted) as reason:
            if self.ranks.world == 1:
                raise
            self._failure = self._failure or reason

    def _count(self, loaded: LoadedStep, result: StepResult, seconds: float) -> None:
        progress = self.progress
        progress.step = loaded.step + 1
        progress.cursor = loaded.after
        progress.tokens += result.tokens
        progress.samples += result.samples
        progress.seconds += seconds
        if result.skipped is None:
            progress.loss = result.loss
            progress.failures_in_row = 0
            return
        progress.skipped_steps += 1
        progress.failures_in_row += result.is_failure
        logger.warning("step %d skipped: %s", progress.step, result.skipped)

    def _is_due(self, every: int) -> bool:
        return self.progress.step % every == 0 or self.progress.step == self.config.steps

    def _validate(self, journal: Journal) -> bool:
        """Run a validation if there are held-out samples. Return whether the loss is the smallest so far."""
        if self._validator is None:
            return False
        progress, ema = self.progress, self.state.ema
        begin = time.perf_counter()
        doing = f"the validation after step {progress.step}"
        with memory.explained((), self.config, self.directory.path, doing), nullcontext() if ema is None else ema.applied():
            found = self._validator(f"after step {progress.step}")
        seconds = time.perf_counter() - begin
        progress.validation_loss = found.loss
        collapse.watch(progress, found.learned)
        progress.validation_scores = {term: dict(scores) for term, scores in found.scores.items()}
        with self._postponed(), files.writing(self.directory.metrics, self.directory.path):
            journal.validation(found, self._compared(found), seconds)
        of = "" if self.data.scored is None else f" on {self.data.scored}"
        logger.info("step %d: validation loss %.6g%s", progress.step, found.loss, of)
        return progress.monitor(found.loss)

    def _compared(self, found: Validation) -> ScoresByTerm:
        """Return the baselines for the scores of a validation."""
        if self._baselines is None and found.scores and self.data.baselines is not None and self.ranks.is_first:
            self._baselines = self.data.baselines()
        return self._baselines or {}

    def _save(self, journal: Journal, *, is_best: bool = False) -> None:
        """Publish a checkpoint of the current step, or start to, then remove old ones."""
        self._folder.settle()
        self._tell_of_checkpoints(journal, is_waiting=True)
        self.ranks.agree(self._failure)
        self._saver.save(journal.metrics.sync, is_best=is_best)
        self._tell_of_checkpoints(journal)

    def _tell_of_checkpoints(self, journal: Journal, *, is_waiting: bool = False) -> None:
        with self._postponed():
            for saved in self._saver.finished(is_waiting=is_waiting):
                logger.info("checkpoint %s%s", saved.path, " (best)" if saved.is_best else "")
                journal.observers.checkpoint_saved(saved.path, saved.is_best)

    def _summarise(self, status: str) -> dict[str, Any]:
        summary = summarise(self.state, self.config, status, self.checkpoints, self._baselines or {})
        summary["bad_validation_samples"] = sorted(self.data.left_out)
        with files.writing(self.directory.summary, self.directory.path):
            files.replace_json(self.directory.summary, summary)
        return summary

    def _try_to_summarise(self, status: str) -> None:
        try:
            if self.ranks.is_first and self._folder.is_settled:
                self._summarise(status)
        except RunStopped as reason:
            logger.warning("no summary: %s", reason)
