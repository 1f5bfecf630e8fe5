from __future__ import annotations

import pytest
import torch
from timm.models.levit import Attention as TimmsAttention

from paretovit.zoo.mixers.levit_attention import LevitAttention
from paretovit.zoo.rotation import Rotation
from paretovit.zoo.tokens import Layout, Tokens

LAYOUT = Layout.of_grid((4, 5))


@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_timms_levit_without_its_offset_biases(training: bool) -> None:
    torch.manual_seed(0)
    mixer = LevitAttention(32, 4, LAYOUT, head_dim=6).double()
    theirs = TimmsAttention(32, key_dim=6, num_heads=4, attn_ratio=1.0, resolution=(4, 5), act_layer=torch.nn.GELU)
    theirs.double()
    with torch.no_grad():
        for parameter in (*mixer.parameters(), mixer.qkv_norm.running_mean, mixer.proj_norm.running_mean):
            parameter.normal_()
    # theirs are ordered head, part, width; ours part, head, width
    by_head = torch.arange(72).view(3, 4, 6).transpose(0, 1).flatten()
    theirs.qkv.linear.weight.data = mixer.qkv.weight.data[by_head]
    for name, value in mixer.qkv_norm.state_dict().items():
        theirs.qkv.bn.state_dict()[name].copy_(value[by_head] if value.ndim else value)
    theirs.proj.ln.linear.load_state_dict(mixer.proj.state_dict())
    theirs.proj.ln.bn.load_state_dict(mixer.proj_norm.state_dict())
    tokens = Tokens(torch.randn(3, 20, 32, dtype=torch.float64), (4, 5))
    mixer.train(training)
    theirs.train(training)
    torch.testing.assert_close(mixer(tokens), theirs(tokens.x))
    if training:  # both have remembered the same of the batch
        torch.testing.assert_close(mixer.qkv_norm.running_var[by_head], theirs.qkv.bn.running_var)
        torch.testing.assert_close(mixer.proj_norm.running_mean, theirs.proj.ln.bn.running_mean)


@pytest.mark.parametrize("training", [True, False])
def test_starts_silent(training: bool) -> None:
    mixer = LevitAttention(32, 4, LAYOUT).train(training)
    assert mixer(Tokens(torch.randn(2, 20, 32), (4, 5))).count_nonzero() == 0


def test_has_the_parameters_that_vision_xformers_count() -> None:
    # 3 (D I + 2 I) + I D + D + 2 D with D = I = 128
    mixer = LevitAttention(128, 4, LAYOUT, head_dim=32, out_bias=True)
    assert sum(p.numel() for p in mixer.parameters()) == 66_688


def test_a_bias_before_the_last_norm_counts_only_when_not_training() -> None:
    torch.manual_seed(0)
    mixer = LevitAttention(32, 4, LAYOUT, out_bias=True).double()
    torch.nn.init.ones_(mixer.proj_norm.weight)
    tokens = Tokens(torch.randn(2, 20, 32, dtype=torch.float64), (4, 5))
    before = [mixer.train(training)(tokens) for training in (True, False)]
    mixer.proj.bias.data += 1.0
    torch.testing.assert_close(mixer.train()(tokens), before[0])
    assert (mixer.eval()(tokens) - before[1]).abs().min() > 0.5


def test_turned_queries_and_keys_agree_with_the_reference() -> None:
    torch.manual_seed(0)
    mixer = LevitAttention(32, 4, LAYOUT).double().eval()
    torch.nn.init.ones_(mixer.proj_norm.weight)
    tokens = Tokens(torch.randn(2, 20, 32, dtype=torch.float64), (4, 5))
    unturned = mixer(tokens)
    mixer.rotation = Rotation(8, LAYOUT, axes=2, base=100.0).double()
    torch.testing.assert_close(mixer(tokens), mixer.reference(tokens))
    assert (mixer(tokens) - unturned).abs().max() > 1e-3
