"""How a model is trained: a value with a name, so that two accuracies can be compared. No torch.

A recipe says nothing about the model or the data, and nothing that changes only the speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from paretovit.errors import UserError, unknown

_POLICIES = ("none", "3a", "rand", "v0", "v0r", "original", "originalr", "augmix")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run. Raises `UserError` for a value out of range.

    batch_size       images per step; images left over at the end of an epoch are left out of that epoch
    accumulate       parts that a batch is worked on in, one after the other: less memory, the same mean gradient
    opt              timm's name of the optimizer
    eps              added to its denominators; None for the optimizer's own
    lr, min_lr       at the end of the warm-up, and at the end of the cosine after it
    schedule         "cosine", "constant" for `lr` from the warm-up to the end, or "step" for a tenth of it in the last
                     fifth of the epochs
    weight_decay     for matrices and filters; biases, norms, positions and class tokens are not decayed
    decay_all        True to decay those too
    layer_decay      each layer's rate is this times that of the layer above it (Bao et al. 2021, "BEiT"); None for one
                     rate
    clip_grad        largest norm of the gradient of all weights together; None for no limit
    ema              decay of a moving average of the weights, which is then what is judged and kept; None for none
    loss             "ce" for cross-entropy, "bce" for a binary cross-entropy per class
    drop_path        rate of the last residual branch; `build` lets it rise linearly from 0
    dropout          rate at which values that mixers and MLPs add to the tokens are zeroed; models on the skeleton only
    aux_weights      pairs of a model's auxiliary loss and its weight; losses not named here are not trained on
    redraw_every     steps after which mixers with random features draw others; None to keep the first ones
    hflip            mirror images at random, unless the data say that mirroring changes the class
    crop             "none"; "rrc" cuts out a random part of `crop_scale` of the area and scales it to the image size
                     (Szegedy et al. 2014); "src" mirrors 4 pixels at each side and cuts out the image size (DeiT III)
    augment          timm's name of a policy for single images: "3a" (3-Augment), "rand-m9-mstd0.5-inc1", ...; "none"
    color_jitter     by how much brightness, contrast and saturation of an image are changed at most
    erasing          probability that a box of an image is overwritten with noise (Zhong et al. 2017)
    mixup, cutmix    parameter of the Beta distribution that two images are blended by, or that a box of the other is
                     cut out by; 0 for none; where both are on, each batch takes one of the two at random
    repeats          times that an image comes in an epoch, each time augmented anew; an epoch has as many steps as
                     without, and so fewer different images (Hoffer et al. 2019, Berman et al. 2019)
    teacher          model or checkpoint folder whose answers are learnt too; "" for none
    distill          "soft" to learn its probabilities, "hard" to learn its first choice (Touvron et al. 2020, sec. 4)
    distill_alpha    weight of that; the labels have the rest
    distill_tau      temperature of the probabilities, of teacher and student
    distill_tokens   weight of the squared difference to the teacher's last tokens (Rao et al. 2021, "DynamicViT")
    amp_dtype        "float32", or "bfloat16" or "float16" for mixed precision while training; accuracies are judged in
                     float32
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
    eps: float | None = None
    weight_decay: float = 0.05
    decay_all: bool = False
    layer_decay: float | None = None
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    min_lr: float = 0.0
    accumulate: int = 1
    clip_grad: float | None = None
    ema: float | None = None
    loss: str = "ce"
    label_smoothing: float = 0.0
    drop_path: float = 0.0
    dropout: float = 0.0
    aux_weights: tuple[tuple[str, float], ...] = ()
    redraw_every: int | None = None
    amp_dtype: str = "float32"
    train_images: int | None = None
    held_out: float = 0.0
    pick: str = "last"
    hflip: bool = False
    crop_padding: int = 0
    crop: str = "none"
    crop_scale: tuple[float, float] = (0.08, 1.0)
    augment: str = "none"
    color_jitter: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    repeats: int = 1
    teacher: str = ""
    distill: str = "soft"
    distill_alpha: float = 0.5
    distill_tau: float = 1.0
    distill_tokens: float = 0.0
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
            ("eps", self.eps is None or 0 < self.eps < math.inf, "above 0, or none"),
            ("layer_decay", self.layer_decay is None or 0 < self.layer_decay <= 1, "above 0 and at most 1, or none"),
            ("accumulate", self.accumulate >= 1 and self.batch_size % self.accumulate == 0, "a divisor of batch_size"),
            ("clip_grad", self.clip_grad is None or 0 < self.clip_grad < math.inf, "above 0, or none"),
            ("ema", self.ema is None or 0 < self.ema < 1, "between 0 and 1, or none"),
            ("loss", self.loss in ("ce", "bce"), "ce or bce"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1"),
            ("drop_path", 0 <= self.drop_path < 1, "from 0 to below 1"),
            ("dropout", 0 <= self.dropout < 1, "from 0 to below 1"),
            ("aux_weights", all(0 <= w < math.inf for _, w in self.aux_weights), "0 or more each"),
            ("redraw_every", self.redraw_every is None or self.redraw_every >= 1, "at least 1, or none"),
            ("schedule", self.schedule in ("cosine", "constant", "step"), "cosine, constant or step"),
            ("amp_dtype", self.amp_dtype in ("float32", "bfloat16", "float16"), "float32, bfloat16 or float16"),
            ("train_images", self.train_images is None or self.train_images >= 1, "at least 1, or none"),
            ("held_out", 0 <= self.held_out < 1, "from 0 to below 1"),
            (
                "pick",
                self.pick == "last" or (self.pick == "best" and not self.held_out),
                "last, or best without held_out",
            ),
            ("crop_padding", self.crop_padding >= 0, "0 or more"),
            ("crop", self.crop in ("none", "rrc", "src"), "none, rrc or src"),
            ("crop_scale", 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1, "two rising numbers above 0, at most 1"),
            ("augment", self.augment.split("-")[0] in _POLICIES, f"one of {', '.join(_POLICIES)}, as timm writes them"),
            ("color_jitter", 0 <= self.color_jitter < math.inf, "0 or more"),
            ("erasing", 0 <= self.erasing <= 1, "from 0 to 1"),
            ("mixup", 0 <= self.mixup < math.inf, "0 or more"),
            ("cutmix", 0 <= self.cutmix < math.inf, "0 or more"),
            ("repeats", self.repeats >= 1, "at least 1"),
            ("distill", self.distill in ("soft", "hard"), "soft or hard"),
            ("distill_alpha", 0 <= self.distill_alpha <= 1, "from 0 to 1"),
            ("distill_tau", 0 < self.distill_tau < math.inf, "above 0"),
            (
                "distill_tokens",
                0 <= self.distill_tokens < math.inf and (bool(self.teacher) or not self.distill_tokens),
                "0 or more, and 0 without a teacher",
            ),
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
        pairs = {"betas": list(self.betas), "crop_scale": list(self.crop_scale)}
        return content | pairs | {"aux_weights": [list(pair) for pair in self.aux_weights]}


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
    or `lr` for good, or until a fifth of the epochs is left, and then a tenth of it."""
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "step":
        return recipe.lr if 5 * step < 4 * recipe.epochs * steps_per_epoch else recipe.lr / 10
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

DEIT = Recipe(
    name="deit",
    epochs=300,
    batch_size=1024,
    lr=1e-3,
    weight_decay=0.05,
    warmup_epochs=5,
    min_lr=1e-5,
    label_smoothing=0.1,
    drop_path=0.1,
    hflip=True,
    crop="rrc",
    augment="rand-m9-mstd0.5-inc1",
    erasing=0.25,
    mixup=0.8,
    cutmix=1.0,
    repeats=3,
    source="Touvron et al. 2020, Training data-efficient image transformers, table 9: AdamW, a rate of 5e-4 x batch / "
    "512; the released defaults agree, and keep a moving average of the weights that is not what they report. With "
    "`teacher` and `distill=hard` its distillation, for 300 epochs or 1,000. 72.2, 79.8 and 81.8% of "
    "ImageNet for tiny, small and base at 224 px (table 5)",
)

DEIT3 = Recipe(
    name="deit3",
    epochs=800,
    batch_size=2048,
    lr=3e-3,
    opt="lamb",
    weight_decay=0.02,
    warmup_epochs=5,
    min_lr=1e-5,
    clip_grad=1.0,
    loss="bce",
    drop_path=0.05,
    hflip=True,
    crop="rrc",
    augment="3a",
    color_jitter=0.3,
    mixup=0.8,
    cutmix=1.0,
    repeats=3,
    source="Touvron et al. 2022, DeiT III, table 1, column ImageNet-1k; drop_path is that of the small model, and "
    "models are to have LayerScale. Its released commands differ from the table: weight decay 0.05, a rate of 4e-3 for "
    "the small model, no clipping. 81.4% of ImageNet for small, 83.8% for base at 224 px",
)

WTTF_PRETRAIN = Recipe(
    name="wttf_pretrain",
    epochs=90,
    batch_size=2048,
    lr=3e-3,
    opt="lamb",
    eps=1e-7,
    weight_decay=0.02,
    warmup_epochs=5,
    min_lr=1e-5,
    clip_grad=1.0,
    label_smoothing=0.1,
    drop_path=0.05,
    hflip=True,
    crop="src",
    augment="3a",
    color_jitter=0.3,
    cutmix=1.0,
    amp_dtype="float16",
    source="Nauen et al. 2023, Which Transformer to Favor, sec. Training Pipeline, and the defaults of its released "
    "code: 90 epochs of ImageNet-21k at 224 or 192 px, on 4 or 8 A100. There the rate changes once per epoch, here "
    "every step",
)
WTTF_FINETUNE = replace(
    WTTF_PRETRAIN,
    name="wttf_finetune",
    epochs=50,
    lr=3e-4,
    source="Nauen et al. 2023, sec. Training Pipeline; the rate is that of its logged runs. 50 epochs of ImageNet-1k "
    "at 224 or 384 px from a checkpoint of `wttf_pretrain`, position tables interpolated; for ViT-S at 224 px 82.5%, "
    "in 20 h on 4 A100",
)

THESIS = Recipe(
    name="thesis",
    epochs=30,
    batch_size=64,
    lr=1e-4,
    weight_decay=0.01,
    mixup=0.2,
    dropout=0.1,
    hflip=True,
    crop="rrc",
    source="Menon Vadakkeveedu 2023, Exploration of Optimization Strategies for Vision Transformers, sec. 3.5: models "
    "with replaced layers are fine-tuned with MixUp and dropout, which gave 1 to 2% (fig. 3.21). How much of either it "
    "takes from Steiner et al. 2021; it prints no rate, batch size or weight decay, those are ours",
)

DEFORMABLE_DETR = Recipe(
    name="deformable_detr",
    epochs=50,
    batch_size=32,
    lr=2e-4,
    weight_decay=1e-4,
    decay_all=True,
    schedule="step",
    clip_grad=0.1,
    hflip=True,
    source="Zhu et al. 2020, Deformable DETR, sec. 5, which Anonymous 2021, An Investigation on Hardware-Aware Vision "
    "Transformer Scaling, app. E, follows from ImageNet weights; batch and clipping are those of the released code. "
    "There backbone and sampling offsets have a tenth of the rate, and pictures are scaled and cropped at random",
)
BOXES = replace(
    DEFORMABLE_DETR,
    name="boxes",
    epochs=30,
    lr=1e-3,
    warmup_epochs=1,
    schedule="cosine",
    source="for small detectors on pasted pictures, from new weights; the rate is ours",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        DEMO,
        VIX,
        VIX_HONEST,
        WTTF_PRETRAIN,
        WTTF_FINETUNE,
        DEIT3,
        DEIT,
        THESIS,
        DEFORMABLE_DETR,
        BOXES,
    )
}


def named_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises `UserError` with the nearest names for one that does not exist."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
