"""From a model to a sparse checkpoint: prune, fine-tune with masks if there are data, write both files, say what came.

In the folder: `spec.json` and `model.safetensors`, a checkpoint like any other, with the masks among its buffers; and
`compressed.safetensors`, the same without the zeros.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.measurement import Measurement
from paretovit.optimize.compressed import COMPRESSED, save_compressed
from paretovit.optimize.sparsify import Score, Sparsified, sparsify, speedup, steps
from paretovit.spec import ModelSpec
from paretovit.training.data import Data
from paretovit.training.evaluate import evaluate
from paretovit.training.loop import Begin, how_trained, train
from paretovit.training.progress import Watch, silent
from paretovit.training.pruning import Pruning, told
from paretovit.training.recipe import Recipe
from paretovit.training.start import trained
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import WEIGHTS, save_model
from paretovit.zoo.patterns import TWO_OF_FOUR, Pattern

_DEVICES = ("a10", "h200")
_CALIBRATION = 128  # images, as many as Sun et al. 2023 take texts


@dataclass(frozen=True, kw_only=True)
class How:
    """The choices of `sparsify`; `gradual` takes one weight of each group at a time, each time fine-tuned."""

    pattern: Pattern = TWO_OF_FOUR
    blocks: tuple[int, int] | None = None
    where: str = "all"
    device: str = "a10"
    batch_size: int = 256
    score: Score = "magnitude"
    reorder: bool = False
    gradual: bool = False

    @property
    def words(self) -> Pruning:
        """As rows say it; which layers it was, their spec says."""
        return Pruning(pattern=str(self.pattern), score=self.score, reordered=self.reorder, gradual=self.gradual)

    def each(self, recipe: Recipe) -> Recipe:
        """What each training goes by: the recipe, or with `gradual` its share of epochs and warm-up, an epoch at
        least."""
        count = len(steps(self.pattern)) if self.gradual else 1
        epochs = max(1, recipe.epochs // count)
        return replace(recipe, epochs=epochs, warmup_epochs=recipe.warmup_epochs * (epochs / recipe.epochs))


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was written and what it is worth.

    rows              accuracies before, after pruning and, if it was fine-tuned, what the training gave
    compressed_bytes  of the file without zeros; `dense_bytes` are those of all weights in the same dtype
    speedups          of all products together, at most, on some devices, at that batch size
    """

    sparsified: Sparsified
    folder: Path
    rows: tuple[Measurement, ...]
    dtype: str
    compressed_bytes: int
    dense_bytes: int
    batch_size: int
    speedups: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """One document of plain JSON values."""
        return {
            "model": self.sparsified.spec.name,
            "pattern": str(self.sparsified.pattern),
            "folder": str(self.folder),
            "dtype": self.dtype,
            "compressed_bytes": self.compressed_bytes,
            "dense_bytes": self.dense_bytes,
            "batch_size": self.batch_size,
            "speedup_at_most": self.speedups,
            "layers": [asdict(layer) for layer in self.sparsified.layers],
            "rows": [row.to_json() for row in self.rows],
        }


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A model to be pruned, its data if it is to be judged, how its weights came to be, and what is known of it: `rows`
    of its accuracy, which is otherwise looked at."""

    spec: ModelSpec
    module: nn.Module
    data: Data | None = None
    label: str = "weights as given"
    seed: int | None = None
    rows: tuple[Measurement, ...] = ()

    @property
    def words(self) -> str:
        """As rows say it."""
        return f"{self.spec.name} ({self.label})"


def opened(name: str, data: str | None = None, *, pretrained: bool = False, img_size: int | None = None) -> Parent:
    """The parent of a name: a checkpoint folder, or with `pretrained` a model with timm's weights. Without data it may
    have new weights, too, whose pruning tells sizes and times, and nothing of accuracies."""
    folder = Path(name)
    if data is not None:
        spec, module, opened_data = trained(name, data, img_size=img_size, pretrained=pretrained)
        label, seed = how_trained(folder)
        return Parent(spec=spec, module=module, data=opened_data, label=label or "pretrained", seed=seed)
    spec = resolve(name, img_size=img_size)
    module = build(name, img_size=img_size, pretrained=pretrained)
    label, seed = how_trained(folder)
    new = not pretrained and not (folder / WEIGHTS).exists()
    return Parent(spec=spec, module=module, label="new weights" if new else label or "pretrained", seed=seed)


def prune(
    parent: Parent,
    how: How,
    *,
    out: Path,
    dtype: str = "float16",
    recipe: Recipe | None = None,
    train_device: str = "cpu",
    progress: Watch = silent,
) -> Pruned:
    """Make a model sparse and write it to the folder `out`.

    With data, accuracies before and after are judged; with a `recipe`, too, it is fine-tuned, and goes on where an
    interrupted call was. `dtype` is that of the compressed file. Raises `UserError` as `sparsify` and `train` do, and
    for a folder that holds a model already.
    """
    spec, module, data = parent.spec, parent.module, parent.data
    kind = getattr(torch, dtype, None)
    if kind not in (torch.float16, torch.bfloat16, torch.float32):
        raise UserError(f"unknown dtype {dtype!r} for a file; take float16, bfloat16 or float32")
    if recipe is None and (out / WEIGHTS).exists():
        raise UserError(f"{out} holds a model already; give another --out")
    if data is None and recipe is not None:
        raise UserError("fine-tuning needs data; give --data")
    images = _calibration(data) if data is not None and how.score == "wanda" else None
    rows = list(parent.rows)
    if data is not None and not rows:
        rows += evaluate(spec, module, data.val, recipe=parent.label, seed=parent.seed)
    gradual = how.gradual and recipe is not None
    patterns = steps(how.pattern) if gradual else [how.pattern]
    current = module
    for number, pattern in enumerate(patterns, start=1):
        step, last = replace(how, pattern=pattern, gradual=gradual and number > 1), number == len(patterns)
        made = _sparsified(spec, current, step, images)
        if data is not None and number == 1:
            rows += evaluate(made.spec, made.module, data.val, recipe=told(parent.words, step.words), seed=parent.seed)
        if recipe is None or data is None:
            save_model(out, made.spec, made.module)
            continue
        folder = out if last else out / f"step-{pattern.kept}of{pattern.group}"
        result = train(
            made.spec,
            data,
            how.each(recipe),
            out=folder,
            device=train_device,
            begin=begin_with(told(parent.words, step.words), made.module),
            progress=progress,
        )
        rows += result.rows if last else []
        tuned = result.module.to("cpu")
        made = replace(made, module=tuned)
        current = tuned if last else _dense(spec, tuned)
    save_compressed(out / COMPRESSED, made.spec, made.module, dtype=kind)
    return Pruned(
        sparsified=made,
        folder=out,
        rows=tuple(rows),
        dtype=dtype,
        compressed_bytes=(out / COMPRESSED).stat().st_size,
        dense_bytes=sum(v.numel() for n, v in made.module.state_dict().items() if not n.endswith("_mask"))
        * kind.itemsize,
        batch_size=how.batch_size,
        speedups={device: speedup(made, device, batch_size=how.batch_size) for device in _DEVICES},
    )


def _sparsified(spec: ModelSpec, module: nn.Module, how: How, images: Tensor | None) -> Sparsified:
    return sparsify(
        spec,
        module,
        how.pattern,
        blocks=how.blocks,
        where=how.where,
        device=how.device,
        batch_size=how.batch_size,
        score=how.score,
        images=images,
        reorder=how.reorder,
    )


def begin_with(name: str, parent: nn.Module) -> Begin:
    """A training that begins with the weights, and the masks if there are any, of `parent`."""

    def prepare(module: nn.Module) -> None:
        module.load_state_dict(parent.state_dict())

    return Begin(name=name, prepare=prepare)


def _dense(spec: ModelSpec, module: nn.Module) -> nn.Module:
    """The model without masks, its zeros kept as numbers."""
    plain = build(spec)
    plain.load_state_dict({n: v for n, v in module.state_dict().items() if not n.endswith("weight_mask")})
    return plain


def _calibration(data: Data) -> Tensor:
    """Some training images, from all over the split, as the model sees them."""
    images = data.train
    index = torch.linspace(0, len(images) - 1, min(_CALIBRATION, len(images))).long()
    return images.normalised(images.pixels[index])
