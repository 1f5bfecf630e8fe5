from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from nystrom_attention import NystromAttention
from torch import Tensor

from paretovit.cost.counting import count_module
from paretovit.errors import UserError
from paretovit.zoo.mixers._segments import segment_means
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.mixers.nystromformer import Nystromformer, nystrom_attention, pseudo_inverse
from paretovit.zoo.rotation import Rotation
from paretovit.zoo.tokens import Layout, Tokens


def heads(tokens: int, sharpness: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (2, 3, N, 16) with a well-conditioned attention matrix."""
    torch.manual_seed(0)
    k, v = torch.randn(2, 2, 3, tokens, 16, dtype=torch.float64).unbind(0)
    return sharpness * k, k, v


def test_with_every_token_a_landmark_it_is_softmax_attention() -> None:
    q, k, v = heads(12)
    torch.testing.assert_close(
        nystrom_attention(q, k, v, q, k), F.scaled_dot_product_attention(q, k, v), rtol=1e-6, atol=1e-6
    )


def test_more_landmarks_than_tokens_are_as_many_as_tokens() -> None:
    torch.manual_seed(0)
    many = Nystromformer(32, 4, Layout.of_grid((3, 3)), landmarks=64)
    assert many.landmarks == 9
    plain = Attention(32, 4, Layout.of_grid((3, 3)))
    plain.load_state_dict(many.state_dict())
    tokens = Tokens(torch.randn(2, 9, 32), (3, 3))
    torch.testing.assert_close(many(tokens), plain(tokens))


def test_comes_nearer_to_softmax_attention_with_more_landmarks() -> None:
    # keys that change slowly along the sequence, as landmarks suppose
    at = torch.linspace(0, 6, 48, dtype=torch.float64)
    k = torch.stack([torch.sin(at * f) for f in (0.3, 0.7, 1.1, 1.7)], dim=-1)[None, None]
    q, v = k.flip(-1), k.cumsum(-1)
    exact = F.scaled_dot_product_attention(q, k, v)
    errors = []
    for m in (1, 3, 6):
        landmarks = (segment_means(part, m) for part in (q, k))
        errors.append((nystrom_attention(q, k, v, *landmarks) - exact).norm() / exact.norm())
    assert errors[0] > 5 * errors[1] > 25 * errors[2]


def test_later_segments_are_the_longer_ones() -> None:
    x = torch.tensor([1.0, 3.0, 10.0, 20.0, 100.0, 200.0, 600.0]).view(1, 1, 7, 1)
    assert segment_means(x, 3).flatten().tolist() == [2.0, 15.0, 300.0]
    assert segment_means(x, 7).equal(x)


def test_inverts_softmax_matrices() -> None:
    q, k, _ = heads(8)
    a = (q @ k.mT / 4).softmax(-1)
    torch.testing.assert_close(pseudo_inverse(a), torch.linalg.pinv(a), rtol=1e-4, atol=1e-4)


def test_inverts_in_single_precision_under_autocast() -> None:
    a = (4 * torch.eye(8)).softmax(-1).expand(1, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inverse = pseudo_inverse(a)
    torch.testing.assert_close(inverse @ a, torch.eye(8).expand(1, 1, 8, 8), rtol=1e-4, atol=1e-4)


def alike(tokens: int, heads: int, *, iterations: int, fused: bool) -> tuple[Nystromformer, NystromAttention]:
    """Ours and that of the package, with equal weights; 8 landmarks, heads of 12."""
    torch.manual_seed(0)
    ours = Nystromformer(
        32,
        heads,
        Layout(None, tokens, 0),
        landmarks=8,
        conv=5,
        iterations=iterations,
        pad=True,
        head_dim=12,
        qkv_bias=False,
        fused=fused,
    ).double()
    theirs = NystromAttention(
        32, dim_head=12, heads=heads, num_landmarks=8, pinv_iterations=iterations, residual_conv_kernel=5
    ).double()
    torch.nn.init.normal_(ours.qkv.weight, std=0.4)  # attention that is not all but even
    theirs.to_qkv.load_state_dict(ours.qkv.state_dict())
    theirs.to_out[0].load_state_dict(ours.proj.state_dict())
    theirs.res_conv.load_state_dict(ours.conv.state_dict())
    return ours, theirs


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("tokens", [33, 32])
def test_agrees_with_the_package_nystrom_attention(tokens: int, fused: bool) -> None:
    # theirs starts the inverse from maxima over the batch, so one image and one head; or both run until it is found
    x = torch.randn(2, tokens, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours, theirs = alike(tokens, 1, iterations=6, fused=fused)
    torch.testing.assert_close(ours(Tokens(x[:1])), theirs(x[:1]))
    ours, theirs = alike(tokens, 3, iterations=20, fused=fused)
    torch.testing.assert_close(ours(Tokens(x)), theirs(x))


@pytest.mark.parametrize(
    ("tokens", "dim", "macs", "params"),
    [(1025, 128, 155_066_368, 65_796), (1024, 128, 147_456_000, 65_796), (257, 256, 84_713_472, 131_460)],
)
def test_unfused_it_costs_what_vision_xformers_count(tokens: int, dim: int, macs: int, params: int) -> None:
    options = {"conv": 33, "pad": True, "head_dim": 32, "qkv_bias": False}
    unfused = Nystromformer(dim, 4, Layout(None, tokens, 0), fused=False, **options)
    assert unfused.macs() == macs
    assert sum(p.numel() for p in unfused.parameters()) == params
    # fused, the inverse meets landmarks' values in the place of all queries' weights, and empty rows are let go
    fused = Nystromformer(dim, 4, Layout(None, tokens, 0), **options)
    landmarks, inner, empty = 64, 128, fused.front
    saved = 4 * (empty + tokens) * landmarks**2 - landmarks**2 * inner + empty * (2 * landmarks * inner + inner * dim)
    assert fused.macs() == macs - saved


def test_with_empty_rows_as_many_as_make_the_landmarks_divide() -> None:
    assert Nystromformer(32, 4, Layout(None, 1025, 0), pad=True).front == 63
    assert Nystromformer(32, 4, Layout(None, 1024, 0), pad=True).front == 0
    assert Nystromformer(32, 4, Layout(None, 1025, 0)).front == 0
    assert Nystromformer(32, 4, Layout(None, 40, 0), pad=True).front == 0  # each token is a landmark


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("pad", [True, False])
def test_turned_queries_and_keys_agree_with_the_reference_and_are_counted(fused: bool, pad: bool) -> None:
    torch.manual_seed(0)
    layout = Layout.of_grid((4, 5), prefix=1)
    mixer = Nystromformer(32, 4, layout, landmarks=4, pad=pad, fused=fused).double()
    tokens = Tokens(torch.randn(2, 21, 32, dtype=torch.float64), (4, 5), prefix=1)
    unturned = mixer(tokens)
    mixer.rotation = Rotation(8, layout, axes=1, base=100.0, front=mixer.front).double()
    torch.testing.assert_close(mixer(tokens), mixer.reference(tokens))
    assert (mixer(tokens) - unturned).abs().max() > 1e-3
    assert count_module(mixer, tokens).macs == 2 * mixer.macs()  # two images


@pytest.mark.parametrize("options", [{"landmarks": 0}, {"conv": 4}, {"conv": -1}, {"iterations": 0}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Nystromformer(32, 4, Layout.of_grid((3, 3)), **options)
