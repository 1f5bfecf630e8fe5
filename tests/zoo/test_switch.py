from __future__ import annotations

import pytest
import torch

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.mlps.mlp import Mlp
from paretovit.zoo.mlps.switch import Switch
from paretovit.zoo.tokens import Layout, Tokens

LAYOUT = Layout.of_grid((2, 3), 0)


def constant_experts(**options: float) -> Switch:
    """Two experts for tokens of width 2: expert e answers 10 (e + 1) to everything, and gets the tokens whose
    entry e is the larger, with probability 0.9 where the two differ by 1."""
    switch = Switch(2, LAYOUT, experts=2, hidden=1, **options).eval()
    with torch.no_grad():
        switch.router.weight.copy_(torch.eye(2) * torch.log(torch.tensor(9.0)))
        switch.weight1.zero_()
        switch.weight2.zero_()
        switch.bias2.copy_(torch.tensor([10.0, 20.0])[:, None, None].expand(2, 1, 2))
    return switch


def tokens_for(*experts: int) -> Tokens:
    return Tokens(torch.eye(2)[list(experts)][None])


def test_a_token_gets_its_expert_times_the_probability() -> None:
    out = constant_experts()(tokens_for(0, 1, 1, 0, 1, 0))
    torch.testing.assert_close(out[0, :, 0], torch.tensor([9.0, 18, 18, 9, 18, 9]))


def test_an_expert_takes_its_capacity_in_order_and_the_rest_gets_zeros() -> None:
    out = constant_experts(capacity_factor=1.0)(tokens_for(0, 0, 1, 0, 0, 0))  # three seats each
    torch.testing.assert_close(out[0, :, 0], torch.tensor([9.0, 9, 18, 9, 0, 0]))


@pytest.mark.parametrize(
    ("factor", "experts", "tokens", "capacity"),
    [(1.25, 8, 197, 31), (1.0, 4, 8, 2), (1.1, 8, 80, 11), (1.25, 1, 10, 10), (0.01, 8, 16, 1)],
)
def test_capacity_is_the_fair_share_times_the_factor_rounded_up(
    factor: float, experts: int, tokens: int, capacity: int
) -> None:
    assert Switch(8, LAYOUT, experts=experts, capacity_factor=factor).capacity(tokens) == capacity


def test_one_expert_is_the_plain_mlp() -> None:
    torch.manual_seed(0)
    plain, switch = Mlp(8, LAYOUT), Switch(8, LAYOUT, experts=1)
    switch.load_state_dict(
        {
            "router.weight": torch.randn(1, 8),
            "weight1": plain.fc1.weight.T[None],
            "bias1": plain.fc1.bias[None, None],
            "weight2": plain.fc2.weight.T[None],
            "bias2": plain.fc2.bias[None, None],
        }
    )
    tokens = Tokens(torch.randn(2, 6, 8))
    torch.testing.assert_close(switch(tokens), plain(tokens))
    assert switch.macs() == plain.macs() + 6 * 8  # the router's


def test_the_balance_loss_is_one_where_experts_are_used_alike_and_more_where_not() -> None:
    switch = constant_experts().train()
    even, uneven = tokens_for(0, 1, 0, 1, 0, 1), tokens_for(0, 0, 0, 0, 0, 0)
    switch(even)
    switch(uneven)
    torch.testing.assert_close(even.aux["switch_balance"], torch.tensor(1.0))
    torch.testing.assert_close(uneven.aux["switch_balance"], torch.tensor(2 * (1 * 0.9 + 0 * 0.1)))


def model() -> Backbone:
    torch.manual_seed(0)
    stage = Stage(depth=3, dim=32, heads=2, mlp=Part.of("switch", experts=4))
    return Backbone(ModelSpec(name="tiny", stages=(stage,), image_px=32, patch_px=8, num_classes=5))


def test_the_balance_losses_of_all_blocks_are_summed_afresh_in_every_pass() -> None:
    switch, image = model().train(), torch.randn(2, 3, 32, 32)
    switch(image)
    first = switch.aux["switch_balance"].item()
    assert 2.9 < first < 3.6  # three blocks, each near 1 while the router knows nothing
    switch(image)
    assert switch.aux["switch_balance"].item() == pytest.approx(first)
    switch.eval()(image)
    assert switch.aux == {}


def test_checkpointing_does_not_count_the_balance_loss_twice() -> None:
    switch, image = model().train(), torch.randn(2, 3, 32, 32)
    switch(image)
    expected = switch.aux["switch_balance"].item()
    switch.set_grad_checkpointing()
    logits = switch(image)
    (logits.sum() + switch.aux["switch_balance"]).backward()
    assert switch.aux["switch_balance"].item() == pytest.approx(expected)


def test_routes_in_single_precision_under_autocast() -> None:
    switch = Switch(8, LAYOUT, experts=4)
    x = torch.randn(1, 6, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = switch._route(x)
    assert torch.equal(under, switch._route(x))
    assert switch.bfloat16()._route(x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("options", [{"experts": 0}, {"capacity_factor": 0.0}])
def test_refuses_no_expert_and_no_capacity(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="needs an expert and a capacity above 0"):
        Switch(8, LAYOUT, **options)
