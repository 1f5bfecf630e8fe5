from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.sequences.evit import Evit
from paretovit.zoo.tokens import Layout, Tokens

FOUR = Layout.of_grid((2, 2), prefix=1)
# two heads; the class token's attention to itself and to patches 0 to 3, whose means are 0.1, 0.2, 0.0, 0.4
ROW_BHN = torch.tensor([[[0.4, 0.2, 0.1, 0.0, 0.3], [0.2, 0.0, 0.3, 0.0, 0.5]]])


def four_tokens() -> Tokens:
    """The class token is -1; patch i is the pair (i, 10 i)."""
    patches = torch.tensor([[-1.0, -1], [0, 0], [1, 10], [2, 20], [3, 30]])
    return Tokens(patches[None], grid=(2, 2), prefix=1)


def spec(sequence: Part) -> ModelSpec:
    stage = Stage(depth=4, dim=32, heads=2, sequence=sequence)
    return ModelSpec(name="tiny", stages=(stage,), image_px=32, patch_px=8, num_classes=5)


def test_keeps_the_patches_the_class_token_attends_to_most_in_their_order() -> None:
    out = Evit(2, FOUR, keep=0.5)(four_tokens(), ROW_BHN)
    assert out.x.tolist() == [[[-1, -1], [1, 10], [3, 30]]]
    assert out.grid is None


def test_fuses_the_dropped_by_their_scores_as_they_are() -> None:
    out = Evit(2, FOUR, keep=0.25, fuse=True)(four_tokens(), ROW_BHN)
    # kept is patch 3; 0.1 x 0 + 0.2 x 1 + 0.0 x 2
    torch.testing.assert_close(out.x, torch.tensor([[[-1.0, -1], [3, 30], [0.2, 2.0]]]))


def test_the_fused_token_is_as_large_as_the_dropped_and_lies_among_them() -> None:
    place = torch.tensor([[[0.0, 0], [0, 0], [0, 1], [1, 0], [1, 1]]])
    tokens = replace(
        four_tokens(), place=place, size=torch.tensor([[1.0, 2, 3, 4, 5]]), alive=torch.tensor([[1.0, 0, 1, 0, 1]])
    )
    out = Evit(2, FOUR, keep=0.25, fuse=True)(tokens, ROW_BHN)
    assert out.size is not None
    assert out.size.tolist() == [[1, 5, 2 + 3 + 4]]
    assert out.place is not None
    # patches 0 and 1 at (0, 0) and (0, 1) weigh 0.1 and 0.2
    torch.testing.assert_close(out.place[0, -1], torch.tensor([0, 2 / 3]))
    assert out.alive is not None
    assert out.alive.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(("keep", "patches", "kept"), [(0.7, 196, 138), (0.5, 49, 25), (0.55, 100, 55), (0.01, 4, 1)])
def test_rounds_the_number_kept_up_and_not_by_a_floating_point_hair(keep: float, patches: int, kept: int) -> None:
    assert Evit(8, Layout.of_grid((1, patches), prefix=1), keep=keep).after().patches == kept


def test_takes_the_fourth_seventh_and_tenth_block_of_twelve() -> None:
    assert Evit.blocks(12) == (3, 6, 9)


@pytest.mark.parametrize("fuse", [True, False])
def test_with_every_patch_kept_it_is_the_plain_vit(fuse: bool) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 32, 32)
    plain, kept = Backbone(spec(Part("keep_all"))).eval(), Backbone(spec(Part.of("evit", keep=1.0, fuse=fuse))).eval()
    kept.load_state_dict(plain.state_dict())
    assert torch.equal(plain(image), kept(image))
    assert Backbone(spec(Part.of("evit", keep=0.5, fuse=fuse))).macs() < plain.macs() < kept.macs()  # asking costs


@pytest.mark.parametrize("keep", [0, -0.5, 1.01, 70])
def test_refuses_a_keep_rate_that_is_no_share(keep: float) -> None:
    with pytest.raises(UserError, match="share"):
        Evit(8, FOUR, keep=keep)


def test_refuses_a_model_without_a_class_token() -> None:
    with pytest.raises(UserError, match="class_token"):
        Backbone(replace(spec(Part("evit")), readout=Part("mean")))
