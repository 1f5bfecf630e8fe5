"""CvT, ResT, Wave-ViT and CCT: what is peculiar to them, and the parts that they brought along."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.cost.counting import count_module
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.between.conv_embed import ConvEmbed
from paretovit.zoo.between.conv_pool import ConvPool
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.mixers._haar import haar, inverse_haar
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.mixers.conv_attention import ConvAttention
from paretovit.zoo.mixers.spatial_reduction import SpatialReduction
from paretovit.zoo.mixers.wavelet_attention import WaveletAttention
from paretovit.zoo.mlps.conv_mlp import ConvMlp
from paretovit.zoo.norms.batch_norm import BatchNorm
from paretovit.zoo.positions.pixel_attention import PixelAttention
from paretovit.zoo.readouts.class_attention import ClassAttention
from paretovit.zoo.stems.conv import Conv
from paretovit.zoo.tokens import Layout, Tokens


def params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def scrambled(module: nn.Module) -> nn.Module:
    """In double precision, with every parameter and statistic away from where it starts, so that each one shows."""
    torch.manual_seed(3)
    module = module.double().eval()
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.add_(0.2 * torch.randn_like(tensor))
        for name, tensor in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                tensor.add_(torch.rand_like(tensor))
    return module


# 7 x 7 with stride 2 and max-pooling
RESNET_STEM = {
    "widths": (),
    "strides": (2,),
    "kernel": 7,
    "bias": False,
    "batch_norm": True,
    "act": "relu",
    "pool": True,
    "pool_stride": 2,
}


# The Haar transform


@pytest.mark.parametrize(("rows", "columns"), [(6, 4), (5, 4), (6, 3), (7, 5), (1, 1)])
def test_the_inverse_haar_transform_gives_back_the_map(rows: int, columns: int) -> None:
    image = torch.randn(2, 3, rows, columns, dtype=torch.float64)
    bands = haar(image)
    assert bands.shape == (2, 12, -(-rows // 2), -(-columns // 2))
    torch.testing.assert_close(inverse_haar(bands, rows, columns), image, rtol=0, atol=1e-14)


def test_the_haar_transform_keeps_lengths_and_angles() -> None:
    a, b = torch.randn(2, 1, 1, 4, 6, dtype=torch.float64)
    torch.testing.assert_close((haar(a) * haar(b)).sum(), (a * b).sum())


def test_the_sub_bands_are_mean_rows_columns_and_diagonal() -> None:
    block = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]])
    # (1+2+4+8)/2, ((1+2)-(4+8))/2, ((1+4)-(2+8))/2, ((1+8)-(2+4))/2
    assert haar(block).flatten().tolist() == [7.5, -4.5, -2.5, 1.5]


def test_the_sub_bands_are_strided_convolutions_with_the_filters_of_haar() -> None:
    image, low, high = torch.randn(2, 3, 6, 4), torch.tensor([1.0, 1.0]) / 2**0.5, torch.tensor([1.0, -1.0]) / 2**0.5
    bands = haar(image).unflatten(1, (4, 3))
    for i, (down, across) in enumerate([(low, low), (high, low), (low, high), (high, high)]):
        kernel = torch.outer(down, across).expand(3, 1, 2, 2)
        torch.testing.assert_close(bands[:, i], F.conv2d(image, kernel, stride=2, groups=3))


# Mixers, MLP, places, norm


def test_attention_to_a_map_of_ratio_1_with_heads_apart_is_plain_attention() -> None:
    layout, tokens = Layout.of_grid((3, 4)), Tokens(torch.randn(2, 12, 8), (3, 4))
    ours, plain = SpatialReduction(8, 2, layout, ratio=1, mix_heads=False), Attention(8, 2, layout)
    plain.qkv.weight.data = torch.cat((ours.q.weight, ours.kv.weight))
    plain.qkv.bias.data = torch.cat((ours.q.bias, ours.kv.bias))
    plain.proj.load_state_dict(ours.proj.state_dict())
    torch.testing.assert_close(ours(tokens), plain(tokens))


def test_mixed_heads_are_normed_as_by_torchs_instance_norm() -> None:
    ours = SpatialReduction(8, 2, Layout.of_grid((3, 4)), ratio=1)
    x = torch.randn(2, 12, 8)
    q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (ours.q(x), *ours.kv(x).chunk(2, dim=-1)))
    weights = nn.InstanceNorm2d(2)(ours.mix(q @ k.mT / 2).softmax(-1))  # a head is 4 wide
    wanted = ours.proj((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(ours(Tokens(x, (3, 4))), wanted, rtol=1e-4, atol=1e-5)


def test_mixed_heads_lose_little_in_half_precision() -> None:
    """Weights that are nearly even: rounded before their mean is taken off, little of them would be left."""
    torch.manual_seed(2)
    ours, x = SpatialReduction(8, 2, Layout.of_grid((16, 16)), ratio=1), 3 + torch.randn(1, 256, 8)
    whole = ours(Tokens(x, (16, 16)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = ours(Tokens(x, (16, 16)))
    assert (half - whole).abs().max() < 0.03 * whole.abs().max()


def test_a_single_token_can_attend_to_itself() -> None:
    for mixer in (SpatialReduction, WaveletAttention):
        tokens = Tokens(torch.randn(2, 1, 8), (1, 1))
        assert mixer(8, 2, Layout.of_grid((1, 1)), ratio=1).eval()(tokens).isfinite().all()


def test_the_convolution_of_an_mlp_is_over_the_grid_and_passes_class_tokens_by() -> None:
    mlp, x = ConvMlp(4, Layout.of_grid((3, 5), 1), hidden=6), torch.randn(2, 16, 4)
    inner = mlp.fc1(x)
    image = mlp.conv(inner[:, 1:].mT.reshape(2, 6, 3, 5)).flatten(2).mT
    wanted = mlp.fc2(F.gelu(torch.cat((inner[:, :1], image), dim=1)))
    torch.testing.assert_close(mlp(Tokens(x, (3, 5), 1)), wanted)


def test_pixel_attention_weighs_patches_and_leaves_class_tokens() -> None:
    position, x = PixelAttention(4, Layout.of_grid((3, 5), 1)), torch.randn(2, 16, 4)
    image = x[:, 1:].mT.reshape(2, 4, 3, 5)
    wanted = image * F.conv2d(image, position.conv.weight, position.conv.bias, padding=1, groups=4).sigmoid()
    torch.testing.assert_close(position(x), torch.cat((x[:, :1], wanted.flatten(2).mT), dim=1))


def test_batch_norm_of_tokens_is_that_of_the_map() -> None:
    ours, peer, x = BatchNorm(4), nn.BatchNorm2d(4), 3 + 2 * torch.randn(2, 15, 4)
    for _ in range(2):
        wanted = peer(x.mT.reshape(2, 4, 3, 5)).flatten(2).mT
        torch.testing.assert_close(ours(x), wanted)
    torch.testing.assert_close(ours.eval()(x), peer.eval()(x.mT.reshape(2, 4, 3, 5)).flatten(2).mT)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: ConvMlp(8, Layout(None, 6, 0)), "needs tokens on a grid"),
        (lambda: ConvMlp(8, Layout.of_grid((2, 3)), kernel=2), "kernel must be odd"),
        (lambda: PixelAttention(8, Layout(None, 6, 0)), "needs tokens on a grid"),
        (lambda: SpatialReduction(8, 2, Layout.of_grid((2, 3)), ratio=0), "ratio must be at least 1"),
        (lambda: SpatialReduction(8, 2, Layout.of_grid((1, 2)), ratio=3), "leaves nothing"),
        (lambda: WaveletAttention(6, 2, Layout.of_grid((2, 3))), "4 divides"),
        (lambda: ClassAttention(8, heads=3), "3 heads do not divide the width 8"),
        (lambda: ClassAttention(8, heads=2, depth=0), "depth must be at least 1"),
        (lambda: ConvEmbed(8, 8, Layout.of_grid((2, 3)), position="rotary"), "rotary turns queries and keys"),
        (lambda: Conv(3, 8, 8, 4, widths=(8,), pool=True, pool_stride=3), "pooling shrinks 9 times"),
        (lambda: Conv(3, 8, 8, 4, widths=(8,), kernel=(3,)), "one or 2 of them"),
        (lambda: Conv(3, 8, 8, 4, widths=(8,), pool=True, pool_stride=2, strides=(2, 2)), "pooling's 4 included"),
    ],
)
def test_parts_that_do_not_fit_are_refused(made: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made()  # type: ignore[operator]


@pytest.mark.parametrize(
    "part",
    [
        SpatialReduction(32, 4, Layout.of_grid((2, 1)), ratio=2),
        ConvAttention(32, 4, Layout.of_grid((2, 1))),
        ConvPool(32, 32, Layout.of_grid((2, 1))),
    ],
    ids=lambda part: type(part).__name__,
)
def test_gradients_on_maps_narrower_than_the_kernel_are_numbers_in_half_precision(part: nn.Module) -> None:
    for _ in range(40):  # torch's own fail in 4 of 5, if freed memory is full of what is no number
        freed = [torch.full((size,), float("nan")) for size in range(64, 9000, 64)]
        del freed
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = part(Tokens(torch.randn(3, 2, 32), (2, 1)))
        (out.x if isinstance(out, Tokens) else out).float().square().sum().backward()
        assert all(p.grad.isfinite().all() for p in part.parameters())
        part.zero_grad()


# Stem, stage transition, read-out


def test_a_conv_stem_may_be_that_of_resnet() -> None:
    stem = Conv(3, 8, 32, 4, **RESNET_STEM)
    conv, norm, *_ = stem.convs
    image = torch.randn(2, 3, 32, 32)
    seen = F.conv2d(image, conv.weight, stride=2, padding=3)
    seen = F.batch_norm(seen, None, None, norm.weight, norm.bias, training=True).relu()
    wanted = F.max_pool2d(seen, 3, 2, 1).flatten(2).mT
    torch.testing.assert_close(stem(image), wanted)
    assert stem.grid == (8, 8)
    assert count_module(stem, image[:1]).macs == stem.macs() == 16 * 16 * 8 * 3 * 49


def test_the_last_convolution_of_a_stem_may_stand_alone() -> None:
    options = {"widths": (4, 4), "strides": (2, 1, 2), "kernel": (5, 3, 3), "batch_norm": True, "act": "relu"}
    stem = Conv(3, 8, 16, 4, **options, bare_last=True)
    kinds = [type(layer).__name__ for layer in stem.convs]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["Conv2d"]
    convs = [layer for layer in stem.convs if isinstance(layer, nn.Conv2d)]
    assert [conv.bias is not None for conv in convs] == [False, False, True]
    assert [conv.kernel_size[0] for conv in convs] == [5, 3, 3]
    assert count_module(stem, torch.randn(1, 3, 16, 16)).macs == stem.macs()


def test_a_stage_transition_norms_convolves_norms_and_places_in_this_order() -> None:
    options = {"bias": False, "norm_first": "layer_norm", "norm": "batch_norm", "position": "pixel_attention"}
    embed = scrambled(ConvEmbed(4, 6, Layout.of_grid((5, 3)), **options))
    x = torch.randn(2, 15, 4, dtype=torch.float64)
    seen = F.conv2d(embed.norm_first(x).mT.reshape(2, 4, 5, 3), embed.conv.weight, stride=2, padding=1)
    wanted = embed.position(embed.norm(seen.flatten(2).mT))
    torch.testing.assert_close(embed(Tokens(x, (5, 3))).x, wanted)
    assert embed.macs() == 3 * 2 * 6 * (4 * 9 + 9)  # 3 x 2 places; the convolution, and the one of the places


def test_a_block_of_class_attention_is_that_of_cait() -> None:
    peer = timm.models.cait.LayerScaleBlockClassAttn(dim=12, num_heads=3, qkv_bias=True, init_values=1.0)
    ours = ClassAttention(12, heads=3)
    peer, ours = scrambled(peer), scrambled(ours)
    (block,) = ours.blocks
    peer.gamma_1.data.fill_(1.0), peer.gamma_2.data.fill_(1.0)
    for name in ("norm1", "norm2"):
        getattr(peer, name).load_state_dict(getattr(block, name).state_dict())
        getattr(peer, name).eps = getattr(block, name).eps
    for name in ("fc1", "fc2"):
        getattr(peer.mlp, name).load_state_dict(getattr(block.mlp, name).state_dict())
    peer.attn.q.load_state_dict(block.q.state_dict())
    peer.attn.proj.load_state_dict(block.proj.state_dict())
    for i, name in enumerate(("k", "v")):
        getattr(peer.attn, name).weight.data = block.kv.weight[12 * i : 12 * (i + 1)]
        getattr(peer.attn, name).bias.data = block.kv.bias[12 * i : 12 * (i + 1)]
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(Tokens(x)), peer(x, x.mean(1, keepdim=True)).squeeze(1))


def test_class_attention_hears_a_token_as_often_as_the_patches_it_stands_for() -> None:
    readout, x = scrambled(ClassAttention(8, heads=2, depth=2)), torch.randn(1, 3, 8, dtype=torch.float64)
    merged = Tokens(x, size=torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(readout(merged), readout(Tokens(torch.cat((x, x[:, :1]), dim=1))))


def test_class_attention_states_the_macs_that_are_counted() -> None:
    readout, layout = ClassAttention(8, heads=2, depth=2, ratio=3.0), Layout.of_grid((2, 3))

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.readout = readout

        def forward(self, x: Tensor) -> Tensor:
            return self.readout(Tokens(x))

    assert count_module(Bare(), torch.randn(1, 6, 8)).macs == readout.macs(layout)


# A class token that comes late


def two_stages(*, joins: int = 1, **changes: object) -> ModelSpec:
    first = Stage(depth=1, dim=8, heads=2)
    second = replace(first, dim=16, between=Part("conv_embed"))
    spec = ModelSpec(name="m", stages=(first, second), image_px=16, patch_px=2, num_classes=5)
    return replace(spec, readout=Part.of("class_token", joins=joins), **changes)


def test_a_class_token_may_join_at_a_later_stage() -> None:
    model = build(two_stages())
    assert model.class_token.shape == (1, 1, 16)
    assert model.position.table.shape == (1, 64, 8)
    assert [stage[0].mixer.layout.num_tokens for stage in model.stages] == [64, 17]
    assert model.forward_features(torch.randn(2, 3, 16, 16)).shape == (2, 17, 16)


def test_methods_that_ask_the_class_token_work_where_it_has_joined() -> None:
    spec = two_stages()
    last = replace(spec.stages[1], depth=3, sequence=Part.of("evit", keep=0.5, blocks=(1,)))
    model = build(replace(spec, stages=(spec.stages[0], last)))
    assert model.forward_features(torch.randn(2, 3, 16, 16)).shape[:2] == (2, 1 + 8)
    with pytest.raises(UserError, match="class token"):
        build(replace(spec, stages=(replace(last, dim=8, between=Part("straight")), spec.stages[1])))


def test_a_class_token_cannot_join_a_stage_that_is_not_there_or_has_no_grid() -> None:
    with pytest.raises(UserError, match="cannot join stage 2 of 2"):
        build(two_stages(joins=2))
    first = Stage(depth=2, dim=8, heads=2, sequence=Part.of("tome", r=3))
    with pytest.raises(UserError, match="need patches on their grid"):
        build(two_stages(stages=(first, Stage(depth=1, dim=8, heads=2))))


# Whole models


def test_cvt_is_what_the_paper_says() -> None:
    """All of it once more, in plain operators of torch, from section 3 of Wu et al. 2021."""
    spec = resolve("cvt_13", img_size=32, num_classes=5)
    stages = [
        replace(s, depth=d, dim=8 * h, heads=h) for s, d, h in zip(spec.stages, (1, 1, 2), (1, 2, 3), strict=True)
    ]
    model = scrambled(build(replace(spec, stages=tuple(stages))))
    weights = dict(model.named_parameters()) | dict(model.named_buffers())
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)

    def normed(x: Tensor, name: str, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def projected(x: Tensor, at: str, kind: str, side: int, stride: int, front: int) -> Tensor:
        image = x[:, front:].mT.reshape(len(x), -1, side, side)
        conv = F.conv2d(image, weights[f"{at}.conv_{kind}.conv.weight"], None, stride, 1, groups=image.shape[1])
        norm = [weights[f"{at}.conv_{kind}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        tokens = F.batch_norm(conv, *norm).flatten(2).mT
        return linear(torch.cat((x[:, :front], tokens), dim=1), f"{at}.{kind}")

    x, kernels = image, ("stem.convs.0", "between.1.conv", "between.2.conv")
    for s, stage in enumerate(stages):
        stride, kernel = (4, 7) if s == 0 else (2, 3)
        bias = weights[f"{kernels[s]}.bias"]
        x = F.conv2d(x, weights[f"{kernels[s]}.weight"], bias, stride, kernel // 2)
        side, front = x.shape[-1], int(s == 2)
        x = normed(x.flatten(2).mT, "stem.norm" if s == 0 else f"between.{s}.norm", 1e-6)
        if front:
            x = torch.cat((weights["class_token"].expand(2, -1, -1), x), dim=1)
        for b in range(stage.depth):
            at = f"stages.{s}.{b}"
            y = normed(x, f"{at}.norm1", 1e-5)
            q, k, v = (
                projected(y, f"{at}.mixer", kind, side, 1 if kind == "q" else 2, front)
                .unflatten(-1, (stage.heads, 8))
                .transpose(1, 2)
                for kind in "qkv"
            )
            mixed = ((q @ k.mT / 8**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
            x = x + linear(mixed, f"{at}.mixer.proj")
            x = x + linear(F.gelu(linear(normed(x, f"{at}.norm2", 1e-5), f"{at}.mlp.fc1")), f"{at}.mlp.fc2")
        if not front:
            x = x.mT.reshape(2, -1, side, side)
    wanted = linear(normed(x[:, 0], "norm", 1e-5), "head")
    torch.testing.assert_close(model(image), wanted)


def attention_products(model: nn.Module) -> int:
    """Multiply-accumulates of queries with keys and of weights with values, which many counters do not see."""
    total = 0
    for mixer in model.modules():
        if isinstance(mixer, Attention):
            total += 2 * mixer.layout.num_tokens**2 * mixer.dim
        if isinstance(mixer, ConvAttention):
            rows, columns = (-(-side // mixer.stride) for side in mixer.grid)
            total += 2 * mixer.layout.num_tokens * (rows * columns + mixer.layout.prefix) * mixer.dim
        if isinstance(mixer, SpatialReduction):
            keys = (mixer.grid[0] // mixer.ratio) ** 2
            total += 2 * mixer.layout.patches * keys * mixer.dim
    return total


def test_cvt_counts_as_its_code_reports() -> None:
    """Parameters "20.0 M" and "4.06 GMac", logged by the released code (its issue 8): there without the products of
    attention, here without the biases of keys; the paper prints 4.5 and 7.1, cut after one digit."""
    for name, cut in (("cvt_13", 4.5), ("cvt_21", 7.1)):
        assert int(build(name, device="meta").macs() / 1e8) / 10 == cut
    model = build("cvt_13", device="meta")
    assert round((params(model) + 1 * 64 + 2 * 192 + 10 * 384) / 1e6, 1) == 20.0
    assert round((model.macs() - attention_products(model)) / 1e9, 2) == 4.06


@pytest.mark.parametrize(
    ("name", "params_m", "gmacs"),
    [("rest_lite", 10.49, 1.4), ("rest_small", 13.66, 1.9), ("rest_base", 30.28, 4.3), ("rest_large", 51.63, 7.9)],
)
def test_rest_counts_as_printed_with_the_stem_that_was_counted(name: str, params_m: float, gmacs: float) -> None:
    """The paper's numbers, to their digits: with a stem of 7 x 7 and max-pooling, the biases that change nothing and
    without the products of attention."""
    spec = resolve(name)
    model = build(replace(spec, stem=Part.of("conv", **RESNET_STEM)), device="meta")
    idle = sum(stage.dim for stage in spec.stages[1:])  # of the convolutions between stages, before a batch norm
    for stage, ratio in zip(spec.stages[1:], (4, 2, 1), strict=True):  # of keys and values, of their norm, of the heads
        idle += stage.depth * (2 * stage.dim + (stage.dim if ratio > 1 else 0) + stage.heads)
    assert round((params(model) + idle) / 1e6, 2) == params_m
    assert round((model.macs() - attention_products(model)) / 1e9, 1) == gmacs


@pytest.mark.parametrize(
    ("size", "width", "params_m"), [("small", 448, 22.7), ("base", 512, 33.5), ("large", 512, 57.5)]
)
def test_wave_vit_has_the_printed_parameters_with_the_head_for_token_labels(size, width, params_m) -> None:
    model = build(f"wave_vit_{size}_ca", device="meta")
    assert round((params(model) + 1000 * (width + 1)) / 1e6, 1) == params_m


def test_cct_counts_as_its_repository_reports_without_places_and_products_of_attention() -> None:
    model = build("cct_14_7x2_224", device="meta")
    assert round((params(model) - model.position.table.numel()) / 1e6, 2) == 22.29
    assert round((model.macs() - attention_products(model)) / 1e9, 2) == 5.11


@pytest.mark.parametrize("name", ["cvt_13", "rest_lite", "wave_vit_small", "wave_vit_small_ca"])
def test_four_stages_take_the_images_of_cifar(name: str) -> None:
    model = build(name, img_size=32, num_classes=10).eval()
    assert model(torch.zeros(2, 3, 32, 32)).isfinite().all()


def test_linear_maps_are_drawn_from_a_cut_normal_distribution() -> None:
    torch.manual_seed(0)
    model = build(two_stages(init="truncated"))
    drawn = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, nn.Linear)])
    assert 0.019 < drawn.std() < 0.021
    assert not any(m.bias.any() for m in model.modules() if isinstance(m, nn.Linear))
    assert 0 < model.class_token.abs().max() < 0.1
