from __future__ import annotations

import math

import pytest
import torch
from reformer_pytorch.reformer_pytorch import LSHAttention

from paretovit.errors import UserError
from paretovit.zoo.mixers.reformer import Reformer, bucket_factors
from paretovit.zoo.tokens import Layout, Tokens

GRID = (4, 8)


def tokens_of(images: int = 2, grid: tuple[int, int] = GRID, dim: int = 16) -> Tokens:
    return Tokens(torch.randn(images, grid[0] * grid[1], dim, dtype=torch.float64), grid)


def heads_of(linear: torch.nn.Linear, x: torch.Tensor, heads: int) -> torch.Tensor:
    return linear(x).unflatten(-1, (heads, -1)).transpose(1, 2)


@pytest.mark.parametrize("chunk", [32, 16], ids=["one chunk", "two chunks that hear each other"])
def test_chunks_that_hear_all_give_attention_with_shared_queries_and_keys_but_not_to_oneself(chunk: int) -> None:
    torch.manual_seed(0)
    mixer, tokens = Reformer(16, 2, Layout.of_grid(GRID), chunk=chunk).double(), tokens_of()
    q, v = heads_of(mixer.qk, tokens.x, 2), heads_of(mixer.v, tokens.x, 2)
    logits = q @ (q / q.norm(dim=-1, keepdim=True)).mT / 8**0.5
    logits = logits.masked_fill(torch.eye(32, dtype=torch.bool), float("-inf"))
    expected = mixer.proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixer(tokens), expected)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_agrees_with_the_package_of_reformer_pytorch(rounds: int) -> None:
    """Their first chunk of a round looks back into the round before, so tokens that sit there are left out."""
    torch.manual_seed(0)
    mixer, tokens = Reformer(16, 2, Layout.of_grid(GRID), chunk=4, rounds=rounds).double(), tokens_of()
    theirs = LSHAttention(bucket_size=4, n_hashes=rounds).double()
    mixer.buckets = (8,)  # theirs has as many as chunks
    torch.manual_seed(3)
    mixer.projections = torch.randn(8, rounds * 4, dtype=torch.float64)
    qk, v = heads_of(mixer.qk, tokens.x, 2), heads_of(mixer.v, tokens.x, 2)
    torch.manual_seed(3)
    heard = theirs(qk.flatten(0, 1), v.flatten(0, 1))[0].unflatten(0, (2, 2))
    mixer.proj.load_state_dict({"weight": torch.eye(16), "bias": torch.zeros(16)})
    ours = mixer(tokens).unflatten(-1, (2, 8)).transpose(1, 2)
    first = mixer._order(qk.transpose(1, 2))[..., :4].flatten(2) if rounds > 1 else torch.empty(2, 2, 0).long()
    alike = torch.ones(2, 2, 32).scatter(2, first, 0.0).bool()
    assert alike.sum() > 32
    torch.testing.assert_close(ours[alike], heard[alike])


def test_equal_queries_fall_in_the_same_bucket_in_every_round() -> None:
    torch.manual_seed(0)
    mixer = Reformer(16, 2, Layout.of_grid(GRID), chunk=1, rounds=4).double()
    queries = torch.randn(2, 32, 2, 8, dtype=torch.float64)
    queries[:, 30] = queries[:, 5]
    queries[:, 6:30] = -queries[:, 5:6]  # the opposite direction never falls in the same bucket
    place = mixer._order(queries).argsort(-1)
    assert ((place[..., 30] - place[..., 5]) <= 6).all()  # only tokens 0 to 4 and 31 may lie between


def test_two_hashes_take_over_where_there_are_many_buckets() -> None:
    torch.manual_seed(0)
    mixer, tokens = Reformer(16, 2, Layout.of_grid((5, 8)), chunk=1, rounds=2).double(), tokens_of(grid=(5, 8))
    assert mixer.buckets == (10, 8)
    with torch.no_grad():
        torch.testing.assert_close(mixer(tokens), mixer.reference(tokens))


@pytest.mark.parametrize("buckets", [2, 14, 64, 66, 258, 1024])
def test_hashes_are_even_and_make_enough_buckets(buckets: int) -> None:
    factors = bucket_factors(buckets)
    assert all(factor % 2 == 0 for factor in factors)
    assert buckets <= math.prod(factors) <= 1.25 * buckets


def test_a_token_alone_hears_itself() -> None:
    mixer = Reformer(16, 2, Layout.of_grid((1, 1))).double()
    x = torch.randn(2, 1, 16, dtype=torch.float64)
    torch.testing.assert_close(mixer(Tokens(x, (1, 1))), mixer.proj(mixer.v(x)))


def test_chunks_are_equally_long_and_the_last_may_have_empty_slots() -> None:
    mixer = Reformer(16, 2, Layout.of_grid((14, 14), prefix=1), chunk=32)
    assert (mixer.chunks, mixer.chunk) == (7, 29)
    assert mixer.unheard[-1, 0].isinf().nonzero().flatten().tolist() == [52, 53, 54, 55, 56, 57]
    assert mixer.unheard[0, 0].isinf().nonzero().flatten().tolist() == [23, 24, 25, 26, 27, 28]
    assert not mixer.unheard[1:-1].isinf().any()


def test_redrawing_gives_other_projections_in_the_same_place() -> None:
    mixer = Reformer(16, 2, Layout.of_grid(GRID), chunk=4)
    place, before = mixer.projections, mixer.projections.clone()
    mixer.redraw()
    assert mixer.projections is place
    assert (mixer.projections != before).all()


def test_projections_are_saved_and_not_trained() -> None:
    mixer = Reformer(16, 2, Layout.of_grid(GRID), chunk=4)
    assert "projections" in mixer.state_dict()
    assert "projections" not in dict(mixer.named_parameters())


def test_large_queries_stay_finite() -> None:
    mixer = Reformer(16, 2, Layout.of_grid(GRID), chunk=4)
    assert mixer(Tokens(1e4 * torch.randn(2, 32, 16), GRID)).isfinite().all()


@pytest.mark.parametrize("options", [{"chunk": 0}, {"rounds": 0}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Reformer(16, 2, Layout.of_grid(GRID), **options)
