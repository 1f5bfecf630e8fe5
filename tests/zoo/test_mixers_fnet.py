from __future__ import annotations

import pytest
import torch

from paretovit.errors import UserError
from paretovit.zoo.mixers.fnet import Fnet
from paretovit.zoo.tokens import Layout, Tokens


@pytest.mark.parametrize("patches", [1, 2, 9, 16])
@pytest.mark.parametrize("dim", [1, 2, 7, 32])
def test_is_the_real_part_of_the_papers_two_transforms(patches: int, dim: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, patches, dim, dtype=torch.float64)
    expected = torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real
    torch.testing.assert_close(Fnet(dim, 1, Layout(None, patches, 0))(Tokens(x)), expected)


@pytest.mark.parametrize("norm", ["backward", "ortho"])
@pytest.mark.parametrize(("patches", "dim"), [(9, 7), (4, 6), (5, 8)])
def test_gradients_are_those_of_the_two_transforms(norm: str, patches: int, dim: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 2, patches, dim, dtype=torch.float64)
    x.requires_grad_()
    (expected,) = torch.autograd.grad((torch.fft.fft2(x, norm=norm).real * weight).sum(), x)
    mixer = Fnet(dim, 1, Layout(None, patches, 0), norm=norm)  # type: ignore[arg-type]
    (ours,) = torch.autograd.grad((mixer(Tokens(x)) * weight).sum(), x)
    torch.testing.assert_close(ours, expected)
    assert torch.autograd.gradgradcheck(lambda x: mixer(Tokens(x)), x)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is")  # of torch's own, on the first use of forward mode
def test_torch_func_goes_through_it() -> None:
    torch.manual_seed(0)
    x, way = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    mixer = Fnet(7, 1, Layout(None, 9, 0))

    def loss(x_ND: torch.Tensor) -> torch.Tensor:
        return mixer(Tokens(x_ND[None])).pow(3).sum()

    image_by_image = torch.stack([torch.func.grad(loss)(image) for image in x])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x), image_by_image)
    _, forward = torch.func.jvp(torch.func.grad(loss), (x[0],), (way[0],))
    _, back = torch.autograd.functional.hvp(loss, x[0], way[0])
    torch.testing.assert_close(forward, back)


def test_keeps_the_size_of_values_where_asked_to() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 30, 32)
    mixed = Fnet(32, 4, Layout.of_grid((6, 5)), norm="ortho")(Tokens(x, (6, 5)))
    # the imaginary part, which is left out, has the other half of the squares
    assert 2 * mixed.square().mean().item() == pytest.approx(x.square().mean().item(), rel=0.05)


def test_refuses_a_scale_that_it_does_not_know() -> None:
    with pytest.raises(UserError, match="norm must be"):
        Fnet(32, 4, Layout.of_grid((6, 5)), norm="forward")  # type: ignore[arg-type]


def test_learns_nothing() -> None:
    assert not Fnet(32, 4, Layout.of_grid((6, 5))).state_dict()


def test_gives_back_the_precision_it_gets() -> None:
    x = torch.randn(1, 30, 32).bfloat16()
    out = Fnet(32, 4, Layout.of_grid((6, 5)))(Tokens(x, (6, 5)))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), torch.fft.fft2(x.float()).real, rtol=0.01, atol=0.01)
