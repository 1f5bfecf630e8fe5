from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup
from torch.utils.data import get_worker_info
from torchvision.transforms.v2.functional import to_pil_image

from paretovit.errors import UserError
from paretovit.training.augment import drawing_from, erased, image_policy, mixed
from paretovit.training.batches import batches
from paretovit.training.data import Images
from paretovit.training.recipe import DEMO, Recipe

CPU = torch.device("cpu")
PLAIN = replace(DEMO, batch_size=4, crop_padding=0)


def pictures(count: int = 13, px: int = 12, channels: int = 3) -> Images:
    made = torch.Generator().manual_seed(0)
    return Images(
        name="noise",
        split="train",
        pixels=torch.randint(256, (count, channels, px, px), generator=made, dtype=torch.uint8),
        labels=torch.arange(count) % 3,
        class_names=("a", "b", "c"),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )


EVERYTHING = replace(
    PLAIN, hflip=True, crop="rrc", augment="rand-m9-mstd0.5-inc1", color_jitter=0.3, erasing=0.5, mixup=0.8, cutmix=1.0
)


def epoch(images: Images, recipe: Recipe, **how) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(batches(images, recipe, 1, CPU, **how))


def same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for first, second in zip(one, other, strict=True) for a, b in zip(first, second, strict=True)
    )


def test_drawing_leaves_the_generators_where_they_were():
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with drawing_from(5):
        first = torch.rand(3).tolist(), random.random(), np.random.rand()
    with drawing_from(5):
        assert (torch.rand(3).tolist(), random.random(), np.random.rand()) == first
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1], before[2]) == (random.getstate(), np.random.get_state()[1].tolist())


@pytest.mark.parametrize("policy", ["3a", "rand-m9-mstd0.5-inc1", "original", "augmix-m3"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_policy_keeps_the_shape_and_changes_images_by_seed_alone(policy: str, channels: int):
    images = pictures(channels=channels)
    change = image_policy(replace(PLAIN, augment=policy, crop="src", color_jitter=0.3), images.mean, 12)

    def changed(seed: int) -> torch.Tensor:
        with drawing_from(seed):
            return change(images.pictures(0)[0])

    assert changed(1).shape == images.pixels[0].shape
    assert changed(1).dtype == torch.uint8
    assert torch.equal(changed(1), changed(1))
    assert len({changed(seed).numpy().tobytes() for seed in range(6)}) > 1


def test_an_unknown_policy_is_refused():
    with pytest.raises(UserError, match="augment must be one of none, 3a"):
        replace(PLAIN, augment="autoaugment")
    with pytest.raises(UserError, match="cannot read the policy augment=rand-zz9"):
        image_policy(replace(PLAIN, augment="rand-zz9"), (0.5,) * 3, 12)


def test_a_simple_crop_moves_by_at_most_four_pixels():
    column = to_pil_image(torch.arange(20, dtype=torch.uint8).repeat(3, 20, 1))
    change = image_policy(replace(PLAIN, crop="src"), (0.5,) * 3, 20)
    lefts = set()
    for seed in range(60):
        with drawing_from(seed):
            out = change(column)
        lefts.add(int(out[0, 0, 10]) - 10)
    assert lefts == set(range(-4, 5))


def test_half_an_epoch_that_is_gone_on_with_shows_what_the_whole_one_does():
    whole = epoch(pictures(), EVERYTHING)
    assert len(whole) == 3
    assert same(epoch(pictures(), EVERYTHING, start=1), whole[1:])
    assert epoch(pictures(), EVERYTHING, start=3) == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_worker_processes_make_the_same_images():
    assert get_worker_info() is None
    noise = torch.get_rng_state()
    assert same(epoch(pictures(), EVERYTHING, workers=2), epoch(pictures(), EVERYTHING))
    assert torch.equal(noise, torch.get_rng_state())


def test_the_shares_of_two_processes_are_the_batch():
    recipe = replace(EVERYTHING, mixup=0.0, cutmix=0.0, crop_padding=1)
    whole = epoch(pictures(), recipe)
    halves = [epoch(pictures(), recipe, share=(rank, 2)) for rank in range(2)]
    for (pixels, labels), (p0, l0), (p1, l1) in zip(whole, *halves, strict=True):
        torch.testing.assert_close(pixels, torch.stack((p0, p1), 1).flatten(0, 1))
        assert labels.tolist() == torch.stack((l0, l1), 1).flatten().tolist()


def test_a_repeated_image_comes_several_times_and_each_time_another_way():
    recipe = replace(PLAIN, batch_size=6, repeats=3, crop="rrc", crop_scale=(0.1, 0.5))
    images = replace(pictures(12), labels=torch.arange(12), class_names=tuple(map(str, range(12))))
    shown = epoch(images, recipe)
    assert len(shown) == 2  # as many steps as without
    for pixels, labels in shown:
        assert torch.bincount(labels).unique().tolist() == [0, 3]
        assert len({image.numpy().tobytes() for image in pixels}) == 6


@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 1.0)])
def test_images_are_mixed_as_timm_mixes_them(alphas: tuple[float, float]):
    recipe = replace(PLAIN, mixup=alphas[0], cutmix=alphas[1])
    pixels, labels = torch.rand(6, 3, 16, 16), torch.tensor([0, 1, 2, 0, 1, 2])
    timms = Mixup(*alphas, label_smoothing=0.0, num_classes=3)
    ours, shares = mixed(pixels, labels, recipe, 3, 7)
    with drawing_from(7):
        np.random.rand()  # timm draws whether to mix at all
        np.random.seed(7)
        timms._params_per_batch = lambda: (float(np.random.beta(max(alphas), max(alphas))), bool(alphas[1]))
        theirs, their_shares = timms(pixels.clone(), labels)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(shares, their_shares)
    torch.testing.assert_close(shares.sum(1), torch.ones(6))


def test_with_both_on_a_batch_takes_one_of_the_two():
    recipe = replace(PLAIN, mixup=0.8, cutmix=1.0)
    pixels, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    pixels[1] = 1
    kinds = set()
    for seed in range(20):
        out, shares = mixed(pixels, labels, recipe, 2, seed)
        kinds.add("cut" if set(out.unique().tolist()) <= {0.0, 1.0} else "blend")
        # of each class there is as much in the image as in its target
        torch.testing.assert_close(out[0].mean(), shares[0, 1], atol=1e-5, rtol=0)
    assert kinds == {"cut", "blend"}


def test_about_as_many_images_are_erased_as_the_recipe_says():
    recipe = replace(PLAIN, erasing=0.25)
    out = erased(torch.zeros(200, 1, 8, 8), recipe, list(range(200)))
    share = float((out != 0).flatten(1).any(1).float().mean())
    assert 0.15 < share < 0.35
    assert torch.equal(out[3:5], erased(torch.zeros(2, 1, 8, 8), recipe, [3, 4]))
