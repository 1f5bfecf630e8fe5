"""The ViX family: X-formers and hybrid X-formers for small images, as specs. No torch.

Paper    Jeevan and Sethi 2022, "Resource-efficient Hybrid X-formers for Vision" (WACV), tables 1 to 6; where text,
         tables and released code differ, what reproduces the printed parameter counts is followed.
Names    `vix_[hybrid_]{vit|vip|vil|vin|fnet|mixer}[_rope]`, `vix_{levit|levip|levil|levin}`,
         `vix_{cct|ccp|ccl|ccn}`, `vix_{cvt|cvp|cvl|cvn}`, `vix_[hybrid_]{pit|pip|pin}`, then `_patch{p}_{image}`.
         The paper's are `_patch1_32` (10 classes, CIFAR-10) and `_patch2_64` (200 classes, Tiny ImageNet).
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import product

from paretovit.spec import ModelSpec, Part, Pixels, Stage, pixels, rows_and_columns

PAPER = "Jeevan & Sethi 2022, Resource-efficient Hybrid X-formers for Vision"
ARXIV = "2107.02239"

DIM, HEADS, HEAD_DIM = 128, 4, 32
CLASSES: dict[Pixels, int] = {64: 200}  # by image size; 10 otherwise

NORM = Part.of("layer_norm", eps=1e-5)

_NAME = re.compile(
    r"vix_(?P<hybrid>hybrid_)?(?P<kind>vi[tpln]|fnet|mixer|levi[tpln]|cc[tpln]|cv[tpln]|pi[tpn])(?P<rope>_rope)?"
    r"_patch(?P<patch>[1-9]\d*)_(?P<image>[1-9]\d*(?:x[1-9]\d*)?)"
)


def _mixers(patches: int, rope: bool) -> dict[str, Part]:
    """The kinds of attention by the last letter of a name: softmax, Performer, Linformer, Nystroem.

    The paper's 64 landmarks and places are for 1,024 patches; where there are fewer than 256, a quarter as many.
    Keys that are turned cannot be the values too, so with rotary positions Linformer has as many as queries.
    """
    few = max(1, min(64, patches // 4))
    one = {} if rope else {"key_heads": 1}
    return {
        "t": Part.of("attention", head_dim=HEAD_DIM, qkv_bias=False),
        "p": Part.of("performer", head_dim=HEAD_DIM, features=110),
        "l": Part.of("linformer", head_dim=HEAD_DIM, length=few, sharing="keys_as_values", qkv_bias=False, **one),
        "n": Part.of("nystromformer", head_dim=HEAD_DIM, landmarks=few, conv=33, pad=True, qkv_bias=False),
    }


def vix_spec(name: str) -> ModelSpec | None:
    """The spec of a name of the family, None for other names."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    kind, hybrid, rope = match["kind"], bool(match["hybrid"]), bool(match["rope"])
    family = kind if kind in ("fnet", "mixer") else kind[:-1]
    if (hybrid and family not in ("vi", "fnet", "mixer", "pi")) or (rope and family != "vi"):
        return None
    image, patch = pixels(match["image"]), int(match["patch"])
    patches = math.prod(side // patch for side in rows_and_columns(image))
    mixer = Part("fnet") if kind == "fnet" else _mixers(patches, rope).get(kind[-1], Part("mlp_mixer"))
    spec = ModelSpec(
        name=name,
        stages=(Stage(depth=4, dim=DIM, heads=HEADS, mixer=mixer, mlp=Part.of("mlp", hidden=256)),),
        stem=Part("conv") if hybrid else Part("patch"),
        position=Part.of("learned", std=1.0),
        norm=NORM,
        final_norm=NORM,
        init="torch",
        image_px=image,
        patch_px=patch,
        num_classes=CLASSES.get(image, 10),
    )
    return _FAMILIES[family](replace(spec, position=Part("rotary")) if rope else spec)


def names() -> list[str]:
    """The 62 models of the paper's six tables, in their order."""
    plain = ["vit", "vip", "vil", "vin", "fnet", "mixer"]
    sizes = ("_patch1_32", "_patch2_64")
    first = [f"vix_{h}{k}{size}" for size in sizes for h, k in product(("", "hybrid_"), plain)]
    second = [f"vix_{f}{k}{size}" for size in sizes for f, k in product(("levi", "cc", "cv"), "tpln")]
    third = [f"vix_{h}{k}_patch1_32" for h, k in product(("", "hybrid_"), ("pit", "pin", "pip"))]
    fourth = [f"vix_{h}{k}_rope_patch1_32" for h, k in product(("", "hybrid_"), plain[:4])]
    return [*first, *second, *third, *fourth]


def _stage(spec: ModelSpec, **changes: object) -> ModelSpec:
    return replace(spec, stages=(replace(spec.stages[0], **changes),))  # type: ignore[arg-type]


def _plain(spec: ModelSpec) -> ModelSpec:
    return spec


def _mixer(spec: ModelSpec) -> ModelSpec:
    spec = replace(spec, position=Part("absent"), readout=Part.of("mean", norm_first=True))
    return _stage(spec, mixer=Part.of("mlp_mixer", ratio=1.0), mlp=Part.of("mlp", hidden=DIM))


def _without_class_token(spec: ModelSpec) -> ModelSpec:
    return replace(spec, position=Part("absent"), readout=Part("mean"), final_norm=Part("absent"))


def _levi(spec: ModelSpec) -> ModelSpec:
    spec = replace(_without_class_token(spec), stem=Part("conv"), norm=Part("absent"))
    return (
        _stage(spec, mixer=Part.of("levit_attention", out_bias=True))
        if spec.stages[0].mixer.name == "attention"
        else spec
    )


def _cc(spec: ModelSpec) -> ModelSpec:
    spec = replace(
        spec,
        stem=Part.of("conv", widths=(64, 64), bias=False, act="relu", pool=True),
        position=Part.of("learned", std=0.2),
        readout=Part("sequence_pooling"),
        mlp_residual="normed",
        init="compact",
    )
    return _stage(spec, mlp=Part.of("mlp", hidden=512))


def _cv(spec: ModelSpec) -> ModelSpec:
    spec = replace(
        _without_class_token(spec),
        stem=Part.of("conv", widths=(), norm="channel_norm"),
        norm=Part("channel_norm"),
    )
    if spec.stages[0].mixer.name == "attention":
        spec = _stage(spec, mixer=Part.of("conv_attention", head_dim=64, stride=1, shared_kv=True, qkv_bias=False))
    embed = Part.of("conv_embed", stride=1, norm="channel_norm")
    one = replace(spec.stages[0], depth=1)
    return replace(spec, stages=(one, replace(one, between=embed), replace(one, between=embed, depth=2)))


def _pi(spec: ModelSpec) -> ModelSpec:
    first = replace(spec.stages[0], depth=2)
    second = replace(first, dim=2 * DIM, between=Part.of("conv_pool", pointwise=True))
    return replace(spec, stages=(first, second))


_FAMILIES = {"vi": _plain, "fnet": _plain, "mixer": _mixer, "levi": _levi, "cc": _cc, "cv": _cv, "pi": _pi}
