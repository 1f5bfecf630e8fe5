from __future__ import annotations

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.mixers._windows import NOBODY, window_slots
from paretovit.zoo.mixers.shifted_window import ShiftedWindow
from paretovit.zoo.tokens import Layout, Tokens


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize(("grid", "window"), [((8, 12), 4), ((6, 9), 3), ((5, 10), 5)])
def test_agrees_with_timms_swin(grid: tuple[int, int], window: int, block: int) -> None:
    torch.manual_seed(0)
    ours = ShiftedWindow(32, 4, Layout.of_grid(grid), window=window, block=block)
    torch.nn.init.normal_(ours.bias_table)
    timms = SwinTransformerBlock(32, grid, num_heads=4, window_size=window, shift_size=window // 2 if block else 0)
    timms.attn.load_state_dict(
        {"relative_position_bias_table": ours.bias_table}
        | {name: p for name, p in ours.named_parameters() if name != "bias_table"},
        strict=False,
    )
    x = torch.randn(2, *grid, 32)
    torch.testing.assert_close(ours(Tokens(x.flatten(1, 2), grid)), timms._attn(x).flatten(1, 2))


def listeners(mixer: ShiftedWindow, grid: tuple[int, int], token: int) -> set[int]:
    """The tokens whose value changes with that of `token`."""
    x = torch.randn(1, grid[0] * grid[1], 32)
    changed = x.clone()
    changed[:, token] += 1
    moved = (mixer(Tokens(changed, grid)) - mixer(Tokens(x, grid))).abs().amax(-1) > 1e-6
    return set(moved[0].nonzero().flatten().tolist())


def test_windows_of_even_blocks_start_in_the_corner() -> None:
    mixer = ShiftedWindow(32, 4, Layout.of_grid((4, 4)), window=2, block=2)
    assert listeners(mixer, (4, 4), 0) == {0, 1, 4, 5}


def test_windows_of_odd_blocks_are_cut_by_the_edge_and_do_not_wrap_around() -> None:
    mixer = ShiftedWindow(32, 4, Layout.of_grid((4, 4)), window=2, block=1)
    assert listeners(mixer, (4, 4), 0) == {0}
    assert listeners(mixer, (4, 4), 1) == {1, 2}
    assert listeners(mixer, (4, 4), 5) == {5, 6, 9, 10}
    assert listeners(mixer, (4, 4), 15) == {15}


def test_what_fills_the_last_windows_is_not_heard() -> None:
    mixer = ShiftedWindow(32, 4, Layout.of_grid((3, 3)), window=2, block=0)
    assert listeners(mixer, (3, 3), 8) == {8}
    assert listeners(mixer, (3, 3), 0) == {0, 1, 3, 4}  # token 0 stands in the empty slots and must not leak
    with torch.no_grad():
        x = torch.randn(1, 9, 32)
        alone = mixer.proj(mixer.qkv(x[:, 8])[:, 64:])  # who hears only itself gives its own value
        torch.testing.assert_close(mixer(Tokens(x, (3, 3)))[:, 8], alone)


@pytest.mark.parametrize("block", [0, 1])
def test_a_window_larger_than_the_grid_is_the_whole_grid(block: int) -> None:
    mixer = ShiftedWindow(32, 4, Layout.of_grid((3, 4)), window=7, block=block)
    assert mixer.window == (3, 4)
    assert mixer.num_windows == 1
    assert mixer.bias_table.shape == (5 * 7, 4)
    assert listeners(mixer, (3, 4), 0) == set(range(12))


def test_slots_beyond_the_edge_hold_nobody() -> None:
    assert window_slots((3, 2), (2, 2), (0, 0)).tolist() == [[0, 1, 2, 3], [4, 5, NOBODY, NOBODY]]
    assert window_slots((2, 4), (2, 2), (0, 1)).tolist() == [[1, 2, 5, 6], [3, 0, 7, 4]]


def test_a_backbone_shifts_the_windows_of_every_second_block() -> None:
    stage = Stage(depth=4, dim=32, heads=4, mixer=Part.of("shifted_window", window=2))
    spec = ModelSpec(name="windows", stages=(stage,), readout=Part("mean"), image_px=32, patch_px=8, num_classes=3)
    shifts = [block.mixer.shift for block in Backbone(spec).stages[0]]
    assert shifts == [(0, 0), (1, 1), (0, 0), (1, 1)]


def test_refuses_a_window_of_nothing() -> None:
    with pytest.raises(UserError, match="window must be at least 1"):
        ShiftedWindow(32, 4, Layout.of_grid((4, 4)), window=0)
