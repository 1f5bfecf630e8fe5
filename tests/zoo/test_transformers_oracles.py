"""Mixers and models with the weights of Hugging Face's `transformers`, which others wrote from the same papers.

Where ours departs from theirs on purpose, the test changes exactly that and no more. Theirs are made from
configurations with random weights: nothing is fetched.

Shapes   B images, N tokens, D width, K width per head.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from transformers.models.cvt.modeling_cvt import CvtAttention, CvtConfig, CvtForImageClassification
from transformers.models.fnet.modeling_fnet import FNetBasicFourierTransform, FNetConfig
from transformers.models.focalnet.modeling_focalnet import FocalNetConfig, FocalNetModulation
from transformers.models.informer.modeling_informer import InformerProbSparseAttention
from transformers.models.nystromformer.modeling_nystromformer import NystromformerConfig, NystromformerSelfAttention
from transformers.models.poolformer.modeling_poolformer import PoolFormerConfig, PoolFormerLayer
from transformers.models.reformer.modeling_reformer import LSHSelfAttention, ReformerConfig
from transformers.models.swin.modeling_swin import SwinConfig, SwinLayer
from transformers.models.switch_transformers.modeling_switch_transformers import (
    SwitchTransformersConfig,
    SwitchTransformersSparseMLP,
    load_balancing_loss_func,
)
from transformers.models.timesformer.modeling_timesformer import TimesformerConfig, TimesformerForVideoClassification
from transformers.models.vit.modeling_vit import ViTConfig, ViTForImageClassification

from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone, Block
from paretovit.zoo.catalog import entries
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.mixers.conv_attention import ConvAttention
from paretovit.zoo.mixers.fnet import Fnet
from paretovit.zoo.mixers.focal import Focal
from paretovit.zoo.mixers.informer import Informer
from paretovit.zoo.mixers.nystromformer import Nystromformer
from paretovit.zoo.mixers.reformer import Reformer
from paretovit.zoo.mlps.switch import Switch
from paretovit.zoo.tokens import Layout, Tokens

DIM, HEADS = 16, 2
M = TypeVar("M", bound=nn.Module)


def drawn(module: M) -> M:
    """The module in double precision and evaluation, with no weight, bias or running mean left at 0 or 1."""
    torch.manual_seed(0)
    module = module.double().eval().requires_grad_(False)
    for value in module.parameters():
        value += 0.3 * torch.randn_like(value)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    return module


def load(ours: nn.Module, *theirs: nn.Module) -> None:
    """Give `ours` the weights of `theirs`, one behind the other where several of theirs are one of ours.

    A 1 x 1 convolution of theirs may be a linear map of ours. What ours lacks is left.
    """
    parts, own = [module.state_dict() for module in theirs], ours.state_dict()
    joined = {name: torch.cat([part[name] for part in parts]) if parts[1:] else parts[0][name] for name in own}
    ours.load_state_dict({name: value.reshape(own[name].shape) for name, value in joined.items()})


def tokens_on(grid: tuple[int, int], dim: int = DIM, prefix: int = 0) -> Tokens:
    torch.manual_seed(1)
    return Tokens(torch.randn(2, grid[0] * grid[1] + prefix, dim, dtype=torch.float64), grid, prefix)


def as_image(tokens: Tokens) -> Tensor:
    """(B, D, rows, columns)"""
    return tokens.x.mT.unflatten(2, tokens.grid)


def alone(mixer: Mixer) -> None:
    """Take the linear map off the end of a mixer, where theirs is another module's."""
    mixer.proj = nn.Identity()


@pytest.mark.parametrize(("grid", "dim"), [((4, 5), 16), ((3, 3), 7)], ids=str)
def test_fnet(grid: tuple[int, int], dim: int) -> None:
    tokens = tokens_on(grid, dim, prefix=1)
    theirs = FNetBasicFourierTransform(FNetConfig(use_tpu_fourier_optimizations=False))
    torch.testing.assert_close(Fnet(dim, 1, Layout.of_grid(grid, 1))(tokens), theirs(tokens.x)[0])


@pytest.mark.parametrize("conv", [1, 3])
@pytest.mark.parametrize("landmarks", [4, 8, 24], ids="{} of 24".format)
def test_nystromformer(landmarks: int, conv: int) -> None:
    config = NystromformerConfig(
        hidden_size=DIM,
        num_attention_heads=HEADS,
        num_landmarks=landmarks,
        segment_means_seq_len=24,
        conv_kernel_size=conv,
    )
    theirs, tokens = drawn(NystromformerSelfAttention(config)), tokens_on((4, 6))
    ours = Nystromformer(DIM, HEADS, Layout.of_grid((4, 6)), landmarks=landmarks, conv=conv).double()
    load(ours.qkv, theirs.query, theirs.key, theirs.value)
    load(ours.conv, theirs.conv)
    alone(ours)
    theirs.init_option = "exact"  # else theirs starts every inverse from the largest sum of all images and heads
    torch.testing.assert_close(ours(tokens), theirs(tokens.x)[0])


@pytest.mark.parametrize("factors", [(4,), (6,), (4, 2)], ids=str)
@pytest.mark.parametrize("rounds", [1, 3])
def test_reformer(rounds: int, factors: tuple[int, ...]) -> None:
    """One head, as each of theirs has projections of its own. Ours looks back within a round, theirs into the one
    before: tokens that sit in the first chunk of a round are left out. Ours divides the logits by sqrt(K) as the paper
    does; theirs, as the authors' code, has keys of length sqrt(K) instead of 1, so that nothing is left to divide."""
    chunk, grid = 4, (4, 8)
    config = ReformerConfig(
        hidden_size=DIM,
        num_attention_heads=1,
        attention_head_size=DIM,
        lsh_attn_chunk_length=chunk,
        num_hashes=rounds,
        num_buckets=list(reversed(factors)),  # theirs counts the first hash as the lower digit
        hash_seed=3,
        is_decoder=False,
        attn_layers=["lsh"],
    )
    theirs, tokens = drawn(LSHSelfAttention(config)), tokens_on(grid)
    ours = Reformer(DIM, 1, Layout.of_grid(grid), chunk=chunk, rounds=rounds).double()
    for linear, their_linear in ((ours.qk, theirs.query_key), (ours.v, theirs.value)):
        linear.bias.data.zero_()
        linear.weight.data.copy_(their_linear.weight)
    ours.qk.weight.data *= DIM**0.5
    alone(ours)

    torch.manual_seed(3)
    halves = [factor // 2 for factor in reversed(factors)]
    drawn_KRP = torch.randn(1, DIM, rounds, sum(halves), dtype=torch.float64)[0]
    ours.buckets = factors
    ours.projections = torch.cat(drawn_KRP.split(halves, dim=-1)[::-1], dim=-1).flatten(1)

    mixed, heard = ours(tokens), theirs(tokens.x).hidden_states
    alike = torch.ones(2, 32, dtype=torch.bool)
    if rounds > 1:
        first = ours._order(ours.qk(tokens.x).unsqueeze(2))[..., :chunk].flatten(1)
        alike = alike.scatter(1, first, False)
    assert alike.sum() >= 32
    torch.testing.assert_close(mixed[alike], heard[alike], rtol=1e-4, atol=1e-5)  # 1e-6 stands under their root


@pytest.mark.parametrize("factor", [1, 2, 100])
def test_informer(factor: int) -> None:
    """Theirs draws as many keys as there are, with repeats; ours is given those."""
    grid, theirs = (5, 6), drawn(InformerProbSparseAttention(DIM, HEADS, sampling_factor=factor))
    tokens, ours = tokens_on(grid), Informer(DIM, HEADS, Layout.of_grid(grid), factor=factor).double()
    assert ours.active == min(30, 4 * factor)
    load(ours.qk, theirs.q_proj, theirs.k_proj)
    load(ours.v, theirs.v_proj)
    load(ours.proj, theirs.out_proj)
    torch.manual_seed(5)
    expected = theirs(tokens.x)[0]
    torch.manual_seed(5)
    ours.sample = torch.randint(0, 30, (30,))
    torch.testing.assert_close(ours(tokens), expected)


@pytest.mark.parametrize(("levels", "window"), [(1, 3), (3, 3), (2, 5)])
def test_focal(levels: int, window: int) -> None:
    config = FocalNetConfig(focal_levels=[levels], focal_windows=[window])
    theirs, tokens = drawn(FocalNetModulation(config, 0, DIM)), tokens_on((5, 6))
    ours = Focal(DIM, 1, Layout.of_grid((5, 6)), levels=levels, window=window).double()
    load(ours.f, theirs.projection_in)
    for conv, layer in zip(ours.convs, theirs.focal_layers, strict=True):
        load(conv, layer[0])
    load(ours.h, theirs.projection_context)
    load(ours.proj, theirs.projection_out)
    torch.testing.assert_close(ours(tokens), theirs(tokens.x.unflatten(1, (5, 6))).flatten(1, 2))


def blocks_of(stage: Stage, side: int, **changes: object) -> list[Block]:
    """The blocks of a model that has that stage alone, for `side` x `side` tokens, in double precision."""
    spec = ModelSpec(
        name="one stage",
        stages=(stage,),
        position=Part("absent"),
        readout=Part("mean"),
        image_px=side,
        patch_px=1,
        num_classes=1,
        **changes,
    )
    blocks = list(Backbone(spec).double().eval().stages[0])
    assert all(isinstance(block, Block) for block in blocks)
    return blocks


@pytest.mark.parametrize("size", [3, 5])
def test_pooling(size: int) -> None:
    """A whole block, but for the norm, which theirs takes over all tokens of an image and our skeleton over each."""
    theirs = drawn(PoolFormerLayer(PoolFormerConfig(hidden_act="gelu"), DIM, size, DIM, 2 * DIM, 0.0))
    theirs.before_norm = theirs.after_norm = nn.Identity()
    stage = Stage(depth=1, dim=DIM, heads=1, mixer=Part.of("pooling", size=size), mlp=Part.of("mlp", ratio=2))
    (ours,) = blocks_of(stage, 6, norm=Part("absent"), layer_scale=1.0)
    load(ours.mlp.fc1, theirs.output.conv1)
    load(ours.mlp.fc2, theirs.output.conv2)
    ours.scale1.gamma.data.copy_(theirs.layer_scale_1)
    ours.scale2.gamma.data.copy_(theirs.layer_scale_2)
    tokens = tokens_on((6, 6))
    torch.testing.assert_close(ours(tokens).x, theirs(as_image(tokens))[0].flatten(2).mT)


def swins(side: int, window: int) -> list[tuple[Block, SwinLayer]]:
    """Two blocks of ours and theirs with the same weights, the second shifted."""
    config = SwinConfig(window_size=window, mlp_ratio=2.0, layer_norm_eps=1e-6)
    config._attn_implementation = "sdpa"
    mixer, mlp = Part.of("shifted_window", window=window), Part.of("mlp", ratio=2)
    ours = blocks_of(Stage(depth=2, dim=DIM, heads=HEADS, mixer=mixer, mlp=mlp), side)
    pairs = []
    for block, shift in zip(ours, (0, window // 2), strict=True):
        theirs = drawn(SwinLayer(config, DIM, (side, side), HEADS, shift_size=shift))
        load(block.norm1, theirs.layernorm_before)
        load(block.norm2, theirs.layernorm_after)
        attention = theirs.attention
        load(block.mixer.qkv, attention.q_proj, attention.k_proj, attention.v_proj)
        load(block.mixer.proj, attention.o_proj)
        block.mixer.bias_table.data.copy_(attention.relative_position_bias.relative_position_bias_table)
        load(block.mlp.fc1, theirs.mlp.fc1)
        load(block.mlp.fc2, theirs.mlp.fc2)
        pairs.append((block, theirs))
    return pairs


@pytest.mark.parametrize(("side", "window"), [(6, 3), (8, 4), (8, 2), (3, 3)])
def test_shifted_window(side: int, window: int) -> None:
    tokens = tokens_on((side, side))
    for ours, theirs in swins(side, window):
        torch.testing.assert_close(ours(tokens).x, theirs(tokens.x, (side, side))[0])


def test_shifted_window_differs_only_where_theirs_hears_what_fills_up_the_edge() -> None:
    ours, theirs = swins(7, 3)[0]
    tokens = tokens_on((7, 7))
    apart = (ours(tokens).x - theirs(tokens.x, (7, 7))[0]).abs().amax((0, 2)).view(7, 7)
    in_full_windows = torch.zeros(7, 7, dtype=torch.bool)
    in_full_windows[:6, :6] = True
    assert apart[in_full_windows].max() < 1e-10
    assert apart[~in_full_windows].min() > 1e-4


def load_convolved(ours: ConvAttention, theirs: CvtAttention) -> None:
    """Ours with the weights of theirs, and with its logits, which it divides by the root of the width of all heads."""
    attention = theirs.attention
    for name, short in (("query", "q"), ("key", "k"), ("value", "v")):
        conv = getattr(attention, f"convolution_projection_{name}").convolution_projection
        load(getattr(ours, f"conv_{short}").conv, conv.convolution)
        load(getattr(ours, f"conv_{short}").norm, conv.normalization)
        load(getattr(ours, short), getattr(attention, f"projection_{name}"))
    for value in (ours.q.weight, ours.q.bias):
        value.data /= ours.heads**0.5
    load(ours.proj, theirs.output.dense)


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (3, 1), (5, 2)])
def test_conv_attention(kernel: int, stride: int, prefix: int) -> None:
    """Their keys have a bias, ours none: it changes no weight."""
    half = kernel // 2
    theirs = drawn(
        CvtAttention(HEADS, DIM, kernel, half, half, 1, stride, "dw_bn", True, 0.0, 0.0, with_cls_token=bool(prefix))
    )
    assert theirs.attention.projection_key.bias.abs().max() > 0.1
    layout, tokens = Layout.of_grid((5, 6), prefix), tokens_on((5, 6), prefix=prefix)
    ours = ConvAttention(DIM, HEADS, layout, kernel=kernel, stride=stride).double().eval()
    load_convolved(ours, theirs)
    torch.testing.assert_close(ours(tokens), theirs(tokens.x, 5, 6))


def test_cvt() -> None:
    widths, heads, depths = (8, 12, 18), (1, 2, 3), (1, 2, 3)
    config = CvtConfig(embed_dim=list(widths), num_heads=list(heads), depth=list(depths), num_labels=5)
    theirs = drawn(CvtForImageClassification(config))
    spec = entries()["cvt_13"].spec
    stages = tuple(
        replace(stage, dim=dim, heads=count, depth=depth)
        for stage, dim, count, depth in zip(spec.stages, widths, heads, depths, strict=True)
    )
    ours = Backbone(replace(spec, stages=stages, image_px=48, num_classes=5)).double().eval()
    ours.stem.convs[0].padding = (2, 2)  # 3 in the paper
    embeddings = [(ours.stem.convs[0], ours.stem.norm), *((b.conv, b.norm) for b in list(ours.between)[1:])]
    for (conv, norm), stage, their_stage in zip(embeddings, ours.stages, theirs.cvt.encoder.stages, strict=True):
        load(conv, their_stage.embedding.convolution_embeddings.projection)
        load(norm, their_stage.embedding.convolution_embeddings.normalization)
        norm.eps = 1e-5
        for block, layer in zip(stage, their_stage.layers, strict=True):
            load(block.norm1, layer.layernorm_before)
            load(block.norm2, layer.layernorm_after)
            load_convolved(block.mixer, layer.attention)
            load(block.mlp.fc1, layer.intermediate.dense)
            load(block.mlp.fc2, layer.output.dense)
    ours.class_token.data.copy_(theirs.cvt.encoder.stages[2].cls_token)
    load(ours.norm, theirs.layernorm)
    load(ours.head, theirs.classifier)
    image = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    torch.testing.assert_close(ours(image), theirs(image).logits)


def test_vit() -> None:
    config = ViTConfig(
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=4 * DIM,
        layer_norm_eps=1e-6,
        image_size=12,
        patch_size=4,
        num_labels=5,
    )
    theirs = drawn(ViTForImageClassification(config))
    stage = Stage(depth=2, dim=DIM, heads=HEADS)
    ours = Backbone(ModelSpec(name="vit", stages=(stage,), image_px=12, patch_px=4, num_classes=5)).double().eval()
    load(ours.stem.proj, theirs.vit.embeddings.patch_embeddings.projection)
    ours.class_token.data.copy_(theirs.vit.embeddings.cls_token)
    ours.position.table.data.copy_(theirs.vit.embeddings.position_embeddings)
    for block, layer in zip(ours.stages[0], theirs.vit.layers, strict=True):
        load(block.norm1, layer.layernorm_before)
        load(block.norm2, layer.layernorm_after)
        load(block.mixer.qkv, layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj)
        load(block.mixer.proj, layer.attention.o_proj)
        load(block.mlp.fc1, layer.mlp.fc1)
        load(block.mlp.fc2, layer.mlp.fc2)
    load(ours.norm, theirs.vit.layernorm)
    load(ours.head, theirs.classifier)
    image = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(image), theirs(image).logits)


@pytest.mark.parametrize("kind", ["divided", "joint"])
def test_timesformer(kind: str) -> None:
    depth, frames = 2, 3
    config = TimesformerConfig(
        hidden_size=DIM,
        num_hidden_layers=depth,
        num_attention_heads=HEADS,
        intermediate_size=4 * DIM,
        layer_norm_eps=1e-6,
        image_size=8,
        patch_size=4,
        num_frames=frames,
        attention_type=f"{kind}_space_time",
        num_labels=5,
    )
    theirs = drawn(TimesformerForVideoClassification(config))
    spec = entries()[f"timesformer_{kind}_tiny_patch16_224"].spec
    stages = tuple(replace(stage, dim=DIM, heads=HEADS, depth=min(stage.depth, depth)) for stage in spec.stages)
    spec = replace(
        spec,
        stages=stages[: 2 * depth],
        stem=Part.of("video", frames=frames),
        image_px=8,
        patch_px=4,
        num_classes=5,
    )
    ours = Backbone(spec).double().eval()
    embeddings = theirs.timesformer.embeddings
    load(ours.stem.patch.proj, embeddings.patch_embeddings.projection)
    ours.class_token.data.copy_(embeddings.cls_token)
    ours.position.space.data.copy_(embeddings.position_embeddings)
    ours.position.time.data.copy_(embeddings.time_embeddings.unsqueeze(2))
    blocks = iter(block for stage in ours.stages for block in stage)
    for layer in theirs.timesformer.encoder.layer:
        if kind == "divided":
            block = next(blocks)
            load(block.norm1, layer.temporal_layernorm)
            load(block.mixer.qkv, layer.temporal_attention.attention.qkv)
            load(block.mixer.proj, layer.temporal_attention.output.dense)
            load(block.mixer.out_map, layer.temporal_dense)
        block = next(blocks)
        load(block.norm1, layer.layernorm_before)
        load(block.norm2, layer.layernorm_after)
        load(block.mixer.qkv, layer.attention.attention.qkv)
        load(block.mixer.proj, layer.attention.output.dense)
        load(block.mlp.fc1, layer.intermediate.dense)
        load(block.mlp.fc2, layer.output.dense)
    assert next(blocks, None) is None
    load(ours.norm, theirs.timesformer.layernorm)
    load(ours.head, theirs.classifier)
    video = torch.randn(2, 3, frames, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(video), theirs(video.transpose(1, 2)).logits)


@pytest.mark.parametrize("capacity_factor", [0.5, 1.25, 4.0])
def test_switch(capacity_factor: float) -> None:
    experts, grid = 4, (4, 5)
    ours = Switch(DIM, Layout.of_grid(grid), experts=experts, capacity_factor=capacity_factor, ratio=2).double()
    config = SwitchTransformersConfig(
        hidden_size=DIM,
        d_ff=2 * DIM,
        num_experts=experts,
        expert_capacity=ours.capacity(20),
        dense_act_fn="gelu",
    )
    theirs, tokens = drawn(SwitchTransformersSparseMLP(config)), tokens_on(grid)
    theirs.router.dtype = torch.float64
    load(ours.router, theirs.router.classifier)
    for i, expert in enumerate(theirs.experts.values()):  # whose maps have no bias, and ours start at zero
        ours.weight1.data[i] = expert.wi.weight.T
        ours.weight2.data[i] = expert.wo.weight.T
    mixed = ours.train()(tokens)
    torch.testing.assert_close(mixed, theirs(tokens.x))
    left_out = (mixed == 0).all(-1)
    assert left_out.any() == (capacity_factor < 4)
    # ours balances all images together, as the paper the tokens of a device; theirs each
    probability = theirs.router(tokens.x)[2].softmax(-1).flatten(0, 1).unsqueeze(0)
    balance = load_balancing_loss_func(probability, probability.argmax(-1))
    torch.testing.assert_close(tokens.aux["switch_balance"], balance)
