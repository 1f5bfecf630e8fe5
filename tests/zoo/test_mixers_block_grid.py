from __future__ import annotations

import pytest
import torch
from timm.models.maxxvit import MaxxVitTransformerCfg, PartitionAttentionCl

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.mixers._windows import NOBODY
from paretovit.zoo.mixers.block_grid import BlockGrid, spread_slots
from paretovit.zoo.tokens import Layout, Tokens


@pytest.mark.parametrize("partition", ["block", "grid"])
@pytest.mark.parametrize(("grid", "window"), [((8, 12), 4), ((6, 9), 3), ((5, 10), 5)])
def test_agrees_with_timms_maxvit(grid: tuple[int, int], window: int, partition: str) -> None:
    torch.manual_seed(0)
    ours = BlockGrid(32, 4, Layout.of_grid(grid), window=window, partition=partition)
    torch.nn.init.normal_(ours.bias_table)
    sides = (window, window)
    config = MaxxVitTransformerCfg(
        dim_head=8, head_first=False, rel_pos_type="bias", window_size=sides, grid_size=sides
    )
    timms = PartitionAttentionCl(32, partition, config)
    timms.attn.load_state_dict(
        {"rel_pos.relative_position_bias_table": ours.bias_table}
        | {name: p for name, p in ours.named_parameters() if name != "bias_table"},
        strict=False,
    )
    x = torch.randn(2, *grid, 32)
    torch.testing.assert_close(ours(Tokens(x.flatten(1, 2), grid)), timms._partition_attn(x).flatten(1, 2))


def listeners(mixer: BlockGrid, grid: tuple[int, int], token: int) -> set[int]:
    """The tokens whose value changes with that of `token`."""
    x = torch.randn(1, grid[0] * grid[1], 32)
    changed = x.clone()
    changed[:, token] += 1
    moved = (mixer(Tokens(changed, grid)) - mixer(Tokens(x, grid))).abs().amax(-1) > 1e-6
    return set(moved[0].nonzero().flatten().tolist())


def test_a_grid_group_lies_spread_over_the_image() -> None:
    mixer = BlockGrid(32, 4, Layout.of_grid((4, 4)), window=2, partition="grid")
    assert listeners(mixer, (4, 4), 0) == {0, 2, 8, 10}
    assert listeners(mixer, (4, 4), 5) == {5, 7, 13, 15}


def test_a_grid_that_does_not_fit_leaves_the_last_seats_empty() -> None:
    mixer = BlockGrid(32, 4, Layout.of_grid((3, 5)), window=2, partition="grid")
    assert listeners(mixer, (3, 5), 0) == {0, 3, 10, 13}
    assert listeners(mixer, (3, 5), 7) == {7}


def test_seats_beyond_the_edge_hold_nobody() -> None:
    assert spread_slots((2, 3), (2, 2)).tolist() == [[0, 2, 3, 5], [1, NOBODY, 4, NOBODY]]


def test_a_backbone_takes_windows_and_grids_in_turn() -> None:
    stage = Stage(depth=4, dim=32, heads=4, mixer=Part.of("block_grid", window=2))
    spec = ModelSpec(name="maxvit", stages=(stage,), readout=Part("mean"), image_px=32, patch_px=8, num_classes=3)
    partitions = [block.mixer.partition for block in Backbone(spec).stages[0]]
    assert partitions == ["block", "grid", "block", "grid"]


@pytest.mark.parametrize("options", [{"window": 0}, {"partition": "diagonal"}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        BlockGrid(32, 4, Layout.of_grid((4, 4)), **options)  # type: ignore[arg-type]
