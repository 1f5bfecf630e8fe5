from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.mixers.fourier_learner import FourierLearner
from paretovit.zoo.mixers.performer import Performer
from paretovit.zoo.tokens import Layout, Tokens

GRID, PREFIX = (4, 5), 1
LAYOUT = Layout.of_grid(GRID, PREFIX)
PLACES = torch.tensor([(r, c) for r in range(GRID[0]) for c in range(GRID[1])]).double()


def built(**options: float) -> FourierLearner:
    torch.manual_seed(0)
    mixer = FourierLearner(16, 2, LAYOUT, eps=0.0, **options).double()  # type: ignore[arg-type]
    torch.nn.init.normal_(mixer.qkv.weight, std=0.05)
    torch.nn.init.zeros_(mixer.qkv.bias)
    return mixer


def tokens() -> Tokens:
    x = torch.randn(2, 21, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Tokens(x, GRID, PREFIX)


def f(mixer: FourierLearner, offset_2: Tensor) -> Tensor:
    """f(r_i - r_j) of the waves that were drawn, (..., H) for offsets (..., 2)."""
    angle = 2 * math.pi * 0.1 * offset_2 @ mixer.frequency.T  # 0.1 is the spread
    return (angle.cos() @ mixer.strengths().T) / len(mixer.frequency)


def bias(mixer: FourierLearner) -> Tensor:
    """f between all tokens, (H, N, N); 0 from and to the class token."""
    of_patches = f(mixer, PLACES[:, None] - PLACES[None]).permute(2, 0, 1)
    return F.pad(of_patches, (PREFIX, 0, PREFIX, 0))


def exact(mixer: FourierLearner, at: Tokens) -> Tensor:
    q, k, v = mixer.qkv(at.x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias(mixer).unsqueeze(0))
    return mixer.proj(out.transpose(1, 2).flatten(2))


def error(features: int, draws: int = 40) -> float:
    """Root mean square distance to softmax attention with the bias, over several draws of the features."""
    mixer = built(features=features, waves=4)
    mixer.weight.data.mul_(torch.tensor([1.0, -1.5] * 4))
    assert mixer.strengths().min() < -0.1 < 0.1 < mixer.strengths().max()
    expected = exact(mixer, tokens())
    squares = []
    for _ in range(draws):
        mixer.redraw()
        squares.append((mixer(tokens()) - expected).square().mean())
    return torch.stack(squares).mean().sqrt().item()


def test_tends_to_softmax_attention_with_the_bias_as_features_grow() -> None:
    with torch.no_grad():
        few, more, many = error(64), error(256), error(1024)
        mixer = built(waves=4)
        plain = exact(mixer, tokens())
        mixer.weight.zero_()
        assert (plain - exact(mixer, tokens())).square().mean().sqrt() > 2 * many  # there is a bias to be missed
    assert 1.6 < few / more < 2.4
    assert 1.6 < more / many < 2.4


def test_is_a_performer_where_no_wave_has_strength() -> None:
    mixer = built(features=12)
    mixer.weight.data.zero_()
    plain = Performer(16, 2, LAYOUT, features=12, eps=0.0).double()
    plain.load_state_dict(
        {k: v for k, v in mixer.state_dict().items() if k.startswith(("qkv", "proj."))}
        | {"projection": mixer.projection[:, :8]}
    )
    torch.testing.assert_close(mixer(tokens()), plain(tokens()), rtol=1e-4, atol=1e-4)  # waves of 1e-6 remain


def test_many_waves_give_the_fourier_transform_of_the_mixture() -> None:
    torch.manual_seed(0)
    mixer = FourierLearner(16, 2, LAYOUT, gaussians=2).double()
    mixer.frequency = torch.randn(200_000, 2, dtype=torch.float64)
    with torch.no_grad():
        mixer.weight.copy_(torch.tensor([[1.0, -0.5], [0.3, 2.0]]))
        mixer.log_width.copy_(torch.tensor([[0.7, 0.5], [0.6, 0.8]]).log())
        mixer.centre.copy_(torch.tensor([[[0.5, 0.0], [0.0, 1.0]], [[0.3, -0.4], [0.0, 0.0]]]))
        estimate = f(mixer, PLACES)
    rows, columns = PLACES.unbind(1)
    for head in range(2):
        expected = torch.zeros(20, dtype=torch.float64)
        for w, s, (m_r, m_c) in zip(
            mixer.weight[head].tolist(), mixer.log_width[head].exp().tolist(), mixer.centre[head].tolist(), strict=True
        ):
            envelope = torch.exp(-2 * math.pi**2 * (0.1 * s) ** 2 * (rows**2 + columns**2))
            expected += w * s**2 * envelope * torch.cos(2 * math.pi * 0.1 * (m_r * rows + m_c * columns))
        torch.testing.assert_close(estimate[:, head], expected, rtol=0, atol=0.02)


def test_large_queries_and_keys_stay_finite() -> None:
    mixer = FourierLearner(16, 2, LAYOUT)
    assert mixer(Tokens(1000 * torch.randn(2, 21, 16), GRID, PREFIX)).isfinite().all()


def test_a_strength_of_zero_has_a_finite_gradient() -> None:
    mixer = built()
    mixer.weight.data.zero_()
    mixer(tokens()).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())


@pytest.mark.parametrize("options", [{"features": 0}, {"waves": 0}, {"gaussians": 0}, {"spread": 0.0}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        FourierLearner(16, 2, LAYOUT, **options)  # type: ignore[arg-type]
