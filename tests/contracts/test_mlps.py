"""What every MLP promises: each is tried as the catalog uses it, or with its defaults where no model has it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from paretovit.cost.counting import count_module
from paretovit.spec import Part
from paretovit.zoo.folders import MLPS
from paretovit.zoo.mlps import TokenMlp
from paretovit.zoo.skeletons import ARCHITECTURES, Scale
from paretovit.zoo.taxonomy import FAMILIES
from paretovit.zoo.tokens import Layout, Tokens

IMAGES, GRID, PREFIX, DIM = 3, (6, 5), 1, 32


def parts() -> list[Part]:
    slots = [architecture.slots(Scale(rows=5, columns=5, depth=12)) for architecture in ARCHITECTURES.values()]
    used = {slot["mlp"] for slot in slots if "mlp" in slot}
    return sorted(used | {Part(n) for n in MLPS.names() if n not in {part.name for part in used}}, key=str)


def make(part: Part) -> TokenMlp:
    """In double precision, with parameters large enough that every one of them shows in the output."""
    torch.manual_seed(0)
    mlp = MLPS[part.name](DIM, Layout.of_grid(GRID, PREFIX), **dict(part.options)).double().eval()
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.normal_(std=0.3)
    return mlp


@pytest.fixture(params=parts(), ids=str)
def part(request: pytest.FixtureRequest) -> Part:
    return request.param


@pytest.fixture
def mlp(part: Part) -> TokenMlp:
    return make(part)


@pytest.fixture
def tokens() -> Tokens:
    torch.manual_seed(1)
    count = Layout.of_grid(GRID, PREFIX).num_tokens
    return Tokens(torch.randn(IMAGES, count, DIM, dtype=torch.float64), grid=GRID, prefix=PREFIX)


class Alone(nn.Module):
    """An MLP as a module from values to values, for the counter."""

    def __init__(self, mlp: TokenMlp) -> None:
        super().__init__()
        self.mlp = mlp

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.mlp(Tokens(x_BND, grid=GRID, prefix=PREFIX))


@pytest.mark.parametrize("name", MLPS.names())
def test_states_its_family(name: str) -> None:
    assert issubclass(MLPS[name], TokenMlp)
    assert MLPS[name].family in FAMILIES
    assert MLPS.fact(name, "family") == MLPS[name].family, "the catalog reads it from the source: state it as a literal"


def test_keeps_the_shape(mlp: TokenMlp, tokens: Tokens) -> None:
    assert mlp(tokens).shape == tokens.x.shape


def test_agrees_with_its_reference(mlp: TokenMlp, tokens: Tokens) -> None:
    torch.testing.assert_close(mlp(tokens), mlp.reference(tokens))


def test_never_mixes_images(mlp: TokenMlp, tokens: Tokens) -> None:
    torch.testing.assert_close(mlp(tokens)[1:2], mlp(tokens.with_x(tokens.x[1:2])))


def test_gradients_reach_every_parameter_and_the_tokens(mlp: TokenMlp, tokens: Tokens) -> None:
    tokens.x.requires_grad_()
    mlp(tokens).square().sum().backward()
    for name, parameter in mlp.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert tokens.x.grad is not None
    assert tokens.x.grad.abs().sum() > 0


def test_macs_are_those_of_its_operators(mlp: TokenMlp, tokens: Tokens) -> None:
    image = torch.empty(1, *tokens.x.shape[1:], device="meta", dtype=torch.float64)
    assert mlp.macs() == count_module(Alone(mlp).to("meta"), image).macs


def test_a_copy_with_its_state_does_the_same(part: Part, mlp: TokenMlp, tokens: Tokens) -> None:
    copy = make(part)
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.mul_(1.1)
    assert not torch.equal(copy(tokens), mlp(tokens))
    copy.load_state_dict(mlp.state_dict())
    torch.testing.assert_close(copy(tokens), mlp(tokens), rtol=0, atol=0)


def test_side_losses_appear_in_training_only_and_have_gradients(mlp: TokenMlp, tokens: Tokens) -> None:
    mlp(tokens)
    assert tokens.aux == {}
    mlp.train()(tokens)
    for loss in tokens.aux.values():
        assert loss.shape == ()
        assert loss.isfinite()
        assert loss.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_keeps_the_precision_it_is_given(mlp: TokenMlp, tokens: Tokens, dtype: torch.dtype) -> None:
    assert mlp.to(dtype)(tokens.with_x(tokens.x.to(dtype))).dtype == dtype
