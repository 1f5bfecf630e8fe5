"""A training on its way: all that changes from step to step, and the file that it is kept in.

One file, `training.safetensors`, holds weights, optimizer, averaged weights, random states, position and history
together and is replaced as a whole, so there is no moment at which they disagree. A run that goes on from it equals one
that was never stopped: on the CPU, with the same number of threads, bit for bit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.measurement import Origin
from paretovit.spec import ModelSpec
from paretovit.training.data import Examples, Splits
from paretovit.training.recipe import Recipe
from paretovit.training.rows import Epoch
from paretovit.training.shards import part_like, whole
from paretovit.training.task import Task
from paretovit.training.team import Team
from paretovit.zoo.checkpoint import load_about, load_tensors, save_tensors

STATE = "training.safetensors"
_UNDER_WAY = ("steps", "seen", "loss", "seconds", "joules", "meter")


@dataclass
class Run:
    """What `train` works on.

    identity   what must be the same for a training to be gone on with, in words for messages
    label      the recipe as rows name it
    task       what is learnt
    images     how they were normalised, and the names of their classes: what a user of the model has to know
    epochs     those that are finished
    steps, seen, loss, seconds, joules, meter
               of the epoch that is under way: steps done, images seen, losses added up, time taken, energy counted by
               the meter of that name; "" where not all of the epoch was metered alike
    settled    False while a step is changing the weights
    """

    identity: dict[str, Any]
    label: str
    seed: int
    task: Task[Any, Any]
    module: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: ModelEmaV3 | None
    made: Origin
    images: dict[str, Any] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    steps: int = 0
    seen: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    joules: float = 0.0
    meter: str = ""
    settled: bool = True
    noise: dict[str, Tensor] = field(default_factory=dict)

    @property
    def kept(self) -> nn.Module:
        """The model that is judged and kept: with averaged weights where the recipe averages."""
        return self.module if self.average is None else self.average.module

    def end_epoch(self, epoch: Epoch) -> None:
        """Count the epoch as finished; the next one is at its beginning."""
        self.epochs.append(epoch)
        self.steps, self.seen, self.loss, self.seconds, self.joules, self.meter = 0, 0, 0.0, 0.0, 0.0, ""

    def save(self, path: Path, team: Team) -> None:
        """Write everything. All processes are to call it; the first one writes. Raises `UserError` if the disk
        refuses; the file of before is then untouched."""
        content = self.optimizer.state_dict()
        # what is shared out is put together: all processes take part in that
        places = {f"state/{index}": state for index, state in content["state"].items()}
        places |= {f"group/{index}": group for index, group in enumerate(content["param_groups"])}
        facts = {f"{place}/{name}": value for place, values in places.items() for name, value in values.items()}
        tensors = {f"model/{name}": tensor for name, tensor in weights_of(self.module).items()}
        if self.average is not None:
            tensors |= {f"average/{name}": tensor for name, tensor in weights_of(self.average.module).items()}
        tensors |= {name: whole(value) for name, value in facts.items() if isinstance(value, Tensor)}
        for kind, state in _random_states(team.device).items():
            tensors |= {f"random/{kind}/{rank}": mine for rank, mine in enumerate(team.gathered(state))}
        about = {
            "is": self.identity,
            "recipe": self.label,
            "seed": self.seed,
            "images": self.images,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "under_way": {name: getattr(self, name) for name in _UNDER_WAY},
            "scaler": self.scaler.state_dict(),
            "origin": self.made.to_json(),
            # what else a group holds is made again from the recipe
            "numbers": {name: value for name, value in facts.items() if isinstance(value, int | float)},
        }
        if team.is_first:
            save_tensors(path, tensors, about)

    def restore(self, path: Path, team: Team, defaults: dict[str, Any]) -> None:
        """Be where `save` was. `defaults` are those of what a file from an older version does not state.

        With more or fewer processes than before the run goes on, but what a forward draws is then drawn anew. Raises
        `UserError` for a file of another model, of other data or of another recipe.
        """
        tensors, about = load_tensors(path)
        had = defaults | about["is"]
        for what, wanted in self.identity.items():
            if had.get(what) != wanted:
                raise UserError(
                    f"{path.parent} holds a training with {what} {had.get(what)}, not {wanted}; "
                    "give another --out, or start over with --no-resume"
                )
        _load(self.module, _under("model/", tensors))
        if self.average is not None:
            _load(self.average.module, _under("average/", tensors))
        content = self.optimizer.state_dict()
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for name, value in (tensors | about["numbers"]).items():
            place, _, rest = name.partition("/")
            index, _, entry = rest.partition("/")
            if place == "state":
                value = part_like(value, parameters[int(index)]) if isinstance(value, Tensor) else value
                content["state"].setdefault(int(index), {})[entry] = value
            elif place == "group":
                content["param_groups"][int(index)][entry] = value
        self.optimizer.load_state_dict(content)
        self.scaler.load_state_dict(about.get("scaler", {}))
        self.noise = {
            kind: tensors[name] for kind in ("cpu", "cuda") if (name := f"random/{kind}/{team.rank}") in tensors
        }
        self.epochs = [_epoch_of(epoch, self.task) for epoch in about["epochs"]]
        self.made = Origin.from_json(about["origin"])
        for name, value in about.get("under_way", {}).items():
            setattr(self, name, value)

    def begin_noise(self, seed: int) -> None:
        """Dropout, dropped paths and what else a forward draws: from `seed` at the beginning of an epoch, and from
        where it was for an epoch that is gone on with."""
        torch.manual_seed(seed)
        if self.steps and self.noise:
            torch.set_rng_state(self.noise["cpu"])
            if "cuda" in self.noise:
                torch.cuda.set_rng_state(self.noise["cuda"], next(self.module.parameters()).device)


def identity_of(spec: ModelSpec, data: Splits, recipe: Recipe, begun_from: str) -> dict[str, Any]:
    """What must be the same for a training to be gone on with, in words for the message."""
    fields = {f"recipe field {name}": value for name, value in recipe.to_json().items()}
    sizes = f"{data.train.name} ({len(data.train)} and {len(data.val)} images)"
    return {"model": f"{spec.name} ({spec.key})", "data": sizes, "weights it begins with": begun_from, **fields}


def looks(images: Examples) -> dict[str, Any]:
    """What the images of a run look like to its model, as the file has it."""
    return {"mean": list(images.mean), "std": list(images.std), "class_names": list(images.class_names)}


def how_trained(folder: Path) -> tuple[str | None, int | None]:
    """Label of the recipe and seed that a checkpoint was trained with; None for one that was not trained here."""
    if not (Path(folder) / STATE).exists():
        return None, None
    about = load_about(Path(folder) / STATE)
    return about["recipe"], about["seed"]


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers, whole; where they are shared out all processes are to ask for them."""
    return {name: whole(tensor) for name, tensor in module.state_dict().items()}


def _load(module: nn.Module, weights: dict[str, Tensor]) -> None:
    own = module.state_dict()
    module.load_state_dict({name: part_like(tensor, own[name]) for name, tensor in weights.items()})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _epoch_of(content: dict[str, Any], task: Task[Any, Any]) -> Epoch:
    scores = {name: task.read(content[name]) for name in ("score", "final") if content[name] is not None}
    return Epoch(**content | scores)
