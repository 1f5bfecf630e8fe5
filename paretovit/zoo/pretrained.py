"""Weights and the network that they are of: what a network costs, it costs with any weights. No torch."""

from __future__ import annotations

from dataclasses import replace

from paretovit.spec import ModelSpec, Part
from paretovit.zoo.catalog import entries, timm_spec


def has_weights_named(spec: ModelSpec) -> bool:
    """Whether the spec names a set of timm's weights, as `resnet50.a1_in1k` does, not just their network."""
    return "." in _architecture(spec)


def network(spec: ModelSpec) -> ModelSpec:
    """The spec without the name of weights: of `resnet50.a1_in1k`, timm's `resnet50` at the same size.

    Where the catalog has timm's name for a model on our skeleton, as with `vit_tiny_patch16_224`, it is that one:
    the same network, for timm's weights load into it.
    """
    plain = _architecture(spec).split(".")[0]
    if not plain or spec.whole is None:
        return spec
    whole = Part.of("timm", **(dict(spec.whole.options) | {"architecture": plain}))
    spec = replace(spec, name=plain, whole=whole)
    own = entries().get(plain)
    if own is None or len(whole.options) > 1:
        return spec
    sizes = [(s.image_px, s.in_chans, s.num_classes, s.transforms) for s in (own.spec, spec)]
    return own.spec if sizes[0] == sizes[1] else spec


def as_timm_names_it(spec: ModelSpec) -> ModelSpec:
    """The spec under which timm's own tables have the network, which differs from ours where it is on our skeleton."""
    ours = network(spec)
    if ours.whole is not None:
        return ours
    theirs = timm_spec(ours.name, image_px=ours.image_px, in_chans=ours.in_chans, num_classes=ours.num_classes)
    return theirs if network(theirs).key == ours.key else ours


def _architecture(spec: ModelSpec) -> str:
    if spec.whole is None or spec.whole.name != "timm":
        return ""
    return str(dict(spec.whole.options).get("architecture", ""))
