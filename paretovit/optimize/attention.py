"""What the attention of a trained model looks at, layer by layer: numbers for a table, and pictures.

Paper    Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", sec. 2.3 and fig. 2.4:
         where most queries attend to the same keys, something simpler might do. Numbers as in `analysis/attention.py`.
Shapes   B images, H heads, N tokens, P patches.
"""

from __future__ import annotations

import hashlib
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from paretovit.analysis.attention import even_distance, mean_distance, stripe_score
from paretovit.devices import origin
from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement
from paretovit.optimize.attention_pictures import map_picture, over_image, save_picture
from paretovit.optimize.replace import loaded
from paretovit.optimize.roofline_sheet import RooflineSheet
from paretovit.spec import ModelSpec
from paretovit.training.data import COLOUR, GREY, Pictures
from paretovit.training.run import how_trained
from paretovit.zoo.attention_maps import AttentionMap, attention_maps
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import SPEC, write_whole

ROWS = "attention.json"
ALL = "all"
UNITS = {"attention_distance": "px", "stripe_score": "1"}


@dataclass(frozen=True)
class Seen:
    """What was found: two rows for each layer, the pictures written, and the distance of even attention, in pixels, if
    the patches lie on a grid."""

    spec: ModelSpec
    rows: tuple[Measurement, ...]
    pictures: tuple[Path, ...]
    even_px: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.spec.name,
            "even_distance_px": self.even_px,
            "rows": [row.to_json() for row in self.rows],
            "pictures": [str(path) for path in self.pictures],
        }


def look(
    model: str,
    images: Sequence[Path],
    *,
    out: Path,
    layers: Sequence[str] = (),
    heads: Sequence[str] = (),
    weights: Path | None = None,
    pretrained: bool = False,
    device: str = "cpu",
) -> Seen:
    """Numbers for every layer, the mean over the images; and in `out`, for each image, PNG pictures of the maps of
    `layers` (all of them if none are named) averaged over the heads, or of each of `heads` ("all" for all of them).

    `model` is a checkpoint folder, or a name with timm's weights (`pretrained`) or those of a file. Raises `UserError`
    for a model without weights or without such maps, for layers and heads that it has not, and for files that hold no
    picture.
    """
    spec, module = _opened(model, weights, pretrained)
    if not images:
        raise UserError("name a picture to look at, --image FILE")
    if len(spec.input_shape) != 3:
        raise UserError(f"{spec.name} takes videos; give a model of images")
    pictures = _pictures(images, spec)
    pixels = _normalised(pictures, spec, module, pretrained).to(device)
    known: dict[int, _Layer] = {}

    def see(found: AttentionMap) -> None:
        known[found.layer] = _told(found, spec)

    module = module.to(device)
    attention_maps(module, pixels, see)
    chosen = numbered(layers, len(known), "layer") or list(range(len(known)))
    for layer in chosen:
        _heads(heads, len(known[layer].stripes))
    written: list[Path] = []

    def draw(found: AttentionMap) -> None:
        if found.layer in chosen:
            written.extend(_drawn(found, heads, pictures, images, out))

    attention_maps(module, pixels, draw)  # once more, now that all that was asked for is known to be there
    rows = tuple(row for layer in sorted(known) for row in known[layer].rows(spec, layer, images, model))
    first = next((layer.grid for layer in known.values() if layer.grid is not None), None)
    seen = Seen(spec, rows, tuple(written), None if first is None else even_distance(first, _patch_px(spec, first)))
    write_whole(out / ROWS, (json.dumps(seen.to_json(), indent=1) + "\n").encode())
    return seen


def numbered(texts: Sequence[str], count: int, what: str) -> list[int]:
    """The numbers in "0-2,5", in order, each once; `count` is how many there are.

    Raises `UserError` for what cannot be read, and for a number that there is not.
    """
    found: set[int] = set()
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
        if match is None:
            raise UserError(f"cannot read the {what}s {text!r}; write them as 0-2,5, counted from 0")
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    if found and max(found) >= count:
        raise UserError(f"there are {count} {what}s, from 0 to {count - 1}; {max(found)} is none")
    return sorted(found)


def attention_sheet(seen: Seen) -> RooflineSheet:
    """A line for each layer: distance and stripes, the mean over the heads with the least and the most of them."""
    by_layer: dict[str, dict[str, Measurement]] = {}
    for row in seen.rows:
        by_layer.setdefault(str(row.conditions.part), {})[row.indicator] = row
    lines = []
    for part, rows in by_layer.items():
        cells = []
        for name, form in (("attention_distance", ".1f"), ("stripe_score", ".3f")):
            row = rows[name]
            heads = row.origin.timing.get("heads", [])
            cells += ["–", ""] if row.value is None else [
                format(row.value, form), f"{format(min(heads), form)} to {format(max(heads), form)}"
            ]  # fmt: skip
        lines.append([part.removeprefix("layer "), *cells])
    why = next((row.why for row in seen.rows if row.why), "")
    even = "" if seen.even_px is None else f" Even attention would be at {seen.even_px:.1f} px."
    notes = [
        f"Distance of patches from those they attend to, by weight.{even} Stripes: share of a map's variance that is "
        "between its columns; 1 where all queries attend to the same keys. The mean over the heads, least and most.",
        f"{len(seen.pictures)} pictures in {seen.pictures[0].parent}.",
    ]
    if why:
        notes.insert(1, f"{why[0].upper()}{why[1:]}.")
    columns = ["layer", "distance\npx", "of the heads", "stripes", "of the heads"]
    return RooflineSheet(
        f"{seen.spec.name}: what its attention looks at",
        columns,
        lines,
        "\n".join(textwrap.fill(n, 100) for n in notes),
    )


@dataclass(frozen=True)
class _Layer:
    """Of each head (H,), the mean over the images."""

    distances: NDArray[np.float64] | None
    stripes: NDArray[np.float64]
    grid: tuple[int, int] | None

    def rows(self, spec: ModelSpec, layer: int, images: Sequence[Path], model: str) -> list[Measurement]:
        recipe, seed = how_trained(Path(model))
        made = origin("measured")
        conditions = Conditions(spec=spec.key, data=_data(images), part=f"layer {layer}", recipe=recipe, seed=seed)
        rows = []
        for indicator, values in (("attention_distance", self.distances), ("stripe_score", self.stripes)):
            heads = {} if values is None else {"heads": [float(value) for value in values]}
            rows.append(
                Measurement(
                    model=spec.name,
                    indicator=indicator,
                    unit=UNITS[indicator],
                    value=None if values is None else float(values.mean()),
                    conditions=conditions,
                    origin=replace(made, timing=made.timing | heads),
                    why="" if values is not None else "where its tokens lie is not known, so there is no distance",
                )
            )
        return rows


def _told(found: AttentionMap, spec: ModelSpec) -> _Layer:
    weights_BHNN = found.weights.double().cpu().numpy()
    patches = weights_BHNN[..., found.prefix :, found.prefix :]
    stripes = stripe_score(weights_BHNN).mean(0)
    if found.grid is None or len(found.grid) != 2:
        return _Layer(None, stripes, None)
    grid = (found.grid[0], found.grid[1])
    return _Layer(mean_distance(patches, grid, _patch_px(spec, grid)).mean(0), stripes, grid)


def _patch_px(spec: ModelSpec, grid: tuple[int, int]) -> float:
    return spec.input_shape[1] / grid[0]


def _drawn(
    found: AttentionMap, heads: Sequence[str], pictures: Sequence[Image.Image], images: Sequence[Path], out: Path
) -> list[Path]:
    weights_BHNN = found.weights.double().cpu().numpy()
    some = _heads(heads, weights_BHNN.shape[1])
    of_heads = [(f"head{head:02d}", weights_BHNN[:, head]) for head in some] or [("mean", weights_BHNN.mean(1))]
    written = []
    for name, weights_BNN in of_heads:
        for path, picture, table_NN in zip(images, pictures, weights_BNN, strict=True):
            stem = out / f"{path.stem}-layer{found.layer:02d}-{name}"
            save_picture(map_picture(table_NN), file := stem.with_name(f"{stem.name}-map.png"))
            written.append(file)
            if found.grid is not None:
                # of the class token, where there is one; else of all patches, on average
                asked_N = table_NN[0] if found.prefix else table_NN.mean(0)
                over = over_image(asked_N[found.prefix :].reshape(found.grid), picture)
                save_picture(over, file := stem.with_name(f"{stem.name}-image.png"))
                written.append(file)
    return written


def _heads(heads: Sequence[str], count: int) -> list[int]:
    return list(range(count)) if ALL in heads else numbered(heads, count, "head")


def _opened(model: str, weights: Path | None, pretrained: bool) -> tuple[ModelSpec, nn.Module]:
    own = Path(model, SPEC).is_file()
    if own and (weights or pretrained):
        raise UserError(f"{model} has weights of its own; leave --weights and --pretrained out")
    if not own and not weights and not pretrained:
        raise UserError(f"{model} has no trained weights; give a checkpoint folder, --weights FILE or --pretrained")
    spec = resolve(model)
    return spec, loaded(spec, weights) if weights else build(model, pretrained=pretrained)


def _pictures(images: Sequence[Path], spec: ModelSpec) -> list[Image.Image]:
    """The middle of each picture at the model's size, grey or in colour as it takes them."""
    channels, rows, columns = spec.input_shape
    if channels not in (1, 3):
        raise UserError(f"{spec.name} takes images of {channels} channels; a picture has 1 or 3")
    files = Pictures(
        lambda at: (images[at].open("rb"), 0),
        torch.arange(len(images)),
        where=lambda at: str(images[at]),
        px=rows,
        channels=channels,
    )
    whole = (files.pictures(at)[0] for at in range(len(images)))
    return [ImageOps.fit(one, (columns, rows), Image.Resampling.BICUBIC) for one in whole]


def _normalised(pictures: Sequence[Image.Image], spec: ModelSpec, module: nn.Module, pretrained: bool) -> Tensor:
    """The pictures as the model is given them, (B, C, H, W)."""
    shape = (spec.input_shape[1], spec.input_shape[2], spec.in_chans)
    pixels = torch.stack([torch.from_numpy(np.array(one)).view(shape).permute(2, 0, 1) for one in pictures])
    mean, std = GREY if spec.in_chans == 1 else COLOUR
    if pretrained:
        config: dict[str, Any] = getattr(module, "pretrained_cfg", None) or {}
        mean, std = config.get("mean", mean), config.get("std", std)
    return (pixels.float() / 255 - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def _data(images: Sequence[Path]) -> str:
    """The files by name, and the beginning of the hash of what is in them."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in images)).hexdigest()[:8]
    names = ", ".join(path.name for path in images[:3]) + (", ..." if len(images) > 3 else "")
    return f"{names} ({digest})"
