"""Stems, norms, read-outs and what lies between stages: the parts of a model around its blocks."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from paretovit.cost.counting import count_module
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.between.conv_embed import ConvEmbed
from paretovit.zoo.between.conv_pool import ConvPool
from paretovit.zoo.build import build
from paretovit.zoo.norms.channel_norm import ChannelNorm
from paretovit.zoo.readouts.sequence_pooling import SequencePooling
from paretovit.zoo.stems.conv import Conv
from paretovit.zoo.tokens import Layout, Tokens


def small(**changes: object) -> ModelSpec:
    stage = Stage(depth=1, dim=16, heads=2)
    return ModelSpec(name="m", stages=(stage,), image_px=8, patch_px=2, num_classes=5, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("patch", "strides"),
    [(1, (1, 1, 1)), (2, (2, 1, 1)), (4, (2, 2, 1)), (16, (4, 2, 2)), (14, (7, 2, 1)), (12, (3, 2, 2))],
)
def test_the_patch_is_dealt_to_the_strides_of_the_convolutions(patch: int, strides: tuple[int, ...]) -> None:
    stem = Conv(3, 8, 2 * patch, patch)
    convs = [m for m in stem.convs if isinstance(m, nn.Conv2d)]
    assert tuple(conv.stride[0] for conv in convs) == strides
    assert all(conv.kernel_size[0] >= conv.stride[0] for conv in convs)
    assert stem(torch.randn(1, 3, 2 * patch, 2 * patch)).shape == (1, 4, 8)


def test_a_conv_stem_gives_rows_after_one_another() -> None:
    stem = Conv(3, 8, 6, 2, widths=(4,), act="relu", pool=True, bias=False)
    image = torch.randn(2, 3, 6, 6)
    first, second = (m for m in stem.convs if isinstance(m, nn.Conv2d))
    seen = F.max_pool2d(F.conv2d(image, first.weight, stride=2, padding=1).relu(), 3, 1, 1)
    seen = F.max_pool2d(F.conv2d(seen, second.weight, padding=1).relu(), 3, 1, 1)
    torch.testing.assert_close(stem(image), seen.flatten(2).mT)


@pytest.mark.parametrize("options", [{}, {"widths": ()}, {"act": "gelu", "kernel": 5}, {"norm": "layer_norm"}])
@pytest.mark.parametrize("patch", [1, 4])
def test_a_conv_stem_states_the_macs_that_are_counted(options: dict[str, object], patch: int) -> None:
    stem = Conv(3, 8, 8, patch, **options)  # type: ignore[arg-type]
    assert count_module(stem, torch.randn(1, 3, 8, 8)).macs == stem.macs()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": (2, 2, 2)}, "multiply to the patch 4"),
        ({"strides": (4,)}, "3 strides"),
        ({"kernel": 4}, "kernel must be odd"),
        ({"act": "tanh"}, "none, relu, gelu"),
    ],
)
def test_a_conv_stem_that_does_not_fit_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Conv(3, 8, 8, 4, **options)  # type: ignore[arg-type]


def test_channel_norm_divides_by_the_deviation_plus_eps() -> None:
    norm = ChannelNorm(2, eps=1.0)
    nn.init.constant_(norm.gain, 3.0)
    # mean 4, deviation 2
    torch.testing.assert_close(norm(torch.tensor([[[2.0, 6.0]]])), torch.tensor([[[-2.0, 2.0]]]))


def test_sequence_pooling_weighs_tokens_by_a_softmax() -> None:
    readout = SequencePooling(4)
    x = torch.randn(2, 5, 4)
    weights = (x @ readout.weigh.weight[0] + readout.weigh.bias).exp()
    expected = (weights[..., None] * x).sum(1) / weights.sum(1, keepdim=True)
    torch.testing.assert_close(readout(Tokens(x)), expected)


def test_sequence_pooling_hears_a_token_as_often_as_the_patches_it_stands_for() -> None:
    readout, x = SequencePooling(4), torch.randn(1, 3, 4)
    twice = torch.cat((x, x[:, :1]), dim=1)
    merged = Tokens(x, size=torch.tensor([[2.0, 1.0, 1.0]]))
    torch.testing.assert_close(readout(merged), readout(Tokens(twice)))


def test_conv_pool_is_that_of_pit() -> None:
    peer = timm.create_model("pit_ti_224").transformers[1].pool
    ours = ConvPool(64, 128, Layout.of_grid((5, 7), prefix=1))
    ours.conv.load_state_dict(peer.conv.state_dict())
    assert ours.prefix is not None
    ours.prefix.load_state_dict(peer.fc.state_dict())
    x = torch.randn(2, 36, 64)
    wanted, prefix = peer(x[:, 1:].mT.unflatten(2, (5, 7)), x[:, :1])
    out = ours(Tokens(x, (5, 7), 1))
    torch.testing.assert_close(out.x, torch.cat((prefix, wanted.flatten(2).mT), 1))
    assert out.grid == ours.after().grid == (3, 4)


@pytest.mark.parametrize(
    "between",
    [
        ConvPool(8, 16, Layout.of_grid((5, 7), 1), pointwise=True),
        ConvPool(8, 8, Layout.of_grid((5, 7))),
        ConvEmbed(8, 12, Layout.of_grid((5, 7)), stride=3, norm="channel_norm"),
    ],
    ids=lambda between: type(between).__name__,
)
def test_what_lies_between_stages_states_its_macs_and_its_layout(between: ConvPool | ConvEmbed) -> None:
    tokens = Tokens(torch.randn(1, between.layout.num_tokens, 8), (5, 7), between.layout.prefix)

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.between = between

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.between(tokens.with_x(x)).x

    assert count_module(Bare(), tokens.x).macs == between.macs()
    out, after = between(tokens), between.after()
    assert out.x.shape == (1, after.num_tokens, between.dim_out)
    assert out.grid == after.grid


def test_conv_embed_convolves_the_grid() -> None:
    embed = ConvEmbed(4, 6, Layout.of_grid((5, 3)), norm="absent")
    x = torch.randn(2, 15, 4)
    wanted = F.conv2d(x.mT.reshape(2, 4, 5, 3), embed.conv.weight, embed.conv.bias, stride=2, padding=1)
    torch.testing.assert_close(embed(Tokens(x, (5, 3))).x, wanted.flatten(2).mT)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: ConvEmbed(4, 4, Layout.of_grid((4, 4), 1)), "cannot carry class tokens"),
        (lambda: ConvEmbed(4, 4, Layout(None, 16, 0)), "needs tokens on a grid"),
        (lambda: ConvEmbed(4, 4, Layout.of_grid((4, 4)), kernel=4), "kernel must be odd"),
        (lambda: ConvPool(4, 6, Layout.of_grid((4, 4))), "4 does not divide the next stage's 6"),
        (lambda: ConvPool(4, 8, Layout.of_grid((4, 4)), stride=0), "stride at least 1"),
    ],
)
def test_stages_that_cannot_follow_one_another_are_refused(made: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made()  # type: ignore[operator]


def test_the_normed_tokens_go_on_in_place_of_the_tokens() -> None:
    torch.manual_seed(0)
    model = build(small(mlp_residual="normed", readout=Part("mean"), final_norm=Part("absent")), num_classes=0).eval()
    (block,) = model.stages[0]
    image = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        x = model.position(model.stem(image))
        tokens = Tokens(x, (4, 4))
        x = block.norm2(x + block.mixer(tokens.with_x(block.norm1(x))))
        torch.testing.assert_close(model(image), (x + block.mlp(tokens.with_x(x))).mean(1))


def test_a_model_without_norms_has_none() -> None:
    model = build(small(norm=Part("absent"), final_norm=Part("absent")))
    assert not any(isinstance(m, nn.LayerNorm) for m in model.modules())
    assert model.reset_classifier(3) is None
    assert model(torch.randn(1, 3, 8, 8)).shape == (1, 3)


def test_weights_are_drawn_as_the_spec_says() -> None:
    torch.manual_seed(0)
    torch_like = build(small(init="torch"))
    assert 0.5 < torch_like.class_token.std() < 2
    assert torch_like.head.bias.abs().max() > 0
    compact = build(small(init="compact", readout=Part("sequence_pooling")))
    linears = [m for m in compact.modules() if isinstance(m, nn.Linear)]
    assert all(abs(m.weight.std() - 0.02) < 0.01 for m in linears)
    assert not any(m.bias.any() for m in linears if m.bias is not None)
    with pytest.raises(UserError, match="unknown init 'torhc'; did you mean torch"):
        build(small(init="torhc"))


def test_timm_finds_the_first_convolution_whatever_the_stem() -> None:
    for stem in ("patch", "conv"):
        model = build(small(stem=Part(stem)))
        assert isinstance(model.get_submodule(model.default_cfg["first_conv"]), nn.Conv2d)
