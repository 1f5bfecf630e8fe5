"""Clips go through the loop that images go through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec
from paretovit.training.augment import erased
from paretovit.training.batches import batches
from paretovit.training.data import Data, Images, Source, open_data
from paretovit.training.data.moving import MOTIONS, MovingPictures
from paretovit.training.evaluate import check_fit, score
from paretovit.training.loop import train
from paretovit.training.recipe import DEMO, Recipe
from paretovit.training.start import start, trained
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import load_model, save_model
from paretovit.zoo.videos import on_videos

CPU = torch.device("cpu")
EVERYTHING = replace(
    DEMO,
    batch_size=4,
    crop_padding=1,
    hflip=True,
    crop="rrc",
    augment="rand-m9-mstd0.5-inc1",
    color_jitter=0.3,
    mixup=0.8,
    cutmix=1.0,
)


def pictures(frames: int | None) -> Images:
    """Noise, or clips of it that stand still."""
    made = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (12, 3, 12, 12), generator=made, dtype=torch.uint8)
    return Images(
        name="noise",
        split="train",
        pixels=pixels if frames is None else pixels.unsqueeze(2).repeat(1, 1, frames, 1, 1),
        labels=torch.arange(12) % 3,
        class_names=("a", "b", "c"),
        mean=(0.2, 0.5, 0.6),
        std=(0.25, 0.3, 0.2),
    )


@pytest.mark.parametrize(
    "recipe", [EVERYTHING, replace(EVERYTHING, crop="src", augment="3a", cutmix=0.0)], ids=["rrc", "src"]
)
def test_what_happens_to_an_image_happens_to_every_frame_of_a_clip(recipe: Recipe):
    still, clips = (list(batches(pictures(frames), recipe, 1, CPU)) for frames in (None, 3))
    assert len(still) == 3
    for (images, targets), (shown, same) in zip(still, clips, strict=True):
        assert torch.equal(targets, same)
        assert torch.equal(shown, images.unsqueeze(2).expand(-1, -1, 3, -1, -1))


def test_a_box_is_erased_in_all_frames_of_a_clip():
    clips = torch.zeros(20, 3, 4, 12, 12)
    noise = erased(clips, replace(DEMO, erasing=0.5), range(20)) != 0
    assert 4 < noise.flatten(1).any(1).sum() < 16
    assert torch.equal(noise, noise[:, :1, :1].expand_as(noise))


class Watched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        return x.flatten(1)[:, :3]


def test_a_batch_of_clips_is_judged_in_as_many_frames_as_one_of_images():
    model = Watched()
    one, other = (score(model, pictures(3), batch_size=size) for size in (15, 1))
    assert model.seen == [5, 5, 2, *(1 for _ in range(12))]
    assert (one.hits1, one.loss) == (other.hits1, pytest.approx(other.loss))


def test_a_model_and_data_of_which_one_has_clips_do_not_go_together(small_spec: ModelSpec):
    clips, images = open_data("moving/digits").val, open_data("digits").val
    spec = replace(on_videos(small_spec, "divided"), num_classes=13)
    check_fit(spec, clips)
    with pytest.raises(UserError, match=r"is for clips of 8 frames, digits has still images; .*moving/DATA"):
        check_fit(spec, images)
    with pytest.raises(UserError, match=r"small is for still images, moving/digits has clips of 8 frames; .*--video"):
        check_fit(small_spec, clips)
    with pytest.raises(UserError, match=r"clips of 4 frames, moving/digits has clips of 8 frames; give clips of 4"):
        check_fit(replace(on_videos(small_spec, "divided", frames=4), num_classes=13), clips)


@dataclass(frozen=True)
class TwoMotions(Source):
    """So many bars, every other one going right and the others left."""

    count: int
    length: int = 4

    def read(self, path: str, split: str, *, img_size: int | None, in_chans: int | None) -> Images:
        bars = torch.zeros(self.count, 1, 8, 8, dtype=torch.uint8)
        bars[..., 2:6] = 255
        labels = torch.arange(self.count) % 2
        ways = torch.tensor([list(MOTIONS).index(name) for name in ("right", "left")])
        poses = torch.rand(self.count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(len(split)))
        poses[:, 2:] = 0  # upright and at one size, which makes it easy
        return Images(
            name="two",
            split=split,
            pixels=MovingPictures(bars, poses, ways[labels], self.length),
            labels=labels,
            class_names=("right", "left"),
            mean=(0.5,),
            std=(0.5,),
            may_flip=False,
        )


def two_motions(count: int, length: int = 4) -> Data:
    return Data(TwoMotions(count, length), "", None, None)


@pytest.mark.parametrize("attention", ["joint", "divided"])
def test_a_small_model_learns_which_way_things_go_and_from_one_frame_does_not(
    tmp_path: Path, small_spec: ModelSpec, short: Recipe, attention: str
):
    recipe = replace(short, epochs=8, lr=5e-3, drop_path=0.0, crop_padding=0)
    right = {}
    for length in (4, 1):
        spec = replace(on_videos(small_spec, attention, frames=length), num_classes=2)
        rows = train(spec, two_motions(640, length), recipe, out=tmp_path / str(length)).rows
        right[length] = next(row.value for row in rows if row.indicator == "top1")
    assert right[4] > 0.9
    assert abs(right[1] - 0.5) < 0.08  # four standard deviations of 640 guesses


class Killed(BaseException):
    pass


def test_a_resumed_run_on_clips_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, small_spec: ModelSpec, short: Recipe
):
    spec = replace(on_videos(small_spec, "divided", frames=4), num_classes=2)
    recipe, data = replace(short, epochs=2, augment="3a", erasing=0.3), two_motions(70)
    whole = train(spec, data, recipe, out=tmp_path / "whole")
    ticks = iter(range(9))

    def cut(_: object) -> None:
        if next(ticks) == 2:
            raise Killed

    with pytest.raises(Killed):
        train(spec, data, recipe, out=tmp_path / "cut", progress=cut)
    resumed = train(spec, data, recipe, out=tmp_path / "cut")
    assert [row.value for row in resumed.rows if row.indicator in ("top1", "train_loss")] == [
        row.value for row in whole.rows if row.indicator in ("top1", "train_loss")
    ]
    ours, theirs = (load_model(tmp_path / name)[1] for name in ("cut", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture
def image_model(tmp_path: Path, small_spec: ModelSpec) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "image", small_spec, build(small_spec))
    return tmp_path / "image"


@pytest.mark.parametrize("img_size", [None, 16])
def test_a_video_model_begins_with_the_weights_of_an_image_model(image_model: Path, img_size: int | None):
    begun = start(str(image_model), "moving/digits", img_size=img_size, video="divided", frames=3)
    px = img_size or 8
    assert (begun.spec.name, begun.spec.input_shape) == ("timesformer_divided_small", (1, 3, px, px))
    assert (begun.spec.num_classes, begun.data.val.frames, begun.data.val.image_px) == (13, 3, px)
    module = build(begun.spec)
    head = module.head.weight.clone()
    begun.begin.prepare(module)
    old, new = load_model(image_model)[1], module.state_dict()
    assert torch.equal(new["stages.3.0.mixer.qkv.weight"], old["stages.0.1.mixer.qkv.weight"])
    assert torch.equal(module.head.weight, head)
    assert new["position.space"].shape[1] == 1 + (px // 4) ** 2
    assert torch.equal(new["position.space"], old["position.table"]) == (img_size is None)
    assert begun.begin.name.startswith("weights at 8 px (")


def test_a_trained_video_model_is_gone_on_with_and_judged_at_another_size(
    tmp_path: Path, small_spec: ModelSpec, short: Recipe
):
    begun = start("vit_pico_patch4_8", "moving/digits", video="joint", frames=2)
    assert begun.spec.input_shape == (1, 2, 8, 8)
    recipe = replace(short, epochs=1, warmup_epochs=0, train_images=64)
    result = train(begun.spec, begun.data, recipe, out=tmp_path / "first")
    assert result.rows[0].conditions.data == "moving/digits"
    spec, module, data = trained(str(tmp_path / "first"), "moving/digits")
    assert score(module, data.val).hits1 / len(data.val) == result.rows[0].value
    larger = start(str(tmp_path / "first"), "moving/digits", img_size=16)
    assert larger.spec.input_shape == (1, 2, 16, 16)
    larger.begin.prepare(build(larger.spec))
    assert spec.frames == data.val.frames == 2


def test_frames_are_asked_for_of_what_is_made_a_video_model_alone(image_model: Path):
    with pytest.raises(UserError, match="give --video joint or divided too"):
        start(str(image_model), "moving/digits", frames=4)
    with pytest.raises(UserError, match="it takes a plain ViT"):
        start("fnet_pico_patch4_8", "moving/digits", video="divided")
