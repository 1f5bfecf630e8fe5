from __future__ import annotations

import pytest
import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.build import build
from paretovit.zoo.norms.prepbn import Prepbn

DIM = 6


def tokens(seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(4, 5, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1


def norm(steps: int) -> Prepbn:
    made = Prepbn(DIM, steps=steps).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return made


def layer_normed(x: torch.Tensor, of: Prepbn) -> torch.Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * of.layer_norm.weight + of.layer_norm.bias


def batch_normed(x: torch.Tensor, of: Prepbn) -> torch.Tensor:
    mean, variance = x.mean((0, 1)), x.var((0, 1), correction=0)
    return (x - mean) / (variance + 1e-5).sqrt() * of.batch_norm.weight + of.batch_norm.bias + of.eta * x


def test_hands_over_from_layer_norm_to_batch_norm_in_equal_steps() -> None:
    prepbn, x = norm(steps=4).train(), tokens()
    for left in (3, 2, 1, 0, 0):
        share = left / 4
        expected = share * layer_normed(x, prepbn) + (1 - share) * batch_normed(x, prepbn)
        torch.testing.assert_close(prepbn(x), expected)


def test_at_inference_it_is_one_gain_and_one_shift_per_channel() -> None:
    prepbn = norm(steps=4).train()
    for seed in range(3):
        prepbn(tokens(seed))
    prepbn.eval()
    x = tokens(9)
    shift = prepbn(torch.zeros_like(x))
    torch.testing.assert_close(prepbn(x) - shift, x * (prepbn(torch.ones_like(x)) - shift))


@pytest.mark.parametrize("bias", [True, False])
def test_folds_into_the_linear_map_behind_it(bias: bool) -> None:
    prepbn, linear = norm(steps=2).train(), nn.Linear(DIM, 7, bias=bias).double()
    prepbn(tokens())
    prepbn.eval()
    x = tokens(5)
    torch.testing.assert_close(prepbn.folded(linear)(x), linear(prepbn(x)))


def test_the_steps_that_are_left_are_part_of_its_state() -> None:
    prepbn = norm(steps=4).train()
    prepbn(tokens())
    again = norm(steps=4)
    again.load_state_dict(prepbn.state_dict())
    assert again.left.item() == 3


@pytest.mark.parametrize("part", [Part.of("prepbn", steps=5), Part("batch_norm")], ids=str)
def test_a_training_step_leaves_one_trace_in_it_though_blocks_work_norms_out_again(part: Part) -> None:
    stage = Stage(depth=2, dim=8, heads=2)
    spec = ModelSpec(name="any", stages=(stage,), norm=part, image_px=8, patch_px=4, num_classes=3)
    model = build(spec).train()
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    tracked = [m.num_batches_tracked for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    assert [t.item() for t in tracked if t is not None] == [1] * 4
    assert all(m.left.item() == 4 for m in model.modules() if isinstance(m, Prepbn))


def test_refuses_to_hand_over_in_no_time() -> None:
    with pytest.raises(UserError, match="steps must be at least 1"):
        Prepbn(DIM, steps=0)
