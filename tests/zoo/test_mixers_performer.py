from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.mixers._random_features import orthogonal_normal
from paretovit.zoo.mixers.performer import Performer
from paretovit.zoo.rotation import Rotation
from paretovit.zoo.tokens import Layout, Tokens

LAYOUT = Layout.of_grid((4, 5))


def heads_of(mixer: Performer, x: Tensor) -> tuple[Tensor, ...]:
    qkv = mixer.qkv(x).unflatten(-1, (3, mixer.heads, mixer.head_dim))
    return qkv.permute(2, 0, 3, 1, 4).unbind(0)


def error(features: int, draws: int = 40) -> float:
    """Root mean square distance to softmax attention, over several draws of the features."""
    mixer = Performer(16, 2, LAYOUT, features=features, eps=0.0).double()
    torch.manual_seed(0)
    torch.nn.init.normal_(mixer.qkv.weight, std=0.05)
    torch.nn.init.zeros_(mixer.qkv.bias)
    mixer.proj.load_state_dict({"weight": torch.eye(16), "bias": torch.zeros(16)})
    x = torch.randn(2, 20, 16, dtype=torch.float64)
    q, k, v = heads_of(mixer, x)
    exact = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    squares = []
    for _ in range(draws):
        mixer.redraw()
        squares.append((mixer(Tokens(x, (4, 5))) - exact).square().mean())
    return (torch.stack(squares).mean() / exact.square().mean()).sqrt().item()


def test_the_error_halves_with_four_times_the_features() -> None:
    with torch.no_grad():
        few, more, many = error(32), error(128), error(512)
    assert few < 0.1
    assert 1.7 < few / more < 2.3
    assert 1.7 < more / many < 2.3


@pytest.mark.parametrize("kernel", ["softmax", "relu"])
def test_agrees_with_the_package_of_performer_pytorch(kernel: str) -> None:
    theirs = pytest.importorskip("performer_pytorch.performer_pytorch")
    torch.manual_seed(0)
    mixer = Performer(32, 4, LAYOUT, features=12, kernel=kernel, eps=0.0).double()  # theirs adds its eps elsewhere
    x = torch.randn(3, 20, 32, dtype=torch.float64)
    q, k, v = heads_of(mixer, x)
    if kernel == "softmax":
        q = theirs.softmax_kernel(q, projection_matrix=mixer.projection, is_query=True, eps=0.0)
        k = theirs.softmax_kernel(k, projection_matrix=mixer.projection, is_query=False, eps=0.0)
    else:
        q, k = (theirs.generalized_kernel(part, projection_matrix=mixer.projection) for part in (q, k))
    expected = mixer.proj(theirs.linear_attention(q, k, v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixer(Tokens(x, (4, 5))), expected)


def test_features_are_orthogonal_in_blocks_and_as_long_as_normal_vectors() -> None:
    torch.manual_seed(0)
    rows = orthogonal_normal(20, 8).double()
    assert rows.shape == (20, 8)
    for block in rows.split(8):
        unit = block / block.norm(dim=1, keepdim=True)
        torch.testing.assert_close(unit @ unit.T, torch.eye(len(block)).double(), atol=1e-5, rtol=0)
    many = orthogonal_normal(40_000, 8)
    assert many.square().sum(1).mean().item() == pytest.approx(8, rel=0.02)  # chi-squared with 8 degrees
    assert many.square().sum(1).var().item() == pytest.approx(16, rel=0.05)
    torch.testing.assert_close(many.T @ many / len(many), torch.eye(8), atol=0.03, rtol=0)


def test_rotations_have_no_preferred_sign() -> None:
    torch.manual_seed(0)
    diagonal = orthogonal_normal(8 * 2000, 8).view(2000, 8, 8).diagonal(dim1=1, dim2=2)
    assert diagonal.mean(0).abs().max() < 0.1  # an unmended QR decomposition gives 0.2 to 1


def test_k_ln_k_features_unless_told_otherwise() -> None:
    assert Performer(64, 1, LAYOUT).features == 266  # 64 ln 64 = 266.2


@pytest.mark.parametrize(
    ("tokens", "dim", "macs", "params"),
    [(1025, 128, 125_353_400, 66_048), (1024, 128, 125_231_104, 66_048), (257, 256, 48_272_824, 131_712)],
)
def test_costs_what_vision_xformers_count(tokens: int, dim: int, macs: int, params: int) -> None:
    mixer = Performer(dim, 4, Layout(None, tokens, 0), head_dim=32, features=110)
    assert mixer.macs() == macs
    assert sum(p.numel() for p in mixer.parameters()) == params


@pytest.mark.parametrize("kernel", ["softmax", "relu"])
def test_queries_and_keys_are_turned_before_their_features(kernel: str) -> None:
    torch.manual_seed(0)
    mixer = Performer(32, 4, LAYOUT, kernel=kernel).double()
    tokens = Tokens(torch.randn(2, 20, 32, dtype=torch.float64), (4, 5))
    unturned = mixer(tokens)
    mixer.rotation = Rotation(8, LAYOUT, axes=1, base=100.0).double()
    torch.testing.assert_close(mixer(tokens), mixer.reference(tokens))
    assert (mixer(tokens) - unturned).abs().max() > 1e-3


def test_redrawing_gives_other_features_in_the_same_place() -> None:
    mixer = Performer(32, 4, LAYOUT)
    place, before = mixer.projection, mixer.projection.clone()
    mixer.redraw()
    assert mixer.projection is place
    assert (mixer.projection != before).all()


def test_features_are_saved_and_not_trained() -> None:
    mixer = Performer(32, 4, LAYOUT)
    assert "projection" in mixer.state_dict()
    assert "projection" not in dict(mixer.named_parameters())


def test_large_queries_and_keys_stay_finite() -> None:
    mixer = Performer(32, 4, LAYOUT)
    assert mixer(Tokens(1000 * torch.randn(2, 20, 32), (4, 5))).isfinite().all()


@pytest.mark.parametrize("options", [{"features": 0}, {"kernel": "cosine"}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Performer(32, 4, LAYOUT, **options)  # type: ignore[arg-type]
