from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.mixers.nystromformer import Nystromformer, nystrom_attention, pseudo_inverse, segment_means
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
        landmarks = (segment_means(part.transpose(1, 2), m).transpose(1, 2) for part in (q, k))
        errors.append((nystrom_attention(q, k, v, *landmarks) - exact).norm() / exact.norm())
    assert errors[0] > 5 * errors[1] > 25 * errors[2]


def test_later_segments_are_the_longer_ones() -> None:
    x = torch.tensor([1.0, 3.0, 10.0, 20.0, 100.0, 200.0, 600.0]).view(1, 7, 1)
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


@pytest.mark.parametrize("options", [{"landmarks": 0}, {"conv": 4}, {"conv": -1}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Nystromformer(32, 4, Layout.of_grid((3, 3)), **options)
