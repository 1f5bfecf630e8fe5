"""Training, read top to bottom: seed, build, steps, validation, checkpoint, rows.

An epoch is the unit that is kept. After each one a single file, `training.safetensors`, takes the place of the
one before; it holds weights, optimizer and history together, so there is no moment at which they disagree.
The readable checkpoint (`spec.json`, `model.safetensors`) is written after it. All randomness of an epoch comes
from the seed and its number, so a run that was interrupted and resumed equals one that was not: on the CPU,
with the same number of threads, bit for bit.
"""

from __future__ import annotations

import inspect
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers
from torch import Tensor, nn
from torch.nn import functional as F

from paretovit.devices import check_device, origin
from paretovit.errors import Unmeasurable, UserError, unknown
from paretovit.measurement import Measurement, Origin
from paretovit.spec import ModelSpec
from paretovit.training.batches import batches, seed_of, steps_per_epoch
from paretovit.training.data import Data, Images
from paretovit.training.evaluate import Score, check_fit, score
from paretovit.training.progress import Tick, Watch, silent
from paretovit.training.recipe import DEMO, Recipe, lr_at
from paretovit.training.rows import Epoch, training_rows
from paretovit.training.splits import split
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import SPEC, WEIGHTS, load_about, load_tensors, save_model, save_tensors

STATE = "training.safetensors"


@dataclass(frozen=True)
class TrainResult:
    """The rows of a finished training, the folder of its checkpoint, and the trained module in evaluation mode."""

    rows: list[Measurement]
    checkpoint: Path
    module: nn.Module


def train(
    spec: ModelSpec,
    data: Data,
    recipe: Recipe = DEMO,
    *,
    out: str | Path,
    resume: bool = True,
    device: str = "cpu",
    progress: Watch = silent,
) -> TrainResult:
    """Train a model of `spec` and keep it in the folder `out`; go on from there if a training of it was interrupted.

    A training that was finished is not run again: its rows come back. With `resume=False` what is in `out` is
    replaced. `progress` is called after each step.

    Raises `UserError` for a model and data that do not go together, for a folder that holds another training, for
    a loss that is not finite and for a disk that refuses; `KeyboardInterrupt`, with a message that says how to go
    on, for Ctrl-C. In each case the checkpoint of the last finished epoch is whole.
    """
    out = Path(out)
    check_device(device)
    check_fit(spec, data.train)
    check_fit(spec, data.val)
    made, epochs = origin("trained"), list[Epoch]()
    images, held = split(data.train, recipe)
    watched = data.val if held is None else held

    torch.manual_seed(seed_of(recipe, "initial weights"))
    module = build(spec, drop_path=recipe.drop_path).to(device)
    optimizer = make_optimizer(module, recipe)
    if resume and (out / STATE).exists():
        made, epochs = _restore(out, spec, data, recipe, module, optimizer)
        save_model(out, spec, module)  # a kill may have come between the two files
    elif resume and (out / WEIGHTS).exists():
        raise UserError(f"{out} holds a model but not how far its training is; give another --out")
    else:
        for name in (WEIGHTS, SPEC, STATE):  # a new spec must never stand beside old weights
            (out / name).unlink(missing_ok=True)

    try:
        for number in range(len(epochs) + 1, recipe.epochs + 1):
            epoch = _epoch(module, optimizer, images, watched, recipe, number, epochs, progress)
            if held is not None and number == recipe.epochs:
                epoch = replace(epoch, final=score(module, data.val, device=device))
            _save(out / STATE, spec, data, recipe, module, optimizer, [*epochs, epoch], made)
            epochs.append(epoch)
            save_model(out, spec, module)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; {_kept(out, epochs, recipe)}") from None
    except Unmeasurable as error:
        raise UserError(f"{spec.name}: {error}; {_kept(out, epochs, recipe)}; try a smaller lr") from error

    threads = torch.get_num_threads() if device == "cpu" else None
    rows = training_rows(spec, data.val, recipe, epochs, device=device, threads=threads, made=made)
    return TrainResult(rows, out, module.eval())


def _epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Images,
    watched: Images,
    recipe: Recipe,
    number: int,
    before: list[Epoch],
    progress: Watch,
) -> Epoch:
    """Train on every image once, then look at those `watched`.

    Raises `Unmeasurable` for a loss or gradient that is not finite.
    """
    torch.manual_seed(seed_of(recipe, f"noise in epoch {number}"))
    device = next(module.parameters()).device
    steps, seen, loss_sum = steps_per_epoch(images, recipe), 0, 0.0
    top1 = before[-1].score.hits1 / before[-1].score.images if before and watched.real else None
    module.train()
    begin = time.perf_counter()
    for step, (pixels, labels) in enumerate(batches(images, recipe, number, device), start=(number - 1) * steps):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(recipe, step, steps) * group.get("lr_scale", 1.0)
        with torch.autocast(device.type, getattr(torch, recipe.amp_dtype), enabled=recipe.amp_dtype != "float32"):
            logits = module(pixels)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        (loss + _auxiliary(module, recipe)).backward()
        norm = nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_grad or math.inf)
        value = loss.item()
        if not (math.isfinite(value) and math.isfinite(norm.item())):
            raise Unmeasurable(f"loss {value:g} with gradient norm {norm.item():g} at step {step + 1}")
        optimizer.step()

        seen, loss_sum = seen + len(labels), loss_sum + value
        progress(
            Tick(
                epoch=number,
                epochs=recipe.epochs,
                done=step + 1,
                total=recipe.epochs * steps,
                loss=value,
                images_per_s=seen / (time.perf_counter() - begin),
                top1=top1,
            )
        )
    seconds = time.perf_counter() - begin
    result = score(module, watched, device=device)
    return Epoch(number=number, loss=loss_sum / steps, seconds=seconds, images=seen, score=result)


def _auxiliary(module: nn.Module, recipe: Recipe) -> Tensor | float:
    """The auxiliary losses of the last forward that the recipe weighs; a model without them has none to add."""
    aux: dict[str, Tensor] = getattr(module, "aux", {})
    return sum((weight * aux[name] for name, weight in recipe.aux_weights if name in aux), start=0.0)


def make_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """timm's optimizer of that name, without weight decay for vectors and for what the model itself exempts, unless
    the recipe decays all.

    Raises `UserError` for a name that timm does not know, or whose library is not installed.
    """
    if recipe.opt not in list_optimizers():
        raise unknown("optimizer", recipe.opt, list_optimizers())
    info = get_optimizer_info(recipe.opt)
    options: dict[str, Any] = {"betas": recipe.betas} if info.has_betas else {}
    if "fused" in inspect.signature(info.opt_class).parameters:
        options["fused"] = True  # tiny models spend a tenth of a step in a loop over their tensors
    try:
        decayed = module.parameters() if recipe.decay_all else module  # of a module timm exempts some
        return create_optimizer_v2(decayed, opt=recipe.opt, lr=recipe.lr, weight_decay=recipe.weight_decay, **options)
    except (ImportError, AssertionError, RuntimeError) as error:
        raise UserError(f"optimizer {recipe.opt} needs a library that is not here: {error}; take adamw") from error


def _save(
    path: Path,
    spec: ModelSpec,
    data: Data,
    recipe: Recipe,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    epochs: list[Epoch],
    made: Origin,
) -> None:
    """All that is needed to go on after the last of `epochs`, in one file of tensors with a JSON header."""
    content = optimizer.state_dict()
    places = {f"state/{index}": state for index, state in content["state"].items()}
    places |= {f"group/{index}": group for index, group in enumerate(content["param_groups"])}
    facts = {f"{place}/{name}": value for place, values in places.items() for name, value in values.items()}
    tensors = {f"model/{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {name: value for name, value in facts.items() if isinstance(value, Tensor)}
    about = {
        "is": _identity(spec, data, recipe),
        "recipe": recipe.label,
        "seed": recipe.seed,
        "epochs": [asdict(epoch) for epoch in epochs],
        "origin": made.to_json(),
        # what else a group holds is made again from the recipe
        "numbers": {name: value for name, value in facts.items() if isinstance(value, int | float)},
    }
    save_tensors(path, tensors, about)


def _restore(
    out: Path, spec: ModelSpec, data: Data, recipe: Recipe, module: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Origin, list[Epoch]]:
    """Put module and optimizer where `_save` left them; the run's origin and its epochs so far.

    Raises `UserError` if the folder holds a training of another model, on other data or by another recipe.
    """
    tensors, about = load_tensors(out / STATE)
    for what, wanted in _identity(spec, data, recipe).items():
        if about["is"].get(what) != wanted:
            raise UserError(
                f"{out} holds a training with {what} {about['is'].get(what)}, not {wanted}; "
                "give another --out, or start over without --resume"
            )
    module.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    content = optimizer.state_dict()
    for path, value in (tensors | about["numbers"]).items():
        place, _, rest = path.partition("/")
        index, _, name = rest.partition("/")
        if place == "state":
            content["state"].setdefault(int(index), {})[name] = value
        elif place == "group":
            content["param_groups"][int(index)][name] = value
    optimizer.load_state_dict(content)
    epochs = [_epoch_of(epoch) for epoch in about["epochs"]]
    return Origin.from_json(about["origin"]), epochs


def _epoch_of(content: dict[str, Any]) -> Epoch:
    scores = {name: Score(**content[name]) for name in ("score", "final") if content[name] is not None}
    return Epoch(**content | scores)


def _identity(spec: ModelSpec, data: Data, recipe: Recipe) -> dict[str, Any]:
    """What must be the same for a training to be gone on with, in words for the message."""
    fields = {f"recipe field {name}": value for name, value in recipe.to_json().items()}
    sizes = f"{data.train.name} ({len(data.train)} and {len(data.val)} images)"
    return {"model": f"{spec.name} ({spec.key})", "data": sizes, **fields}


def how_trained(folder: Path) -> tuple[str | None, int | None]:
    """Label of the recipe and seed that a checkpoint was trained with; None for one that was not trained here."""
    if not (Path(folder) / STATE).exists():
        return None, None
    about = load_about(Path(folder) / STATE)
    return about["recipe"], about["seed"]


def _kept(out: Path, epochs: list[Epoch], recipe: Recipe) -> str:
    if not epochs:
        return "no epoch was finished, so nothing is kept"
    return f"epoch {len(epochs)} of {recipe.epochs} is kept in {out}, and --resume goes on from there"
