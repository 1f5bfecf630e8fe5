from __future__ import annotations

import pytest
import torch

from paretovit.errors import UserError
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.mixers.conv_attention import ConvAttention
from paretovit.zoo.rotation import Rotation
from paretovit.zoo.tokens import Layout, Tokens


def pass_through(mixer: ConvAttention) -> None:
    """Convolutions that give every token as it is; batch norms of a fresh module only divide by sqrt(1 + eps)."""
    for conv in filter(None, (mixer.conv_q, mixer.conv_k, mixer.conv_v)):
        half = mixer.kernel // 2
        conv.conv.weight.data.zero_()
        conv.conv.weight.data[:, :, half, half] = (1 + conv.norm.eps) ** 0.5


@pytest.mark.parametrize("axes", [None, 1, 2])
@pytest.mark.parametrize("shared_kv", [True, False])
def test_with_convolutions_that_change_nothing_it_is_plain_attention(shared_kv: bool, axes: int | None) -> None:
    torch.manual_seed(0)
    layout = Layout.of_grid((6, 5), prefix=1)
    mixer = ConvAttention(32, 4, layout, stride=1, shared_kv=shared_kv).eval()
    pass_through(mixer)
    plain = Attention(32, 4, layout)
    plain.qkv.weight.data = torch.cat((mixer.q.weight, mixer.k.weight, mixer.v.weight)).detach()
    plain.qkv.bias.data = torch.cat((mixer.q.bias, torch.zeros(32), mixer.v.bias)).detach()
    plain.proj.load_state_dict(mixer.proj.state_dict())
    if axes is not None:
        mixer.rotation = plain.rotation = Rotation(8, layout, axes=axes, base=100.0)
    tokens = Tokens(torch.randn(2, 31, 32), (6, 5), prefix=1)
    torch.testing.assert_close(mixer(tokens), plain(tokens))


def test_with_stride_2_every_second_row_and_column_is_heard() -> None:
    torch.manual_seed(0)
    mixer = ConvAttention(32, 4, Layout.of_grid((4, 5)), stride=2).eval()
    pass_through(mixer)
    x = torch.randn(1, 20, 32, requires_grad=True)
    mixer(Tokens(x, (4, 5)))[:, 19].sum().backward()
    heard = x.grad.abs().amax(-1)[0] > 1e-6
    assert heard.nonzero().flatten().tolist() == [0, 2, 4, 10, 12, 14, 19]  # and 19 itself, as the query


def test_keys_on_other_places_than_the_tokens_cannot_be_turned() -> None:
    assert ConvAttention(32, 4, Layout.of_grid((4, 5)), stride=1).rotates
    assert not ConvAttention(32, 4, Layout.of_grid((4, 5)), stride=2).rotates


def test_costs_what_vision_xformers_count() -> None:
    layout, n, d, inner = Layout.of_grid((32, 32)), 1024, 128, 256
    mixer = ConvAttention(d, 4, layout, stride=1, shared_kv=True, head_dim=64, qkv_bias=False)
    assert mixer.macs() == 18 * n * d + 3 * n * d * inner + 2 * n * n * inner + n * inner * d
    assert sum(p.numel() for p in mixer.parameters()) == 134_016


def test_keys_and_values_may_come_from_one_convolution() -> None:
    torch.manual_seed(0)
    layout = Layout.of_grid((4, 5), prefix=1)
    one = ConvAttention(32, 4, layout, shared_kv=True).eval()
    two = ConvAttention(32, 4, layout).eval()
    states = one.state_dict()
    copies = {name.replace("conv_k", "conv_v"): value for name, value in states.items() if name.startswith("conv_k")}
    two.load_state_dict(states | copies)
    tokens = Tokens(torch.randn(2, 21, 32), (4, 5), prefix=1)
    torch.testing.assert_close(one(tokens), two(tokens))


def test_class_tokens_are_not_convolved() -> None:
    torch.manual_seed(0)
    mixer = ConvAttention(32, 4, Layout.of_grid((4, 5), prefix=1)).eval()
    x = torch.randn(1, 21, 32)
    queries = []
    mixer.q.register_forward_hook(lambda module, inputs, output: queries.append(inputs[0]))
    mixer(Tokens(x, (4, 5), prefix=1))
    assert queries[0][:, 0].equal(x[:, 0])
    assert not queries[0][:, 1:].isclose(x[:, 1:]).any(-1).all()


@pytest.mark.parametrize("options", [{"kernel": 4}, {"stride": 0}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match="kernel must be odd and stride at least 1"):
        ConvAttention(32, 4, Layout.of_grid((4, 5)), **options)
