from __future__ import annotations

import pytest
import torch
from sinkhorn_transformer.sinkhorn_transformer import sinkhorn_sorting_operator
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import sinkhorn
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.mixers.sinkhorn import Sinkhorn, block_slots, log_sinkhorn
from paretovit.zoo.tokens import Layout, Tokens

GRID = (4, 5)


def tokens_of(images: int = 2, grid: tuple[int, int] = GRID, dim: int = 16) -> Tokens:
    return Tokens(torch.randn(images, grid[0] * grid[1], dim, dtype=torch.float64), grid)


class Fixed(nn.Module):
    """Scores that send block m to block `to[m]`, whatever the tokens."""

    def __init__(self, to: list[int], heads: int) -> None:
        super().__init__()
        self.rows = 1000 * nn.functional.one_hot(torch.tensor(to), len(to)).double().repeat(1, heads)

    def forward(self, means_BMD: Tensor) -> Tensor:
        return self.rows.expand(len(means_BMD), -1, -1)


def test_one_block_is_plain_attention() -> None:
    torch.manual_seed(0)
    plain = Attention(16, 2, Layout.of_grid(GRID)).double()
    ours = Sinkhorn(16, 2, Layout.of_grid(GRID), blocks=1).double()
    ours.load_state_dict(plain.state_dict())
    tokens = tokens_of()
    torch.testing.assert_close(ours(tokens), plain(tokens))


@pytest.mark.parametrize(
    ("grid", "to"), [((4, 5), [2, 0, 3, 1]), ((3, 6), [1, 3, 0, 2]), ((3, 5), [3, 2, 1, 0])], ids=str
)
def test_a_hard_permutation_gives_attention_to_two_blocks(grid: tuple[int, int], to: list[int]) -> None:
    """18 and 15 tokens in 4 blocks: the empty slots of short blocks are heard neither at home nor abroad."""
    torch.manual_seed(0)
    mixer = Sinkhorn(16, 2, Layout.of_grid(grid), blocks=4).double()
    mixer.scores = Fixed(to, heads=2)
    tokens = tokens_of(grid=grid)
    n = tokens.x.shape[1]
    short, long = divmod(n, 4)
    block = torch.tensor([m for m in range(4) for _ in range(short + (m >= 4 - long))])
    assert len(block) == n
    abroad = torch.tensor(to)[block]
    times = (block[:, None] == block[None, :]).double() + (abroad[:, None] == block[None, :]).double()
    q, k, v = mixer.qkv(tokens.x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
    weights = (q @ k.mT / 8**0.5).exp() * times
    expected = mixer.proj((weights @ v / weights.sum(-1, keepdim=True)).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixer(tokens), expected)


def test_norming_rows_and_columns_ends_in_a_doubly_stochastic_matrix() -> None:
    torch.manual_seed(0)
    sort = log_sinkhorn(3 * torch.randn(5, 7, 7, dtype=torch.float64), 200).exp()
    torch.testing.assert_close(sort.sum(-1), torch.ones(5, 7).double())
    torch.testing.assert_close(sort.sum(-2), torch.ones(5, 7).double())
    assert (sort >= 0).all()


def test_rows_sum_to_one_after_any_number_of_iterations() -> None:
    sort = log_sinkhorn(10 * torch.randn(3, 6, 6, dtype=torch.float64), 1).exp()
    torch.testing.assert_close(sort.sum(-1), torch.ones(3, 6).double())


def test_agrees_with_the_norming_of_sinkhorn_transformer() -> None:
    """Theirs norms rows first: the transpose of ours."""
    scores = 2 * torch.randn(4, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(log_sinkhorn(scores, 8).exp(), sinkhorn_sorting_operator(scores.mT, 8).mT)


def test_large_scores_stay_finite() -> None:
    assert log_sinkhorn(1e4 * torch.randn(2, 5, 5), 8).isfinite().all()


def test_noise_is_drawn_in_training_only() -> None:
    mixer, tokens = Sinkhorn(16, 2, Layout.of_grid(GRID), blocks=4, noise=1.0).double(), tokens_of()
    mixer.eval()
    assert torch.equal(mixer(tokens), mixer(tokens))
    mixer.train()
    assert not torch.allclose(mixer(tokens), mixer(tokens))


def test_noise_is_gumbels(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mixer = Sinkhorn(16, 2, Layout.of_grid((40, 40)), blocks=400, noise=1.0, temperature=2.0)
    mixer.scores = Fixed([0] * 400, heads=2)
    mixer.scores.rows.zero_()
    monkeypatch.setattr(sinkhorn, "log_sinkhorn", lambda scores, iterations: scores)
    noise = 2 * mixer._log_sort(torch.zeros(1, 1600, 16))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)  # Euler's constant
    assert noise.var().item() == pytest.approx(torch.pi**2 / 6, rel=0.02)


def test_short_blocks_come_first_and_repeat_their_last_token() -> None:
    into, back = block_slots(7, 3)
    assert into.tolist() == [0, 1, 1, 2, 3, 3, 4, 5, 6]
    assert back.tolist() == [0, 1, 3, 4, 6, 7, 8]


def test_more_blocks_than_tokens_are_as_many() -> None:
    assert Sinkhorn(16, 2, Layout.of_grid((2, 3)), blocks=7).blocks == 6


@pytest.mark.parametrize("options", [{"blocks": 0}, {"iterations": 0}, {"temperature": 0.0}, {"noise": -1.0}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Sinkhorn(16, 2, Layout.of_grid(GRID), **options)  # type: ignore[arg-type]
