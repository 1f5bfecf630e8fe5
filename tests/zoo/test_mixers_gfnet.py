from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from paretovit.zoo.mixers.gfnet import Gfnet
from paretovit.zoo.tokens import Layout, Tokens

GRIDS = [(6, 5), (5, 6), (4, 4), (1, 3), (1, 1)]


def built(grid: tuple[int, int], dim: int = 3) -> Gfnet:
    torch.manual_seed(0)
    return Gfnet(dim, 1, Layout.of_grid(grid)).double()


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_filter_of_ones_changes_nothing(grid: tuple[int, int]) -> None:
    mixer = built(grid)
    mixer.filter.data = torch.tensor([1.0, 0.0], dtype=torch.float64).expand_as(mixer.filter).contiguous()
    x = torch.randn(2, grid[0] * grid[1], 3, dtype=torch.float64)
    torch.testing.assert_close(mixer(Tokens(x, grid)), x)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_is_a_circular_convolution_as_large_as_the_image(grid: tuple[int, int]) -> None:
    mixer, (rows, columns) = built(grid), grid
    kernel = torch.randn(rows, columns, 3, dtype=torch.float64)
    mixer.filter.data = torch.view_as_real(torch.fft.rfft2(kernel, dim=(0, 1))).contiguous()
    x = torch.randn(2, rows * columns, 3, dtype=torch.float64)
    wrapped = F.pad(x.mT.unflatten(2, grid), (columns - 1, 0, rows - 1, 0), mode="circular")
    # convolution flips what torch correlates with
    expected = F.conv2d(wrapped, kernel.permute(2, 0, 1).flip(1, 2).unsqueeze(1), groups=3)
    torch.testing.assert_close(mixer(Tokens(x, grid)), expected.flatten(2).mT)


def test_a_shifted_image_gives_the_shifted_result() -> None:
    mixer = built((6, 5))
    x = torch.randn(2, 6, 5, 3, dtype=torch.float64)
    shifted = x.roll((2, 1), dims=(1, 2)).flatten(1, 2)
    mixed = mixer(Tokens(x.flatten(1, 2), (6, 5))).unflatten(1, (6, 5))
    torch.testing.assert_close(mixer(Tokens(shifted, (6, 5))), mixed.roll((2, 1), dims=(1, 2)).flatten(1, 2))


def test_learns_a_complex_number_for_half_the_frequencies_of_each_channel() -> None:
    # 14 x 8 x D of the paper at 224 px, two real numbers each
    assert Gfnet(384, 6, Layout.of_grid((14, 14))).filter.numel() == 14 * 8 * 384 * 2


def test_costs_two_transforms() -> None:
    # 5 N log2 N operations of a complex transform, half for real input, half for multiply-accumulates: 5 * 64 * 6 / 4
    assert Gfnet(1, 1, Layout.of_grid((8, 8))).macs() == 2 * 480
