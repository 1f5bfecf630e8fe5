"""How a model is trained: a value with a name, so that two accuracies can be compared. No torch.

A recipe says nothing about the model or the data, and nothing that changes only the speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from paretovit.errors import UserError, unknown


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run. Raises `UserError` for a value out of range.

    batch_size       images per step; images left over at the end of an epoch are left out of that epoch
    opt              timm's name of the optimizer
    lr, min_lr       at the end of the warm-up, and at the end of the cosine after it
    schedule         "cosine", or "constant" for `lr` from the warm-up to the end
    weight_decay     for matrices and filters; biases, norms, positions and class tokens are not decayed
    decay_all        True to decay those too
    clip_grad        largest norm of the gradient of all weights together; None for no limit
    drop_path        rate of the last residual branch; `build` lets it rise linearly from 0
    aux_weights      pairs of a model's auxiliary loss and its weight; losses not named here are not trained on
    hflip            mirror images at random, unless the data say that mirroring changes the class
    amp_dtype        "float32", or "bfloat16" for mixed precision while training; accuracies are judged in float32
    train_images     train on so many, as many of each class; None for all
    held_out         share of them that is kept from training and judged after each epoch; the validation or test
                     split is then looked at once, at the end
    pick             "last": the accuracy of a run is that after its last epoch; "best": of the best epoch on the
                     split that is reported, as many papers have it, which flatters
    crop_padding     shift images at random by up to that many pixels; what comes in is black
    source           where the values come from, and what to expect of them
    """

    name: str
    epochs: int
    batch_size: int
    lr: float
    opt: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    decay_all: bool = False
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    min_lr: float = 0.0
    clip_grad: float | None = None
    label_smoothing: float = 0.0
    drop_path: float = 0.0
    aux_weights: tuple[tuple[str, float], ...] = ()
    amp_dtype: str = "float32"
    train_images: int | None = None
    held_out: float = 0.0
    pick: str = "last"
    hflip: bool = False
    crop_padding: int = 0
    seed: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        for field, fine, bounds in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", 0 < self.lr < math.inf, "above 0"),
            ("min_lr", 0 <= self.min_lr <= self.lr, f"from 0 to lr ({self.lr:g})"),
            ("betas", all(0 <= beta < 1 for beta in self.betas), "two numbers from 0 to below 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("warmup_epochs", 0 <= self.warmup_epochs <= self.epochs, f"from 0 to epochs ({self.epochs})"),
            ("clip_grad", self.clip_grad is None or 0 < self.clip_grad < math.inf, "above 0, or none"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1"),
            ("drop_path", 0 <= self.drop_path < 1, "from 0 to below 1"),
            ("aux_weights", all(0 <= w < math.inf for _, w in self.aux_weights), "0 or more each"),
            ("schedule", self.schedule in ("cosine", "constant"), "cosine or constant"),
            ("amp_dtype", self.amp_dtype in ("float32", "bfloat16"), "float32 or bfloat16"),
            ("train_images", self.train_images is None or self.train_images >= 1, "at least 1, or none"),
            ("held_out", 0 <= self.held_out < 1, "from 0 to below 1"),
            (
                "pick",
                self.pick == "last" or (self.pick == "best" and not self.held_out),
                "last, or best without held_out",
            ),
            ("crop_padding", self.crop_padding >= 0, "0 or more"),
            ("seed", 0 <= self.seed < 2**63, "from 0 to 2^63 - 1"),
        ):
            if not fine:
                raise UserError(f"recipe {self.name}: {field} must be {bounds}, got {getattr(self, field)}")

    @property
    def label(self) -> str:
        """The name with the fields that differ from the recipe of that name; the seed is a condition of its own."""
        known = RECIPES.get(self.name)
        changed = [] if known is None else [f for f in SETTABLE if getattr(self, f) != getattr(known, f)]
        return ", ".join([self.name, *(f"{f}={_spoken(getattr(self, f))}" for f in changed if f != "seed")])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; equal for recipes that train alike, so without `source`."""
        content = asdict(self)
        del content["source"]
        return content | {"betas": list(self.betas), "aux_weights": [list(pair) for pair in self.aux_weights]}


def with_changes(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe with `field=value` applied in order, as in `["lr=0.002", "aux_weights=balance:0.01"]`.

    Raises `UserError` for an unknown field (nearest names offered), a value of the wrong type or out of range.
    """
    values: dict[str, Any] = {}
    for change in changes:
        field, equals, text = change.partition("=")
        field, text = field.strip(), text.strip()
        if not equals:
            raise UserError(f"cannot read {change!r}; write it as field=value, such as lr=0.002")
        if field not in SETTABLE:
            raise unknown("recipe field", field, SETTABLE)
        example, read = _READERS[SETTABLE[field]]
        try:
            values[field] = read(text)
        except ValueError:
            raise UserError(f"cannot read {field}={text}; write it as {field}={example}") from None
    return replace(recipe, **values)


def lr_at(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of step 0, 1, ...: a straight line up to `lr` during the warm-up, then half a cosine,
    or `lr` for good."""
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.lr
    done = (step - warmup) / (recipe.epochs * steps_per_epoch - warmup)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * done)) / 2


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError
    return text.lower() in ("true", "1", "yes")


def _float_or_none(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


def _int_or_none(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


def _two_floats(text: str) -> tuple[float, float]:
    first, second = text.split(",")
    return float(first), float(second)


def _weights(text: str) -> tuple[tuple[str, float], ...]:
    pairs = [pair.partition(":") for pair in text.split(",") if pair.strip()]
    return tuple((name.strip(), float(weight)) for name, _, weight in pairs)


def _spoken(value: Any) -> str:
    """A value as `with_changes` reads it."""
    if isinstance(value, tuple):
        return ",".join(f"{v[0]}:{v[1]:g}" if isinstance(v, tuple) else f"{v:g}" for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


# how the text of a field is read, by the field's type; first an example for the message
_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "int": ("10", int),
    "float": ("0.1", float),
    "str": ("adamw", str),
    "bool": ("true", _bool),
    "int | None": ("10000 or none", _int_or_none),
    "float | None": ("1.0 or none", _float_or_none),
    "tuple[float, float]": ("0.9,0.999", _two_floats),
    "tuple[tuple[str, float], ...]": ("name:0.01", _weights),
}
SETTABLE = {field.name: str(field.type) for field in fields(Recipe) if field.name not in ("name", "source")}

DEMO = Recipe(
    name="demo",
    epochs=15,
    batch_size=32,
    lr=3e-3,
    betas=(0.9, 0.95),
    weight_decay=1.5,
    warmup_epochs=2,
    min_lr=1e-5,
    clip_grad=1.0,
    label_smoothing=0.1,
    # each from its paper
    aux_weights=(
        ("switch_balance", 0.01),
        ("dynamic_vit_ratio", 2.0),
        ("avit_ponder", 5e-4),
        ("avit_distribution", 0.1),
        ("routing_commitment", 1e-4),
    ),
    # The strong decay is what tells 1,437 digits learnt from 1,437 digits memorised; shifted digits need more epochs.
    source="tuned here on the validation split of `digits`, for models of 4 blocks of width 64; `make demo` shows "
    "what it reaches",
)

VIX = Recipe(
    name="vix",
    epochs=40,
    batch_size=64,
    lr=1e-3,
    betas=(0.9, 0.999),
    weight_decay=0.01,
    decay_all=True,
    schedule="constant",
    pick="best",
    source="Jeevan and Sethi 2022, Resource-efficient Hybrid X-formers for Vision, sec. 4.1, and its released code: "
    "AdamW at a constant rate, no augmentation, the best epoch on the test images themselves. There pixels are scaled "
    "to -1..1, here by the means and deviations of the data set; in single precision, as in effect there",
)
VIX_HONEST = replace(
    VIX,
    name="vix_honest",
    held_out=0.1,
    pick="last",
    source="as `vix`, but a tenth of the training images is held out to look at, and the test images are seen once, "
    "after the last epoch",
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (DEMO, VIX, VIX_HONEST)}


def named_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises `UserError` with the nearest names for one that does not exist."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
