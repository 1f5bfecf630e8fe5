from __future__ import annotations

import pytest
import torch

from paretovit.cost.counting import count
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage, from_json, to_json
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.mixers.divided_attention import DividedAttention
from paretovit.zoo.positions.space_time import SpaceTime
from paretovit.zoo.stems.patch import Patch
from paretovit.zoo.stems.video import Video
from paretovit.zoo.tokens import Layout, Tokens

DIM, HEADS, GRID = 16, 2, (3, 2, 2)  # 3 frames of 4 patches


def tokens(prefix: int) -> Tokens:
    x = torch.randn(2, 12 + prefix, DIM, generator=torch.Generator().manual_seed(0))
    return Tokens(x, grid=GRID, prefix=prefix)


def hearers(mixer: DividedAttention, given: Tokens, speaker: int) -> list[int]:
    changed = given.x.clone()
    changed[:, speaker] += 1
    moved = (mixer(given.with_x(changed)) - mixer(given)).abs().amax((0, 2)) > 1e-7
    return moved.nonzero().flatten().tolist()


def test_in_time_a_patch_hears_the_same_place_in_all_frames() -> None:
    mixer = DividedAttention(DIM, HEADS, Layout.of_grid(GRID, 1), along="time")
    assert hearers(mixer, tokens(1), 1 + 5) == [1 + 1, 1 + 5, 1 + 9]
    assert hearers(mixer, tokens(1), 0) == []
    assert mixer(tokens(1))[:, 0].abs().max() == 0


def test_in_space_a_patch_hears_its_frame_and_the_class_token_all() -> None:
    mixer = DividedAttention(DIM, HEADS, Layout.of_grid(GRID, 1), along="space")
    assert hearers(mixer, tokens(1), 1 + 5) == [0, 5, 6, 7, 8]
    assert hearers(mixer, tokens(1), 0) == list(range(13))


@pytest.mark.parametrize("prefix", [0, 1])
def test_in_one_frame_attention_in_space_is_attention(prefix: int) -> None:
    layout = Layout.of_grid((1, 3, 4), prefix)
    plain, mixer = Attention(DIM, HEADS, layout), DividedAttention(DIM, HEADS, layout, along="space")
    mixer.load_state_dict(plain.state_dict())
    given = Tokens(tokens(prefix).x, grid=layout.grid, prefix=prefix)
    torch.testing.assert_close(mixer(given), plain(given))


def test_of_frames_of_one_patch_attention_in_time_is_attention() -> None:
    layout = Layout.of_grid((12, 1, 1))
    plain, mixer = Attention(DIM, HEADS, layout), DividedAttention(DIM, HEADS, layout, along="time")
    mixer.load_state_dict(plain.state_dict())
    given = Tokens(tokens(0).x, grid=layout.grid)
    torch.testing.assert_close(mixer(given), plain(given))


def test_a_direction_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="'space' or 'time'"):
        DividedAttention(DIM, HEADS, Layout.of_grid(GRID), along="depth")  # type: ignore[arg-type]


def test_the_stem_cuts_every_frame_as_it_would_an_image() -> None:
    torch.manual_seed(0)
    video, image = Video(3, DIM, 8, 4, frames=3), Patch(3, DIM, 8, 4)
    image.load_state_dict(video.patch.state_dict())
    x = torch.randn(2, 3, 3, 8, 8)
    torch.testing.assert_close(video(x), torch.cat([image(x[:, :, t]) for t in range(3)], dim=1))
    assert video.grid == GRID
    with pytest.raises(UserError, match="at least one frame"):
        Video(3, DIM, 8, 4, frames=0)


def test_a_place_is_where_and_when_and_the_class_token_has_no_when() -> None:
    position = SpaceTime(DIM, Layout.of_grid(GRID, 1))
    torch.nn.init.normal_(position.time)
    added = position(torch.zeros(1, 13, DIM))[0]
    for t in range(3):
        for place in range(4):
            expected = position.space[0, 1 + place] + position.time[0, t, 0]
            torch.testing.assert_close(added[1 + 4 * t + place], expected)
    torch.testing.assert_close(added[0], position.space[0, 0])


def test_positions_in_time_need_a_video() -> None:
    with pytest.raises(UserError, match="stem 'video'"):
        SpaceTime(DIM, Layout.of_grid((4, 4)))


def small(along: tuple[str, ...]) -> ModelSpec:
    parts = [Part.of("divided_attention", along=direction) for direction in along] or [Part("attention")]
    stages = tuple(
        Stage(depth=1, dim=DIM, heads=HEADS, mixer=p, **({"mlp": None} if ("along", "time") in p.options else {}))  # type: ignore[arg-type]
        for p in parts
    )
    return ModelSpec(
        name="clip",
        stages=stages,
        stem=Part.of("video", frames=3),
        position=Part("space_time"),
        image_px=8,
        patch_px=4,
        num_classes=5,
    )


@pytest.mark.parametrize("along", [("time", "space"), ()], ids=["divided", "joint"])
def test_a_model_takes_videos_and_counts_them(along: tuple[str, ...]) -> None:
    spec = small(along)
    assert spec.input_shape == (3, 3, 8, 8)
    model = build(spec)
    assert model(torch.randn(2, *spec.input_shape)).shape == (2, 5)
    assert count(lambda: build(spec, device="meta"), (1, *spec.input_shape)).macs == model.macs()  # type: ignore[operator]
    assert from_json(to_json(spec)).key == spec.key


def test_a_video_model_refuses_an_image_and_says_what_it_takes() -> None:
    with pytest.raises(UserError, match="videos of 3 x 3 x 8 x 8"):
        build(small(()))(torch.zeros(2, 3, 8, 8))


def test_divided_attention_costs_what_the_paper_prints_of_three_views() -> None:
    model = build("timesformer_divided_base_patch16_224", device="meta")
    assert 3 * model.macs() / 1e9 == pytest.approx(590, rel=0.01)  # type: ignore[operator]
    assert entries()["timesformer_divided_base_patch16_224"].spec.input_shape == (3, 8, 224, 224)
