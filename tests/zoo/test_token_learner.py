from __future__ import annotations

import pytest
import torch

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.sequences.token_learner import TokenLearner
from paretovit.zoo.tokens import Layout, Tokens


def test_without_a_preference_every_summary_is_the_mean() -> None:
    learner = TokenLearner(2, Layout.of_grid((1, 3), 1), tokens=2, bottleneck=4)
    torch.nn.init.zeros_(learner.fc2.weight)
    out = learner(Tokens(torch.tensor([[[9.0, 9], [1, 0], [2, 0], [6, 3]]]), grid=(1, 3), prefix=1), None)
    torch.testing.assert_close(out.x, torch.tensor([[[9.0, 9], [3, 1], [3, 1]]]))


def test_sizes_count_and_the_dead_do_not() -> None:
    learner = TokenLearner(2, Layout.of_grid((1, 3), 0), tokens=1, bottleneck=4)
    torch.nn.init.zeros_(learner.fc2.weight)
    x = torch.tensor([[[1.0, 0], [2, 0], [6, 3]]])
    sized = learner(Tokens(x, size=torch.tensor([[1.0, 4, 1]])), None)
    torch.testing.assert_close(sized.x, torch.tensor([[[15 / 6, 3 / 6]]]))
    masked = learner(Tokens(x, alive=torch.tensor([[1.0, 1, 0]])), None)
    torch.testing.assert_close(masked.x, torch.tensor([[[1.5, 0]]]))


def test_agrees_with_the_sum_written_out() -> None:
    torch.manual_seed(0)
    learner = TokenLearner(8, Layout.of_grid((6, 5), 1), tokens=3, bottleneck=7).double()
    x_ND = torch.randn(31, 8, dtype=torch.float64)
    out = learner(Tokens(x_ND[None], grid=(6, 5), prefix=1), None)
    patches = x_ND[1:]
    normed = (patches - patches.mean(1, True)) / (patches.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    inner = normed @ learner.fc1.weight.T + learner.fc1.bias
    gelu = inner * 0.5 * (1 + (inner / 2**0.5).erf())
    weight_NS = (gelu @ learner.fc2.weight.T + learner.fc2.bias).exp()
    for s in range(3):
        expected = sum(weight_NS[n, s] * patches[n] for n in range(30)) / weight_NS[:, s].sum()
        torch.testing.assert_close(out.x[0, 1 + s], expected)


def test_the_second_half_of_the_blocks_sees_the_summary() -> None:
    stage = Stage(depth=4, dim=32, heads=2, sequence=Part.of("token_learner", tokens=3))
    model = Backbone(ModelSpec(name="tiny", stages=(stage,), image_px=32, patch_px=8, num_classes=5))
    assert [block.mixer.layout.num_tokens for block in model.stages[0]] == [17, 17, 4, 4]


@pytest.mark.parametrize("tokens", [0, 5])
def test_refuses_no_summary_and_one_longer_than_the_sequence(tokens: int) -> None:
    with pytest.raises(UserError, match="1 to 4"):
        TokenLearner(8, Layout.of_grid((2, 2), 1), tokens=tokens)
