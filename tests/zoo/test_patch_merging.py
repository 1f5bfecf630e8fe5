from __future__ import annotations

import pytest
import torch
from timm.models.swin_transformer import PatchMerging as TimmPatchMerging

from paretovit.cost.counting import count_module
from paretovit.errors import UserError
from paretovit.zoo.between.conv_embed import ConvEmbed
from paretovit.zoo.between.patch_merging import PatchMerging, fours
from paretovit.zoo.stems.hierarchical import Hierarchical
from paretovit.zoo.tokens import Layout, Tokens


def test_four_neighbours_lie_end_to_end_column_after_column() -> None:
    numbers = torch.arange(8.0).view(1, 8, 1)  # on a grid of 2 x 4: 0 1 2 3 above 4 5 6 7
    assert fours(numbers, (2, 4)).tolist() == [[[0, 4, 1, 5], [2, 6, 3, 7]]]


def test_an_odd_side_is_filled_with_zeros() -> None:
    numbers = torch.arange(1.0, 4.0).view(1, 3, 1)
    assert fours(numbers, (1, 3)).tolist() == [[[1, 0, 2, 0], [3, 0, 0, 0]]]


def test_agrees_with_timm_with_equal_weights() -> None:
    torch.manual_seed(0)
    ours, peer = PatchMerging(8, 16, Layout.of_grid((4, 6))), TimmPatchMerging(8, 16)
    torch.nn.init.normal_(peer.norm.weight)
    ours.norm.load_state_dict(peer.norm.state_dict())
    ours.norm.eps = peer.norm.eps
    ours.reduce.load_state_dict(peer.reduction.state_dict())
    x = torch.randn(2, 4, 6, 8)
    out = ours(Tokens(x.flatten(1, 2), grid=(4, 6)))
    torch.testing.assert_close(out.x, peer(x).flatten(1, 2))
    assert out.grid == ours.after().grid == (2, 3)


def test_merging_refuses_class_tokens() -> None:
    with pytest.raises(UserError, match="mean"):
        PatchMerging(8, 16, Layout.of_grid((4, 6), prefix=1))


def test_an_even_kernel_that_is_the_stride_makes_neighbourhoods_apart() -> None:
    embed = ConvEmbed(4, 6, Layout.of_grid((4, 2)), kernel=2, stride=2, norm="absent")
    x = torch.randn(1, 8, 4)
    out = embed(Tokens(x, grid=(4, 2))).x
    first = x[0, [0, 1, 2, 3]].reshape(2, 2, 4).permute(2, 0, 1)
    torch.testing.assert_close(out[0, 0], (embed.conv.weight * first).sum((1, 2, 3)) + embed.conv.bias)
    assert embed.after().grid == (2, 1)


def test_an_even_kernel_that_does_not_divide_the_grid_is_refused() -> None:
    with pytest.raises(UserError, match="odd kernel"):
        ConvEmbed(4, 6, Layout.of_grid((4, 3)), kernel=2, stride=2)


def test_units_of_the_hierarchical_stem_do_not_hear_each_other() -> None:
    torch.manual_seed(0)
    stem = Hierarchical(3, 16, 32, 16)
    image = torch.randn(1, 3, 32, 32)
    changed = image.clone()
    changed[:, :, 20:, :12] += 1  # in the lower left unit of 2 x 2
    moved = (stem(changed) - stem(image)).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [False, False, True, False]
    assert stem.grid == (2, 2)


def test_the_hierarchical_stem_states_the_macs_that_are_counted() -> None:
    stem = Hierarchical(3, 32, 48, 16, depths=(1, 3), ratio=2.0)
    assert count_module(stem.to("meta"), torch.empty(1, 3, 48, 48, device="meta")).macs == stem.macs()


def test_without_levels_the_stem_is_patches_and_a_norm() -> None:
    stem = Hierarchical(3, 16, 32, 16, depths=())
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(stem(image), stem.norm(stem.patch(image)))


def test_mlps_of_the_stem_that_give_nothing_leave_the_tokens_as_they_are() -> None:
    torch.manual_seed(0)
    stem, bare = Hierarchical(3, 16, 32, 16, depths=(2, 1)), Hierarchical(3, 16, 32, 16, depths=(0, 0))
    for name, parameter in stem.named_parameters():
        if "fc2" in name:
            torch.nn.init.zeros_(parameter)
    bare.patch.load_state_dict(stem.patch.state_dict())
    for merging, like in zip(bare.levels, (m for m in stem.levels if isinstance(m, PatchMerging)), strict=True):
        merging.load_state_dict(like.state_dict())
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(stem(image), bare(image))


@pytest.mark.parametrize(("dim", "patch"), [(18, 16), (16, 18)])
def test_a_patch_or_width_that_cannot_be_halved_is_refused(dim: int, patch: int) -> None:
    with pytest.raises(UserError, match="divisible by 4"):
        Hierarchical(3, dim, 2 * patch, patch)
