"""Attention maps against the plainest code: weights worked out by hand from each model's own queries and keys."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.attention_maps import AttentionMap, attention_maps
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build

PLAIN = Part("attention")


def spec_of(mixer: Part = PLAIN, **changes: Any) -> ModelSpec:
    values: dict[str, Any] = {"stages": (Stage(depth=2, dim=16, heads=2, mixer=mixer),)} | changes
    return ModelSpec(name="tiny", image_px=12, patch_px=4, num_classes=5, **values)


def noisy(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    return module.eval()


def seen(module: nn.Module, px: int = 12) -> list[AttentionMap]:
    found: list[AttentionMap] = []
    images = torch.randn(2, 3, px, px, generator=torch.Generator().manual_seed(1))
    logits = attention_maps(module, images, found.append)
    with torch.no_grad():
        torch.testing.assert_close(logits, module(images))
    return found


def inputs_of(modules: list[nn.Module], model: nn.Module, px: int) -> list[Any]:
    """What each of the modules is given."""
    taken: list[Any] = []
    handles = [m.register_forward_pre_hook(lambda _, args, kw: taken.append((args, kw)), with_kwargs=True)
               for m in modules]  # fmt: skip
    with torch.no_grad():
        model(torch.randn(2, 3, px, px, generator=torch.Generator().manual_seed(1)))
    for handle in handles:
        handle.remove()
    return taken


def naive(q: Tensor, k: Tensor) -> Tensor:
    """Row by row, for q and k (B, H, N, K)."""
    maps = torch.zeros(*q.shape[:2], q.shape[2], k.shape[2])
    for at in range(q.shape[2]):
        scores = torch.exp((q[:, :, at : at + 1] * k).sum(-1) / q.shape[-1] ** 0.5)
        maps[:, :, at] = scores / scores.sum(-1, keepdim=True)
    return maps


@pytest.mark.parametrize("position", ["learned", "rotary"])
@pytest.mark.parametrize("fused", [True, False])
def test_ours_agree_with_queries_and_keys_taken_by_hand(position: str, fused: bool) -> None:
    mixer = Part("attention") if fused else Part.of("attention", fused=False)
    model = noisy(build(spec_of(mixer, position=Part(position))))
    assert isinstance(model, Backbone)
    mixers = [block.mixer for block in model.stages[0]]
    given = inputs_of(mixers, model, 12)
    found = seen(model)
    assert [(one.layer, one.prefix, one.grid) for one in found] == [(0, 1, (3, 3)), (1, 1, (3, 3))]
    for one, mixer_, (args, _) in zip(found, mixers, given, strict=True):
        q, k, _ = mixer_._qkv(args[0])
        torch.testing.assert_close(one.weights, naive(q.detach(), k.detach()))
        assert mixer_.fused == fused


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_timms_agree_with_its_own_unfused_attention(name: str) -> None:
    model = noisy(timm.create_model(name, img_size=48, num_classes=5, depth=2))
    for block in model.blocks:
        block.attn.fused_attn = False  # then the map passes through attn_drop
    taken = [args[0] for args, _ in inputs_of([block.attn.attn_drop for block in model.blocks], model, 48)]
    for one, wanted in zip(seen(model, 48), taken, strict=True):
        torch.testing.assert_close(one.weights, wanted)
        assert (one.grid, one.prefix) == ((3, 3), model.num_prefix_tokens)
    assert not model.blocks[0].attn.fused_attn


def test_rotary_positions_of_eva_are_in_its_maps() -> None:
    model = noisy(timm.create_model("eva02_tiny_patch14_224", img_size=42, num_classes=5, depth=2))
    for block in model.blocks:
        block.attn.fused_attn = False
    taken = [args[0] for args, _ in inputs_of([block.attn.attn_drop for block in model.blocks], model, 42)]
    for one, wanted in zip(seen(model, 42), taken, strict=True):
        torch.testing.assert_close(one.weights, wanted)


def test_rows_sum_to_one_also_with_biases_and_merged_tokens() -> None:
    biased = spec_of(Part("relative_attention"), readout=Part("mean"))
    merged = spec_of(stages=(Stage(depth=2, dim=16, heads=2, sequence=Part.of("tome", r=2)),))
    for spec in (biased, merged):
        found = seen(noisy(build(spec)))
        for one in found:
            torch.testing.assert_close(one.weights.sum(-1), torch.ones(one.weights.shape[:-1]))
    assert found[0].grid == (3, 3)
    assert found[1].grid is None
    assert found[1].weights.shape[-1] == 8


@pytest.mark.parametrize("mixer", ["linformer", "focal", "identity", "shifted_window", "nystromformer", "performer"])
def test_a_mixer_without_a_map_is_named(mixer: str) -> None:
    model = build(spec_of(Part(mixer), readout=Part("mean")))
    with pytest.raises(UserError, match=f"layer 0 mixes its tokens by {mixer.title().replace('_', '')[:5]}"):
        attention_maps(model, torch.randn(1, 3, 12, 12), lambda one: None)


def test_a_model_without_one_sequence_of_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="ResNet has no list of blocks"):
        attention_maps(timm.create_model("resnet18"), torch.randn(1, 3, 32, 32), lambda one: None)


def test_a_block_that_is_shared_is_a_layer_each_time() -> None:
    shared = spec_of(stages=(Stage(depth=3, dim=16, heads=2, share=True),))
    assert [one.layer for one in seen(noisy(build(shared)))] == [0, 1, 2]
