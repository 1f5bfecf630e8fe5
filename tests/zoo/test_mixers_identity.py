from __future__ import annotations

from functools import partial

import torch
from timm.models.metaformer import MetaFormerBlock

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.build import build
from paretovit.zoo.mixers.identity import Identity
from paretovit.zoo.tokens import Layout, Tokens


def test_gives_the_tokens_as_they_are() -> None:
    x = torch.randn(2, 12, 16)
    assert torch.equal(Identity(16, 4, Layout.of_grid((3, 4)))(Tokens(x, (3, 4))), x)


def test_learns_nothing_and_costs_nothing() -> None:
    mixer = Identity(16, 4, Layout.of_grid((3, 4)))
    assert not mixer.state_dict()
    assert mixer.macs() == 0


def test_a_model_of_it_keeps_patches_apart_until_the_read_out() -> None:
    torch.manual_seed(0)
    stage = Stage(depth=2, dim=16, heads=2, mixer=Part("identity"))
    spec = ModelSpec(name="m", stages=(stage,), readout=Part("mean"), image_px=8, patch_px=4, num_classes=3)
    model = build(spec).eval()
    image = torch.randn(1, 3, 8, 8)
    changed = image.clone()
    changed[..., :4, :4] += 1
    with torch.no_grad():
        moved = (model.forward_features(changed) - model.forward_features(image)).abs().amax(-1)[0]
        assert moved[0] > 1e-3
        assert moved[1:].max() == 0
        assert not torch.equal(model(changed), model(image))


def test_a_block_agrees_with_timms_metaformer() -> None:
    torch.manual_seed(0)
    stage = Stage(depth=1, dim=16, heads=2, mixer=Part("identity"))
    spec = ModelSpec(name="m", stages=(stage,), readout=Part("mean"), image_px=12, patch_px=3, num_classes=3)
    ours = build(spec).eval().stages[0][0]
    theirs = MetaFormerBlock(
        16,
        token_mixer=torch.nn.Identity,
        mlp_act=torch.nn.GELU,
        mlp_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_nchw=False,
        layer_scale_init_value=None,
        res_scale_init_value=None,
    ).eval()
    theirs.norm1.load_state_dict(ours.norm1.state_dict())
    theirs.norm2.load_state_dict(ours.norm2.state_dict())
    theirs.mlp.load_state_dict(ours.mlp.state_dict())
    x = torch.randn(2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(ours(Tokens(x, (4, 4))).x, theirs(x))
