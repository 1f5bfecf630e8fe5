from __future__ import annotations

import pytest
import torch

from paretovit.errors import UserError
from paretovit.zoo.mixers.afno import Afno
from paretovit.zoo.tokens import Layout, Tokens

GRID = (6, 5)


def tokens() -> torch.Tensor:
    return torch.randn(2, 30, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("residual", [True, False])
def test_layers_that_pass_everything_on_give_the_tokens(residual: bool) -> None:
    mixer = Afno(16, 1, Layout.of_grid(GRID), blocks=4, shrink=0.0, residual=residual).double()
    one = torch.stack((torch.eye(4), torch.zeros(4, 4)), dim=-1).double()
    with torch.no_grad():
        for weight, bias, lift in ((mixer.weight1, mixer.bias1, 100), (mixer.weight2, mixer.bias2, -100)):
            weight.copy_(one.expand(4, -1, -1, -1))
            bias.fill_(lift)  # lifted above 0 so that the ReLU lets all pass, and taken down again
    x = tokens()
    torch.testing.assert_close(mixer(Tokens(x, GRID)), 2 * x if residual else x)


@pytest.mark.parametrize("residual", [True, False])
def test_frequencies_below_the_threshold_are_gone(residual: bool) -> None:
    torch.manual_seed(0)
    mixer, x = Afno(16, 1, Layout.of_grid(GRID), shrink=1e6, residual=residual).double(), tokens()
    assert torch.equal(mixer(Tokens(x, GRID)), x if residual else torch.zeros_like(x))


def test_shrinking_leaves_less_of_every_frequency() -> None:
    torch.manual_seed(0)
    few = Afno(16, 1, Layout.of_grid(GRID), shrink=0.02, residual=False).double()
    all_ = Afno(16, 1, Layout.of_grid(GRID), shrink=0.0, residual=False).double()
    all_.load_state_dict(few.state_dict())
    images = (mixer(Tokens(tokens(), GRID)).unflatten(1, GRID) for mixer in (few, all_))
    less, more = (torch.view_as_real(torch.fft.rfft2(x, dim=(1, 2), norm="ortho")).abs() for x in images)
    # frequencies of 0 along the columns are halved between themselves and their mirror image when made real
    torch.testing.assert_close(less[:, :, 1:], (more[:, :, 1:] - 0.02).clamp(min=0))


def test_channels_of_different_blocks_do_not_meet() -> None:
    torch.manual_seed(0)
    mixer, x = Afno(16, 1, Layout.of_grid(GRID), blocks=4, shrink=0.0).double(), tokens()
    changed = x.clone()
    changed[..., 5] += torch.randn(30, dtype=torch.float64)
    moved = (mixer(Tokens(changed, GRID)) - mixer(Tokens(x, GRID))).abs().amax((0, 1))
    assert (moved[4:8] > 1e-6).all()
    moved[4:8] = 0
    assert moved.max() < 1e-12


def test_weights_fit_images_of_every_size() -> None:
    small, large = Afno(16, 1, Layout.of_grid(GRID)), Afno(16, 1, Layout.of_grid((24, 10)))
    large.load_state_dict(small.state_dict())
    # a frequency of the small grid, four times and twice as fine on the large one
    x = tokens().float().unflatten(1, GRID)
    tiled = x.repeat(1, 4, 2, 1).flatten(1, 2) / 8**0.5  # a tile of the image has the frequencies of the image
    with torch.no_grad():
        for bias in (small.bias1, small.bias2, large.bias1, large.bias2):
            bias.zero_()
        expected = small(Tokens(x.flatten(1, 2), GRID)).unflatten(1, GRID).repeat(1, 4, 2, 1).flatten(1, 2) / 8**0.5
        torch.testing.assert_close(large(Tokens(tiled, (24, 10))), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"blocks": 3}, {"blocks": 0}, {"shrink": -0.1}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Afno(16, 1, Layout.of_grid(GRID), **options)  # type: ignore[arg-type]
