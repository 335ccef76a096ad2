"""Training: a short loop over cached features or live texts, with the best model on dev kept and exact resumption.

Everything random is derived from the seed and the position: the order of an epoch from (seed, epoch), negatives and
dropout from (seed, step). So a run that is killed and started again goes on with the same numbers, bit for bit on a
CPU with the same number of threads.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dualway import storage
from dualway.config import Preset, TrainConfig, from_dict, to_dict
from dualway.errors import DataError, ModelError, UsageError
from dualway.features.arrays import Features, Ragged
from dualway.features.batching import Batch, make_batch
from dualway.features.texts import Texts
from dualway.metrics import count_ranks, hits_at_k
from dualway.model import checkpoint
from dualway.model.checkpoint import Dims, load_model
from dualway.model.dwe_plus import DwePlus, MentionOutput
from dualway.model.live import LiveSource, TrainingTexts
from dualway.model.losses import (
    DweLoss,
    LossParts,
    Pairs,
    Targets,
    coarse_pairs,
    find_conflicts,
    fine_pairs,
    plan_pairs,
    unit,
)
from dualway.model.negatives import draw_negatives, similar_entities
from dualway.model.scoring import Scorer
from dualway.schema import CandidateLists, IntArray

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["BatchSource", "CachedSource", "DevSet", "Progress", "TrainResult", "load_model", "train"]

_ORDER, _NEGATIVES, _DROPOUT = 0, 1, 2  # streams of chance
_REPORT_EVERY_S = 0.5


class DevSet(NamedTuple):
    """Mentions to choose the best checkpoint on.

    gold_rows: int64 [n], -1 where gold is NIL or not in the knowledge base: left out of dev T@1.
    candidates: Searched for the mentions; gold is never put in.
    """

    features: Features
    gold_rows: IntArray
    candidates: CandidateLists


class Progress(NamedTuple):
    """Where a run stands; `dev_t1` is that of the last evaluation, None before the first."""

    step: int
    total_steps: int
    epoch: int
    loss: float
    dev_t1: float | None
    best_t1: float | None
    mentions_per_s: float


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
        best_t1: Best T@1 on dev, 0 to 1, protocol top100; None without dev mentions.
        best_step: The step it was reached at, that of the saved model.
        steps: Steps made.
        seconds: Wall-clock seconds of training and evaluation, over all resumptions.
        mentions_per_s: Mentions trained on a second, evaluation left out, since the last start.
        mentions: Mentions trained on.
        skipped: Mentions left out, their gold being NIL or not in the knowledge base.
        notes: What gave way because of the data, in words.
        history: One record an evaluation: step, epoch, mean losses since the last, dev T@1.
    """

    best_t1: float | None
    best_step: int
    steps: int
    seconds: float
    mentions_per_s: float
    mentions: int
    skipped: int
    notes: tuple[str, ...]
    history: tuple[dict[str, Any], ...]


class BatchSource(Protocol):
    """Where the loop gets its tensors from: cached features, or live texts (`model.live`) with gradients."""

    def batch(self, index: IntArray) -> Batch:
        """Return the batch of the chosen mentions (int64 [b])."""
        ...

    def entities(self, rows: IntArray) -> Tensor:
        """Return the vectors of the chosen entities (int64 [u]), [u, text_dim]."""
        ...


class CachedSource:
    """The source of frozen encoders: features computed before training."""

    def __init__(self, features: Features) -> None:
        self.features = features

    def batch(self, index: IntArray) -> Batch:
        """Return the batch of the chosen mentions (int64 [b])."""
        return make_batch(self.features, index)

    def entities(self, rows: IntArray) -> Tensor:
        """Return the vectors of the chosen entities (int64 [u]), [u, text_dim]."""
        return torch.from_numpy(self.features.entities[rows])


def train(
    preset: Preset,
    features: Features,
    *,
    gold_rows: IntArray,
    candidates: CandidateLists,
    dev: DevSet | None,
    out: Path,
    seed: int,
    resume: bool = True,
    texts: TrainingTexts | None = None,
    mention_ids: Sequence[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    tensorboard: bool = False,
) -> TrainResult:
    """Train one model and leave the best one on dev in `out` (the last one without dev).

    Args:
        preset: All settings; `encoders` and `features` are recorded, the others used.
        features: The training mentions and the entities, n mentions.
        gold_rows: int64 [n], row of each gold entity; -1 (NIL, or not in the knowledge base) is left out and counted.
        candidates: Of the training mentions, for hard negatives; keyed by mention, never by gold.
        dev: Mentions for choosing; None, or none with gold in the knowledge base: the last model is kept.
        out: The run's folder; may exist.
        seed: Of initial weights, order, negatives and dropout.
        resume: Go on where a killed run of the same settings and data stopped; a finished one is returned as it is.
            False: start over.
        texts: What the features' texts were made of, for `encoders.trainable`; else not used.
        mention_ids: Ids of the training mentions, for messages.
        progress: Called twice a second at most, and after each evaluation.
        tensorboard: Also write events to `out/tensorboard`.

    Raises:
        UsageError: `out` holds a run of other settings or data; a setting that this machine cannot do; no texts for
            an encoder that is to be trained.
        DataError: Nothing to train on; arrays that do not fit each other.
        ModelError: Settings that make no model; a loss that is not finite, naming step and mentions.
        StorageError: `out` cannot be written.
    """
    _check_inputs(features, gold_rows, candidates)
    texts = _check_texts(preset, features, dev, texts)
    dims = Dims(features.text_dim, features.image_dim)
    data = _fingerprint(features, gold_rows, candidates, dev, texts)
    description = checkpoint.describe_run(preset, dims, seed, data)
    if not resume:
        _clear(out)
    finished = _read_finished(out, description)
    if finished is not None:
        return finished
    storage.write_json(out / checkpoint.CONFIG, description)
    names = mention_ids or [str(i) for i in range(len(features))]
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it was
        trainer = _Trainer(preset, features, gold_rows, candidates, dev, out, seed, names, texts)
        writer = _writer(out) if tensorboard else None
        try:
            return trainer.run(progress, writer)
        finally:
            if writer is not None:
                writer.close()


@dataclass
class _State:
    """What a run must remember beside its tensors."""

    step: int = 0
    best_t1: float | None = None
    best_step: int = 0
    stale: int = 0  # evaluations since the best
    seconds: float = 0.0


class _Trainer:
    """The tensors of a run and what is done to them."""

    def __init__(
        self,
        preset: Preset,
        features: Features,
        gold: IntArray,
        candidates: CandidateLists,
        dev: DevSet | None,
        out: Path,
        seed: int,
        names: Sequence[str],
        texts: TrainingTexts | None,
    ) -> None:
        self.preset, self.config, self.out, self.seed, self.names = preset, preset.train, out, seed, names
        self.gold = gold
        self.usable = np.flatnonzero(gold >= 0)  # mentions that can be learnt from
        self.lists = candidates.rows
        if preset.negatives.hard_source == "similar_text" and preset.negatives.num_hard:
            self.lists = np.full((len(gold), max(len(features.entities) - 1, 1)), -1)[:, :100]
            self.lists[self.usable] = similar_entities(features.entities, gold[self.usable])
        self.dev = None if dev is None else _compact(dev, None if texts is None else texts.dev)
        self.accelerator = _make_accelerator(self.config)
        torch.manual_seed(_derive(seed, _DROPOUT))
        plan = plan_pairs(preset.model, features)
        self.notes = plan.notes
        device = self.accelerator.device
        self.model = DwePlus(preset.model, features.text_dim, features.image_dim).to(device)
        self.loss = DweLoss(preset.model, plan).to(device)
        self.live = None if texts is None else LiveSource(texts, features).to(device)
        self.source: BatchSource = CachedSource(features) if self.live is None else self.live
        self.parts: dict[str, nn.Module] = {"model": self.model, "loss": self.loss}  # what the resume state holds
        if self.live is not None:
            self.parts["encoder"] = self.live.module
        self.optimizer = self._make_optimizer()
        self.stepper = self.accelerator.prepare_optimizer(self.optimizer)
        self.state = _State()
        self.sums = np.zeros(len(LossParts._fields) + 1)  # losses since the last evaluation, and their number
        self.history: list[dict[str, Any]] = []
        self._set_mode(training=True)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        """Return AdamW; each group's "initial_lr" is its learning rate before warm-up and decay."""
        groups: list[dict[str, Any]] = [
            {"params": [*self.model.parameters(), *self.loss.parameters()], "initial_lr": self.config.learning_rate}
        ]
        if self.live is not None:
            rate = self.config.encoder_learning_rate
            groups.append({"params": list(self.live.parameters()), "initial_lr": rate})
        return torch.optim.AdamW(groups, weight_decay=self.config.weight_decay, fused=True)

    def _set_mode(self, *, training: bool) -> None:
        self.model.train(training)
        if self.live is not None:
            self.live.train(training)

    # ---- the loop

    def run(self, progress: Callable[[Progress], None] | None, writer: Any) -> TrainResult:
        """Train to the end, or until dev stops improving."""
        self._restore()
        per_epoch = math.ceil(len(self.usable) / self.config.batch_size)
        total = per_epoch * self.config.epochs
        clock = _Clock(self.state.seconds)
        order, epoch = self.usable, -1
        while self.state.step < total and not self._stopped():
            step = self.state.step
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                order = np.random.default_rng(_derive(self.seed, _ORDER, epoch)).permutation(self.usable)
            start = step % per_epoch * self.config.batch_size
            index = order[start : start + self.config.batch_size]
            loss = self._step(index, _schedule(self.config, step, total))
            clock.count(len(index))
            self.state.step += 1
            last = self.state.step == total
            evaluated = last or self.state.step % self.config.evaluate_every == 0
            if evaluated:
                with clock.paused():
                    self._evaluate(epoch, writer)
            if not last and self.state.step % self.config.checkpoint_every == 0:
                self._save(clock.seconds())
            if progress is not None and (evaluated or clock.due()):
                progress(self._progress(total, epoch, loss, clock.rate()))
        return self._finish(clock)

    def _step(self, index: IntArray, factor: float) -> float:
        """Learn from the mentions of one batch, at `factor` times the learning rates; return the loss."""
        device = self.accelerator.device
        torch.manual_seed(_derive(self.seed, _DROPOUT, self.state.step + 1))
        with self.accelerator.autocast():
            batch = self.source.batch(index).to(device)
            rows, targets = self._targets(index, batch)
            output, entities = self.model(batch, self.source.entities(rows).to(device))
        parts: LossParts = self.loss(output, entities, targets)
        values = torch.stack(parts).detach().double().cpu().numpy()
        if not np.isfinite(values[0]):
            self._fail(output, index)
        self.accelerator.backward(parts.total)
        if self.config.clip_norm is not None:
            encoder = [] if self.live is None else self.live.parameters()
            self.accelerator.clip_grad_norm_([*self.model.parameters(), *encoder], self.config.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self.stepper.step()
        self.stepper.zero_grad(set_to_none=True)
        self.sums += np.append(values, 1)
        return float(values[0])

    def _targets(self, index: IntArray, batch: Batch) -> tuple[IntArray, Targets]:
        """Return the rows of the entities that the batch needs, int64 [u], and what to learn of them."""
        gold = self.gold[index]
        rng = np.random.default_rng(_derive(self.seed, _NEGATIVES, self.state.step))
        negatives = draw_negatives(self.preset.negatives, self.lists[index], gold, rng)
        wanted = np.column_stack([gold, np.where(negatives.mask, negatives.rows, gold[:, None])])  # [b, 1 + k]
        rows, places = np.unique(wanted, return_inverse=True)
        places = torch.from_numpy(places.reshape(wanted.shape)).to(batch.picture.device)
        conflict = find_conflicts(torch.from_numpy(gold).to(places.device), batch.picture)
        mask = torch.from_numpy(negatives.mask).to(places.device)
        return rows, Targets(places[:, 0], places[:, 1:], mask, conflict)

    def _fail(self, output: MentionOutput, index: IntArray) -> None:
        finite = output.g.isfinite().all(dim=1).cpu().numpy()
        guilty = index[~finite] if not finite.all() else index
        names = ", ".join(repr(self.names[i]) for i in guilty[:5].tolist()) + (" .." if len(guilty) > 5 else "")
        raise ModelError(
            f"the loss is not finite at step {self.state.step}, mentions {names}; "
            "check their features, lower train.learning_rate or set train.clip_norm"
        )

    def _stopped(self) -> bool:
        return self.config.patience is not None and self.state.stale >= self.config.patience

    # ---- evaluation

    def _evaluate(self, epoch: int, writer: Any) -> None:
        """Measure dev T@1, keep the best model, write a line of history."""
        t1 = self._dev_t1()
        better = t1 is None or self.state.best_t1 is None or t1 > self.state.best_t1
        self.state.stale = 0 if better else self.state.stale + 1
        if better:
            self.state.best_t1, self.state.best_step = t1, self.state.step
            self._write_best()
        means = self.sums[:-1] / max(self.sums[-1], 1.0)
        losses = dict(zip(LossParts._fields, means.tolist(), strict=True))
        self.history.append({"step": self.state.step, "epoch": epoch, **losses, "dev_t1": t1})
        self.sums[:] = 0.0
        self._write_history()
        if writer is not None:
            for name, value in {**losses, "dev_t1": t1}.items():
                if value is not None:
                    writer.add_scalar(name, value, self.state.step)

    def _dev_t1(self) -> float | None:
        if self.dev is None:
            return None
        dev, texts = self.dev
        if self.live is not None and texts is not None:
            dev = dev._replace(features=self.live.encode(dev.features, texts))
        return dev_t1(self.model, dev)

    def _write_best(self) -> None:
        """Write the weights as they are; the model's come last, so that the encoder's are there when they are."""
        if self.live is not None:
            self.live.write(self.out, self.state.step)
        checkpoint.write_tensors(self.out / checkpoint.MODEL, self.model.state_dict(), {"step": self.state.step})

    def _write_history(self) -> None:
        storage.write_text(self.out / checkpoint.HISTORY, "".join(json.dumps(line) + "\n" for line in self.history))

    def _progress(self, total: int, epoch: int, loss: float, rate: float) -> Progress:
        last = self.history[-1]["dev_t1"] if self.history else None
        return Progress(self.state.step, total, epoch, loss, last, self.state.best_t1, rate)

    def _finish(self, clock: _Clock) -> TrainResult:
        if not (self.out / checkpoint.MODEL).exists():  # train.epochs = 0
            self._write_best()
        result = TrainResult(
            best_t1=self.state.best_t1,
            best_step=self.state.best_step,
            steps=self.state.step,
            seconds=clock.seconds(),
            mentions_per_s=clock.rate(),
            mentions=len(self.usable),
            skipped=len(self.gold) - len(self.usable),
            notes=self.notes,
            history=tuple(self.history),
        )
        storage.write_json(self.out / checkpoint.RESULT, asdict(result))
        (self.out / checkpoint.STATE).unlink(missing_ok=True)
        return result

    # ---- resuming

    def _save(self, seconds: float) -> None:
        """Write all that the next step depends on, in one file."""
        self.state.seconds = seconds
        tensors = {f"{part}.{k}": v for part, module in self.parts.items() for k, v in module.state_dict().items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{k}": v for k, v in values.items()}
        meta = {"state": asdict(self.state), "sums": self.sums.tolist(), "history": self.history}
        checkpoint.write_tensors(self.out / checkpoint.STATE, tensors, meta)

    def _restore(self) -> None:
        """Go on from the last saved state; without one, begin."""
        path = self.out / checkpoint.STATE
        if not path.exists():
            self._set_centres()
            return
        tensors, meta = checkpoint.read_tensors(path)
        parts: dict[str, dict[str, Tensor]] = {"optimizer": {}, **{part: {} for part in self.parts}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        for part, module in self.parts.items():
            checkpoint.load_tensors(module, parts[part], path)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            number, _, key = name.partition(".")
            moments.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        try:
            self.state, self.history = _State(**meta["state"]), list(meta["history"])
            self.sums = np.array(meta["sums"], dtype=np.float64)
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path}: broken state ({error}); remove it or start over (--restart)") from error
        self._write_history()

    @torch.no_grad()
    def _set_centres(self) -> None:
        """Set the centres of the mean-shifted loss: means of the normalised features of the untrained model."""
        if not self.loss.needs_centres:
            return
        plan = self.loss.plan
        self._set_mode(training=False)
        sums = {"centre_fine": [0.0, 0], "centre_coarse": [0.0, 0]}
        for start in range(0, len(self.usable), 256):
            batch = self.source.batch(self.usable[start : start + 256]).to(self.accelerator.device)
            output = self.model.encode_mentions(batch)
            _add(sums["centre_fine"], None if plan.fine is None else fine_pairs(output, plan.fine))
            _add(sums["centre_coarse"], None if plan.coarse is None else coarse_pairs(output, plan.coarse))
        for name, (total, number) in sums.items():
            if number:
                getattr(self.loss, name).copy_(total / number)
        self._set_mode(training=True)


class _Clock:
    """Seconds of a run, and its mentions a second with evaluation left out."""

    def __init__(self, before: float) -> None:
        self.before, self.start = before, time.perf_counter()
        self.idle, self.mentions, self.reported = 0.0, 0, self.start

    def count(self, mentions: int) -> None:
        self.mentions += mentions

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.start

    def rate(self) -> float:
        return self.mentions / max(time.perf_counter() - self.start - self.idle, 1e-9)

    def due(self) -> bool:
        """Return True once every `_REPORT_EVERY_S`."""
        now = time.perf_counter()
        if now - self.reported < _REPORT_EVERY_S:
            return False
        self.reported = now
        return True

    def paused(self) -> _Pause:
        return _Pause(self)


class _Pause:
    def __init__(self, clock: _Clock) -> None:
        self.clock, self.start = clock, 0.0

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.clock.idle += time.perf_counter() - self.start


def dev_t1(model: DwePlus, dev: DevSet) -> float:
    """Return T@1 under protocol top100: gold is never put in, ties are averaged; mentions without gold are left out."""
    scores = Scorer(model, dev.features.entities).score(dev.features, dev.candidates)
    hit = dev.candidates.rows == dev.gold_rows[:, None]
    place = np.where(hit.any(axis=1), hit.argmax(axis=1), -1)
    counts = count_ranks(scores, place, [str(i) for i in range(len(scores))])
    return float(hits_at_k(counts, 1).mean())


def _compact(dev: DevSet, texts: Texts | None) -> tuple[DevSet, Texts | None] | None:
    """Keep the mentions with gold and the entities that are candidates: the others cannot change T@1."""
    index = np.flatnonzero(dev.gold_rows >= 0)
    if not len(index):
        return None
    gold, lists = dev.gold_rows[index], dev.candidates.take(index)
    rows = np.unique(np.append(lists.rows[lists.rows >= 0], gold))
    features = dev.features.take(index)
    small = replace(features, entities=features.entities[rows])
    renamed = np.where(lists.rows >= 0, np.searchsorted(rows, np.maximum(lists.rows, 0)), -1)
    compact = DevSet(small, np.searchsorted(rows, gold), CandidateLists(renamed, lists.scores))
    return compact, None if texts is None else texts.take(index, rows)


def _add(sums: list[Any], pairs: Pairs | None) -> None:
    if pairs is not None:
        views = unit(torch.cat([pairs.first, pairs.second]))
        sums[0], sums[1] = sums[0] + views.sum(dim=0), sums[1] + len(views)


def _derive(*numbers: int) -> int:
    """Return a 63-bit seed for a place in the run."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _schedule(config: TrainConfig, step: int, total: int) -> float:
    """Return the share of the learning rates that a step has: linear warm-up, then constant or linear to 0."""
    if config.linear_decay and step >= config.warmup_steps:
        return (total - step) / max(total - config.warmup_steps, 1)
    return min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0


def _make_accelerator(config: TrainConfig) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # pyright: ignore[reportPrivateUsage] - else a second run keeps the first's precision
    try:
        accelerator = Accelerator(mixed_precision=config.precision)
    except ValueError as error:
        raise UsageError(f"train.precision={config.precision} cannot be used here: {error}") from error
    if accelerator.num_processes > 1:
        raise UsageError("training runs in one process; start it without `accelerate launch`")
    return accelerator


def _writer(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("tensorboard is not installed: pip install 'dualway[tensorboard]'") from error
    return SummaryWriter(str(out / "tensorboard"))


def _check_inputs(features: Features, gold: IntArray, candidates: CandidateLists) -> None:
    if not len(features) == len(gold) == len(candidates.rows):
        lengths = f"{len(features)}, {len(gold)} and {len(candidates.rows)}"
        raise DataError(f"features, gold and candidates are of {lengths} mentions; they must be of the same")
    if not (gold >= 0).any():
        raise DataError("no training mention has its gold entity in the knowledge base; check data and KB")
    if max(gold.max(), candidates.rows.max(initial=-1)) >= len(features.entities):
        raise DataError(f"gold or candidates point behind the {len(features.entities)} entities; rebuild them")


def _check_texts(
    preset: Preset, features: Features, dev: DevSet | None, texts: TrainingTexts | None
) -> TrainingTexts | None:
    """Return the texts when the encoder is to be trained."""
    if not preset.encoders.trainable:
        return None
    if texts is None:
        raise UsageError(
            "encoders.trainable=true needs the texts themselves: pass texts=TrainingTexts(..), or set it to false"
        )
    texts.check(features, None if dev is None else dev.features)
    return texts


def _fingerprint(
    features: Features,
    gold: IntArray,
    candidates: CandidateLists,
    dev: DevSet | None,
    texts: TrainingTexts | None,
) -> str:
    arrays: list[Any] = [gold, candidates.rows, *_arrays(features)]
    if dev is not None:
        arrays += [dev.gold_rows, dev.candidates.rows, *_arrays(dev.features)]
    of_arrays = checkpoint.fingerprint_arrays(arrays)
    return of_arrays if texts is None else f"{of_arrays}-{texts.fingerprint()}"


def _arrays(features: Features) -> list[Any]:
    arrays: list[Any] = []
    for field in fields(features):
        value = getattr(features, field.name)
        arrays += list(value) if isinstance(value, Ragged) else [value]
    return arrays


def _clear(out: Path) -> None:
    files = (checkpoint.RESULT, checkpoint.STATE, checkpoint.HISTORY, checkpoint.MODEL, checkpoint.ENCODER)
    for name in (*files, checkpoint.CONFIG):
        (out / name).unlink(missing_ok=True)


def _read_finished(out: Path, description: dict[str, Any]) -> TrainResult | None:
    """Return the result of a finished run of this description; None when there is none yet."""
    if not (out / checkpoint.CONFIG).exists():
        return None
    found = storage.read_json(out / checkpoint.CONFIG)
    with contextlib.suppress(KeyError, TypeError, UsageError):  # settings added since then have their defaults
        found = {**found, "preset": to_dict(from_dict(Preset, found["preset"]))}
    if found != description:
        raise UsageError(
            f"{out}: holds a run of other settings, seed or data ({_difference(found, description)}); "
            "choose another --out or start over (--restart)"
        )
    needed = [checkpoint.RESULT, checkpoint.MODEL]
    if description["preset"]["encoders"]["trainable"]:
        needed.append(checkpoint.ENCODER)
    if not all((out / name).exists() for name in needed):
        return None
    path = out / checkpoint.RESULT
    try:
        values = storage.read_json(path)
        values["notes"], values["history"] = tuple(values["notes"]), tuple(values["history"])
        return TrainResult(**values)
    except (DataError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: damaged ({error}); start over (--restart)") from error


def _difference(found: Any, wanted: Any, where: str = "") -> str:
    """Return where two JSON values first differ, in words."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in {**found, **wanted}:
            if found.get(key) != wanted.get(key):
                return _difference(found.get(key), wanted.get(key), f"{where}.{key}".lstrip("."))
    return f"{where}: {found!r} there, {wanted!r} now"
