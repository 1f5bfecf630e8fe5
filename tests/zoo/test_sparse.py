"""Masks: what they take stays zero, whatever is done to the model."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.optim import create_optimizer_v2
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import load_model, save_model
from paretovit.zoo.layers import block_of, weight_matrices, weight_matrix
from paretovit.zoo.masked import Masked, MaskedLinear
from paretovit.zoo.patterns import Pattern
from paretovit.zoo.transforms.sparse import mask_layer

LAYERS = ("stages.0.0.mixer.qkv", "stages.0.0.mlp.fc1", "stages.0.0.mlp.fc2")
DENSE = ModelSpec(
    name="small", stages=(Stage(depth=2, dim=16, heads=2),), image_px=8, patch_px=4, in_chans=1, num_classes=4
)
SPEC = replace(DENSE, transforms=(Part.of("sparse", layers=LAYERS),))


def masked(model: nn.Module) -> dict[str, Masked]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Masked)}


def stray(model: nn.Module) -> int:
    return sum(int((module.weight[~module.weight_mask] != 0).sum()) for module in masked(model).values())


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(4, 1, 8, 8)).logsumexp(1).sum().backward()
    optimizer.step()


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([f"{n}:{m}" for m in (2, 4, 8) for n in range(1, m)]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2**31),
)
def test_a_mask_keeps_the_highest_scores_of_every_group_and_no_more(text, rows, groups, seed):
    pattern = Pattern.of(text)
    scores = torch.randint(0, 5, (rows, groups * pattern.group), generator=torch.Generator().manual_seed(seed)).float()
    mask = pattern.mask(scores)
    for kept, group in zip(mask.view(-1, pattern.group), scores.view(-1, pattern.group), strict=True):
        assert kept.sum() == pattern.kept
        assert sorted(group[kept].tolist()) == sorted(group.tolist())[-pattern.kept :]
    assert pattern.holds(mask)
    assert not pattern.holds(torch.ones_like(mask))


@pytest.mark.parametrize("text", ["2:3", "4:4", "0:4", "5:4", "2", "a:b", "1:16", "2:4:8", "-1:4"])
def test_other_patterns_are_refused(text):
    with pytest.raises(UserError, match="2:4"):
        Pattern.of(text)


def test_a_spec_builds_a_model_with_two_of_every_four_weights():
    model = build(SPEC)
    assert tuple(masked(model)) == LAYERS
    assert all(Pattern(2, 4).holds(module.weight != 0) for module in masked(model).values())
    assert isinstance(model.get_submodule(LAYERS[1]), MaskedLinear)
    assert weight_matrices(model).keys() == weight_matrices(build(DENSE)).keys()


@pytest.mark.parametrize("opt", ["adamw", "sgd", "lamb", "lion", "adamp", "adafactor"])
def test_pruned_weights_stay_zero_in_every_step_and_others_learn(opt):
    torch.manual_seed(0)
    model = build(SPEC).train()
    before = {name: module.weight.clone() for name, module in masked(model).items()}
    optimizer = create_optimizer_v2(model, opt=opt, lr=1e-2, weight_decay=0.1, momentum=0.9)
    for _ in range(3):
        step(model, optimizer)
        assert stray(model) == 0
    for name, module in masked(model).items():
        assert (module.weight != before[name])[module.weight_mask].float().mean() > 0.9


def test_what_an_optimizer_mixes_is_masked_again_before_it_is_judged_or_saved():
    model = build(SPEC).train()
    optimizer = create_optimizer_v2(model, opt="muon", lr=1e-2)
    step(model, optimizer)
    assert stray(model) > 0
    saved = copy.deepcopy(model)
    saved.state_dict()
    assert stray(saved) == 0
    assert stray(model.eval()) == 0


def test_a_copy_of_a_model_is_trained_with_its_masks():
    model = copy.deepcopy(build(SPEC)).train()
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-2)
    step(model, optimizer)
    assert stray(model) == 0
    assert all((module.weight.grad[~module.weight_mask] == 0).all() for module in masked(model).values())


def test_pruned_zeros_have_no_sign():
    module = nn.Linear(4, 1, bias=False)
    module.weight.data = torch.tensor([[-1.0, -2, -3, -4]])
    mask_layer("a", module, Pattern(2, 4))
    assert module.weight.signbit().tolist() == [[False, False, True, True]]


def test_a_checkpoint_holds_masks_and_comes_back(tmp_path):
    model = build(SPEC)
    save_model(tmp_path, SPEC, model)
    again = build(str(tmp_path))
    spec, _ = load_model(tmp_path)
    assert spec == SPEC
    for name, module in masked(again).items():
        assert torch.equal(module.weight_mask, model.get_submodule(name).weight_mask)
        assert torch.equal(module.weight, model.get_submodule(name).weight)


def test_masks_that_do_not_fit_are_refused():
    state, key = build(SPEC).state_dict(), f"{LAYERS[0]}.weight_mask"
    with pytest.raises(UserError, match="does not fit its weights"):
        build(SPEC).load_state_dict(state | {key: state[key].flip(1)})
    with pytest.raises(UserError, match="is not 2:4 sparse"):
        build(SPEC).load_state_dict(state | {key: torch.ones_like(state[key])})


def test_a_1x1_convolution_is_a_linear_map_and_others_are_not():
    conv = nn.Conv2d(8, 4, 1)
    matrix = weight_matrix(conv)
    assert matrix is not None
    assert matrix.shape == (4, 8)
    mask_layer("conv", conv, Pattern(2, 4))
    assert conv.weight.shape == (4, 8, 1, 1)
    assert Pattern(2, 4).holds((conv.weight != 0).flatten(1))
    for other in (
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Conv2d(8, 4, 3),
        nn.LayerNorm(8),
        nn.MultiheadAttention(8, 2).out_proj,
    ):
        assert weight_matrix(other) is None


def test_what_cannot_be_sparse_is_said():
    model = build(DENSE)
    with pytest.raises(UserError, match="6 wide, which 4 does not divide"):
        mask_layer("a", nn.Linear(6, 4), Pattern(2, 4))
    with pytest.raises(UserError, match="is a LayerNorm"):
        mask_layer("norm", model.norm, Pattern(2, 4))
    mask_layer("head", model.head, Pattern(2, 4))
    with pytest.raises(UserError, match="masked already"):
        mask_layer("head", model.head, Pattern(2, 4))
    with pytest.raises(UserError, match="no layer nowhere"):
        build(replace(DENSE, transforms=(Part.of("sparse", layers=("nowhere",)),)))


def test_blocks_are_numbered_through_the_depth():
    numbers = block_of(build("vix_hybrid_pin_patch1_32", device="meta"))
    assert numbers["stages.0.0.mlp.fc1"] == 0
    assert numbers["stages.1.1.mlp.fc2"] == 3
    assert "head" not in numbers
    swin = block_of(build("swin_tiny_patch4_window7_224", device="meta"))
    assert max(swin.values()) == 11
    assert not any("downsample" in name for name in swin)
