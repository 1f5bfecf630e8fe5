"""The six factors that a plain vision transformer is scaled by, read off a spec and put into one. No torch.

Paper    Anonymous 2021, "An Investigation on Hardware-Aware Vision Transformer Scaling", sec. 3.1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part

# by the field of `Factors`: title, and the letter that the paper has for it
TITLES = {
    "layers": ("layers", "d"),
    "heads": ("heads", "h"),
    "head_dim": ("head width", "e"),
    "ratio": ("MLP ratio", "r"),
    "image_px": ("image", "I"),
    "patch_px": ("patch", "p"),
}


class Factors(NamedTuple):
    """Layers d, heads h, width per head e, MLP ratio r, image I and patch p in pixels."""

    layers: int
    heads: int
    head_dim: int
    ratio: int
    image_px: int
    patch_px: int = 16

    def __str__(self) -> str:
        """ "d12 h3 e64 r4 I224 p16", as the paper abbreviates them."""
        return " ".join(f"{letter}{getattr(self, name)}" for name, (_, letter) in TITLES.items())


def factors_of(spec: ModelSpec) -> Factors:
    """Raises `UserError` for a model that does not have these six factors: one stage on the skeleton, square images."""
    if spec.whole is not None or len(spec.stages) != 1:
        raise UserError(
            f"{spec.name} cannot be scaled by factors: it takes a model of one stage on the skeleton, such as "
            "deit_scaled_start or vit_tiny_patch16_224"
        )
    (stage,) = spec.stages
    if stage.width is not None:
        raise UserError(f"{spec.name} cannot be scaled by factors: its blocks have another width than its tokens")
    options = dict(stage.mlp.options) if stage.mlp is not None else {}
    ratio = options.get("ratio", 4.0)
    if stage.mlp is None or "hidden" in options or ratio != int(ratio):
        raise UserError(f"{spec.name} cannot be scaled by factors: its MLP has no whole ratio to its width")
    return Factors(stage.depth, stage.heads, stage.dim // stage.heads, int(ratio), spec.square_px, spec.patch_px)


def with_factors(spec: ModelSpec, factors: Factors) -> ModelSpec:
    """The model with these factors, under a name that tells them: "vit d12 h3 e64 r4 I224 p16"."""
    own, (stage,) = factors_of(spec), spec.stages
    mlp = stage.mlp
    if mlp is not None and factors.ratio != own.ratio:
        mlp = Part.of(mlp.name, **(dict(mlp.options) | {"ratio": float(factors.ratio)}))
    made = replace(stage, depth=factors.layers, heads=factors.heads, dim=factors.heads * factors.head_dim, mlp=mlp)
    name = f"{spec.name.removesuffix(f' {own}')} {factors}"
    return replace(spec, name=name, stages=(made,), image_px=factors.image_px, patch_px=factors.patch_px)
