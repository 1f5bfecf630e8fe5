"""Training, read top to bottom: seed, build, steps, validation, checkpoint, rows.

After each epoch the state of the run and the model are written, each file as a whole; within long epochs the state
alone, every few minutes and when the run is asked to stop. All randomness comes from the seed, and where it has come
to is part of the state, so a run that was interrupted and resumed equals one that was not: on the CPU, with the same
number of threads, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from paretovit.devices import check_device, origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement
from paretovit.spec import ModelSpec
from paretovit.training.batches import batches, seed_of, steps_per_epoch
from paretovit.training.data import Examples, Splits
from paretovit.training.energy import Energy, Meter
from paretovit.training.folder import emptied, exclusive, keep
from paretovit.training.health import Health, peak_bytes, watch_memory
from paretovit.training.interrupt import asked_to_stop
from paretovit.training.linear_maps import fast_linear_maps
from paretovit.training.objective import Objective, Step
from paretovit.training.optimizer import make_optimizer, redraw, with_dropout
from paretovit.training.progress import Tick, Watch, silent
from paretovit.training.recipe import DEMO, Recipe, lr_at
from paretovit.training.rows import Epoch, training_rows, while_training
from paretovit.training.run import STATE, Run, how_trained, identity_of, looks, weights_of
from paretovit.training.shards import whole
from paretovit.training.splits import split
from paretovit.training.task import Recognition, Task
from paretovit.training.team import Team
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import WEIGHTS

__all__ = ["STATE", "Begin", "Execution", "Steps", "TrainResult", "how_trained", "make_optimizer", "train"]

Phase = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True, kw_only=True)
class Begin:
    """What a training begins from, if not from new weights.

    name      in words, for rows and for the check that a folder holds the same training: "from NAME"
    prepare   changes the new module in place before the optimizer is made: loads weights, freezes, masks. It is called
              again when a run is resumed, before the weights that it had come to are put back
    """

    name: str
    prepare: Callable[[nn.Module], None]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What changes how fast and how safely a training runs, and not what comes out.

    workers         processes that prepare images; 0 to prepare them in this one
    compile         True for torch.compile
    checkpointing   True to work activations out again in the backward pass: less memory, more time
    keep            epochs whose models are kept in folders of their own, the last ones
    save_every_s    seconds after which the state is written within an epoch
    trackers        accelerate's names, such as "tensorboard", "wandb", "mlflow"
    fsdp            True to share the model itself out over the processes of `torchrun`, as `shards.py` does; else each
                    has all of it
    energy          what tells how much energy the run takes; None for no row of it
    """

    workers: int = 0
    compile: bool = False
    checkpointing: bool = False
    keep: int = 0
    save_every_s: float = 300.0
    trackers: tuple[Any, ...] = ()
    fsdp: bool = False
    energy: Energy | None = None

    def __post_init__(self) -> None:
        if self.workers < 0 or self.keep < 0 or self.save_every_s <= 0:
            raise UserError("workers and keep must be 0 or more, and save_every_s above 0")
        if self.fsdp and self.compile:
            raise UserError("a model that is shared out (--fsdp) is not compiled; leave out one of the two")


@dataclass(frozen=True)
class TrainResult:
    """The rows of a finished training, the folder of its checkpoint, and the trained module in evaluation mode. Of
    several processes one `is_first`: the one to tell of it."""

    rows: list[Measurement]
    checkpoint: Path
    module: nn.Module
    is_first: bool = True


def train(
    spec: ModelSpec,
    data: Splits,
    recipe: Recipe = DEMO,
    *,
    out: str | Path,
    resume: bool = True,
    device: str = "cpu",
    begin: Begin | None = None,
    task: Task[Any, Any] | None = None,
    objective: Objective | None = None,
    after_step: Callable[[nn.Module], None] | None = None,
    execution: Execution | None = None,
    progress: Watch = silent,
) -> TrainResult:
    """Train a model of `spec` and keep it in the folder `out`; go on from there if a training of it was interrupted.

    A training that was finished is not run again: its rows come back. With `resume=False` what is in `out` is
    replaced. `begin` gives the model its first weights; `task` says what is learnt and judged, if not to recognise
    classes; `objective` takes the place of its loss; `after_step` is called with the module after each step of the
    optimizer, before averaging. What these two do is to be told by the recipe's name or by `begin`, for rows name
    nothing else. `progress` is called after each step.

    Raises `UserError` for a model and data that do not go together, for a folder that holds another training or in
    which another run is under way, for a loss that is not finite or grows, and for a disk that refuses;
    `KeyboardInterrupt`, with a message that says how to go on, for Ctrl-C and SIGTERM. In each case what was last
    written is whole.
    """
    out, execution = Path(out), execution or Execution()
    learnt: Task[Any, Any] = task or Recognition()
    check_device(device)
    learnt.check(spec, data.train, recipe)
    learnt.check(spec, data.val, recipe)
    images, held = split(data.train, recipe)
    watched = data.val if held is None else held

    if execution.fsdp and (after_step is not None or objective is not None or recipe.amp_dtype == "float16"):
        raise UserError("what is shared out (fsdp) is trained by its recipe alone, in float32 or bfloat16")
    team = Team(device, trackers=execution.trackers, folder=out, fsdp=execution.fsdp)
    energy = execution.energy
    if energy is not None and team.size > 1:
        energy = Energy(meter=None, why="several processes trained it, whose meters may count the same twice")
    with exclusive(out) if team.is_first else nullcontext(), asked_to_stop() as asked:
        run = _begun(spec, data, recipe, begin, learnt, team, execution)
        objective = objective or learnt.objective(spec, recipe, team.device)
        meter = None if energy is None else energy.meter
        name = "" if energy is None else energy.name
        loop = _Loop(run, recipe, images, objective, after_step, execution, team, out, asked, progress, meter, name)
        if resume and (out / STATE).exists():
            run.restore(out / STATE, team, _DEFAULTS)
            weights = weights_of(run.kept)
            if run.epochs and team.is_first:
                keep(out, spec, weights, run.epochs, last=execution.keep)  # a kill may have come between the files
        elif resume and (out / WEIGHTS).exists():
            raise UserError(f"{out} holds a model but not how far its training is; give another --out")
        elif team.is_first:
            emptied(out)
        team.wait()
        team.begin(spec.name, recipe.to_json())
        try:
            while len(run.epochs) < recipe.epochs:
                epoch = loop.epoch(watched)
                if held is not None and epoch.number == recipe.epochs:
                    epoch = replace(epoch, final=learnt.judged(run.kept, data.val, team))
                run.end_epoch(epoch)
                run.save(out / STATE, team)
                weights = weights_of(run.kept)
                if team.is_first:
                    keep(out, spec, weights, run.epochs, last=execution.keep)
        except KeyboardInterrupt:
            if run.settled and run.steps:
                run.save(out / STATE, team)
            raise KeyboardInterrupt(f"stopped; {_kept(out, run, recipe, images)}") from None
        except Unmeasurable as error:
            raise UserError(f"{spec.name}: {error}; {_kept(out, run, recipe, images)}; try a smaller lr") from error
        finally:
            team.end()

    threads = torch.get_num_threads() if device == "cpu" else None
    rows = training_rows(
        spec,
        data.val,
        recipe,
        run.epochs,
        device=device,
        threads=threads,
        made=run.made,
        label=run.label,
        energy=energy,
        score_rows=learnt.rows,
        loss=learnt.loss,
    )
    trained = run.kept
    if team.fsdp:
        trained = build(spec)
        trained.load_state_dict(weights)
    return TrainResult(rows, out, trained.eval(), team.is_first)


# what files of before do not state of a run
_DEFAULTS: dict[str, Any] = {"weights it begins with": "new ones"} | {
    f"recipe field {name}": value for name, value in Recipe(name="", epochs=1, batch_size=1, lr=1).to_json().items()
}


def _begun(
    spec: ModelSpec,
    data: Splits,
    recipe: Recipe,
    begin: Begin | None,
    task: Task[Any, Any],
    team: Team,
    execution: Execution,
) -> Run:
    """A run before its first step."""
    torch.manual_seed(seed_of(recipe, "initial weights"))
    module = build(spec, drop_path=recipe.drop_path).to(team.device)
    if begin is not None:
        begin.prepare(module)
    with_dropout(module, recipe.dropout)
    if execution.checkpointing:
        if not hasattr(module, "set_grad_checkpointing"):
            raise UserError(f"{spec.name} cannot work activations out again; leave out checkpointing")
        module.set_grad_checkpointing(True)  # type: ignore[operator]  # looked for above
    if recipe.teacher and hasattr(module, "set_distilled_training"):
        module.set_distilled_training(True)  # type: ignore[operator]
    average = None if recipe.ema is None else ModelEmaV3(module, decay=recipe.ema, exclude_buffers=True)
    for part in (module,) if average is None else (module, average.module):
        team.share_out(part)
    return Run(
        identity=identity_of(spec, data, recipe, "new ones" if begin is None else begin.name),
        label=recipe.label if begin is None else f"{recipe.label}, from {begin.name}",
        seed=recipe.seed,
        task=task,
        module=module,
        optimizer=make_optimizer(module, recipe),
        scaler=torch.amp.GradScaler(team.device.type, enabled=recipe.amp_dtype == "float16"),
        average=average,
        made=origin("trained"),
        images=looks(data.val),
    )


def _untold(phase: str) -> AbstractContextManager[object]:
    """Nobody asks for phases."""
    return nullcontext()


@dataclass
class _Loop:
    """The steps of a run. `phase` is told what a step is at, for whoever asks where its time goes."""

    run: Run
    recipe: Recipe
    images: Examples
    objective: Objective
    after_step: Callable[[nn.Module], None] | None
    execution: Execution
    team: Team
    out: Path
    asked: Callable[[], bool]
    progress: Watch = silent
    meter: Meter | None = None
    metered_by: str = ""
    phase: Phase = _untold

    def __post_init__(self) -> None:
        self.spread = self.team.spread(self.run.module)
        compiled = self.execution.compile
        self.called = torch.compile(self.spread) if compiled else self.spread
        self.linear_maps = nullcontext() if compiled else fast_linear_maps(self.team.device, self.recipe.amp_dtype)
        self.health = Health(self.run.module)
        self.steps = steps_per_epoch(self.images, self.recipe)

    def epoch(self, watched: Examples) -> Epoch:
        """Train on every image once, or on those that are left of the epoch, then look at those `watched`.

        Raises `Unmeasurable` for a loss or gradient that is not finite, and `KeyboardInterrupt` if asked to stop.
        """
        run, recipe, team = self.run, self.recipe, self.team
        number, device = len(run.epochs) + 1, team.device
        run.begin_noise(seed_of(recipe, f"noise in epoch {number}" + (f", process {team.rank}" if team.rank else "")))
        before = run.epochs[-1].score if run.epochs and watched.real else None
        run.module.train()
        watch_memory(device)
        share, workers = (team.rank, team.size), self.execution.workers
        seconds_before, joules_before = run.seconds, run.joules
        run.meter = self.metered_by if not run.steps or run.meter == self.metered_by else ""
        joules = 0.0 if self.meter is None else self.meter.joules()
        begin = saved = time.perf_counter()
        for pixels, targets in batches(
            self.images, recipe, number, device, start=run.steps, share=share, workers=workers
        ):
            step = (number - 1) * self.steps + run.steps
            loss = self.step(pixels, targets, step)
            now = time.perf_counter()
            run.steps, run.seen = run.steps + 1, run.seen + len(targets) * team.size
            run.loss, run.seconds, run.settled = run.loss + loss, seconds_before + now - begin, True
            if self.meter is not None:
                run.joules = joules_before + self.meter.joules() - joules
            stop, due = team.total(self.asked(), team.is_first and now - saved > self.execution.save_every_s)
            if stop:  # before anyone is told of the step, who may want the training to rest and not hear of the signal
                raise KeyboardInterrupt
            self.progress(
                Tick(
                    epoch=number,
                    epochs=recipe.epochs,
                    done=step + 1,
                    total=recipe.epochs * self.steps,
                    loss=loss,
                    images_per_s=run.seen / run.seconds,
                    score=None if before is None else before.quality,
                    quality=run.task.quality,
                )
            )
            if due and run.steps < self.steps:
                run.save(self.out / STATE, team)
                saved = now
        peak = peak_bytes(device)
        result = run.task.judged(run.kept, watched, team)
        loss = run.loss / self.steps
        team.tell({"loss": loss, run.task.quality: result.quality}, number * self.steps)
        return Epoch(
            number=number,
            loss=loss,
            seconds=run.seconds,
            images=run.seen,
            score=result,
            peak_bytes=peak,
            joules=run.joules if run.meter else None,
            meter=run.meter,
        )

    def step(self, pixels: Tensor, targets: Tensor, step: int) -> float:
        """One step of the optimizer on a batch, in as many parts as the recipe says; the mean loss, of all
        processes."""
        run, recipe = self.run, self.recipe
        run.settled = False
        redraw(run.module, recipe, step)
        for group in run.optimizer.param_groups:
            group["lr"] = lr_at(recipe, step, self.steps) * group.get("lr_scale", 1.0)
        with self.phase("optimizer"):
            run.optimizer.zero_grad()
        size, value = -(-len(pixels) // recipe.accumulate), 0.0
        done = step / (recipe.epochs * self.steps)
        parts = list(zip(pixels.split(size), targets.split(size), strict=True))
        for at, (some, wanted) in enumerate(parts):
            with self.linear_maps, nullcontext() if at == len(parts) - 1 else self.team.quietly(self.spread):
                with self.phase("loss"):
                    total, shown = self.objective(Step(run.module, self._forward, some, wanted, done))
                    weight = len(some) / len(pixels)
                    total = run.scaler.scale(total if weight == 1 else total * weight)
                with self.phase("backward"):
                    total.backward()
            value += shown.item() * weight
        with self.phase("clipping"):
            run.scaler.unscale_(run.optimizer)
            norm = whole(nn.utils.clip_grad_norm_(run.module.parameters(), recipe.clip_grad or math.inf)).item()
        if run.scaler.is_enabled() and run.scaler.get_scale() > 1:
            norm = 0.0  # a gradient that is too large for float16 is left out by the scaler, which then scales less
        value = self.team.total(value)[0] / self.team.size  # so that all of them stop, or none
        self.health.check(value, norm, step + 1)
        with self.phase("optimizer"):
            run.scaler.step(run.optimizer)
            run.scaler.update()
        if self.after_step is not None:
            self.after_step(run.module)
        if run.average is not None:
            with self.phase("ema"):
                run.average.update(run.module)
        return value

    def _forward(self, pixels: Tensor) -> Any:
        dtype = self.recipe.amp_dtype
        mixed = torch.autocast(self.team.device.type, getattr(torch, dtype), enabled=dtype != "float32")
        with self.phase("forward"), mixed:
            return self.called(pixels)


class Steps:
    """The steps of a training one after the other, without its folder and its judge: for whoever asks what they are
    made of. They are those that `train` takes, on the batches that it draws, epoch after epoch without an end.

    model        what is trained
    conditions   what the time of a step depends on, as rows state it
    """

    def __init__(
        self,
        spec: ModelSpec,
        data: Splits,
        recipe: Recipe = DEMO,
        *,
        device: str = "cpu",
        threads: int | None = None,
        begin: Begin | None = None,
        task: Task[Any, Any] | None = None,
        execution: Execution | None = None,
    ) -> None:
        """`threads` is set for this process. Raises `UserError` as `train` does."""
        execution = execution or Execution()
        learnt: Task[Any, Any] = task or Recognition()
        check_device(device)
        learnt.check(spec, data.train, recipe)
        if threads is not None:
            if threads < 1:
                raise UserError(f"threads must be at least 1, got {threads}")
            torch.set_num_threads(threads)
        images, _ = split(data.train, recipe)
        team = Team(device)
        if team.size > 1:
            raise UserError("the steps of one process are looked at; leave torchrun out")
        run = _begun(spec, data, recipe, begin, learnt, team, execution)
        objective = learnt.objective(spec, recipe, team.device)
        self._loop = _Loop(run, recipe, images, objective, None, execution, team, Path(), lambda: False)
        self._batches = self._drawn()
        self._done = 0
        self.model = run.module.train()
        self.cuda = team.device.type == "cuda"
        learned = Conditions(spec=spec.key, data=data.train.name, split="train", recipe=run.label)
        known = None if self.cuda else torch.get_num_threads()
        self.conditions = while_training(learned, recipe, device=device, threads=known)
        if execution.workers:
            self.conditions = replace(self.conditions, assumptions=(("workers", execution.workers),))

    def step(self, phase: Phase) -> float:
        """The next step, and its loss; `phase` is called with what it is at: input, forward, loss (with what a teacher
        is asked), backward, clipping, optimizer and, where the recipe averages weights, ema."""
        loop = self._loop
        loop.phase = phase
        with phase("input"):
            pixels, targets = next(self._batches)
        self._done += 1
        return loop.step(pixels, targets, (self._done - 1) % (loop.recipe.epochs * loop.steps))

    def synchronize(self) -> None:
        """Returns when all that was called is done."""
        if self.cuda:
            torch.cuda.synchronize(self._loop.team.device)

    def _drawn(self) -> Iterator[tuple[Tensor, Tensor]]:
        loop = self._loop
        for epoch in count(1):
            loop.run.begin_noise(seed_of(loop.recipe, f"noise in epoch {epoch}"))
            yield from batches(loop.images, loop.recipe, epoch, loop.team.device, workers=loop.execution.workers)


def _kept(out: Path, run: Run, recipe: Recipe, images: Examples) -> str:
    """What there is to go on from, in words."""
    epochs = len(run.epochs)
    if (out / STATE).exists() and run.steps and run.settled:
        where = f"epoch {epochs + 1} of {recipe.epochs} is kept after step {run.steps}"
        return f"{where} of {steps_per_epoch(images, recipe)} in {out}, and --resume goes on from there"
    if not epochs:
        return "no epoch was finished, so nothing is kept"
    return f"epoch {epochs} of {recipe.epochs} is kept in {out}, and --resume goes on from there"
