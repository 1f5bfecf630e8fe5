from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paretovit.training.batches import batches, flipped, seed_of, shifted, steps_per_epoch
from paretovit.training.data import Images
from paretovit.training.recipe import DEMO

CPU = torch.device("cpu")
PLAIN = replace(DEMO, batch_size=4, crop_padding=0)


def numbered(count: int, *, may_flip: bool = True) -> Images:
    """Image i has value i in its left and 100 + i in its right column, and label i; normalising divides by 255."""
    index = torch.arange(count, dtype=torch.uint8)
    pixels = torch.stack((index, index + 100), dim=1)[:, None, None, :].expand(count, 1, 2, 2)
    return Images(
        name="numbered",
        split="train",
        pixels=pixels.contiguous(),
        labels=torch.arange(count),
        class_names=tuple(map(str, range(count))),
        mean=(0.0,),
        std=(1.0,),
        may_flip=may_flip,
    )


def test_a_shift_moves_the_image_and_lets_black_in():
    image = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8).expand(3, 1, 3, 3)
    moves = torch.tensor([[1, 0, 2], [1, 1, 0]])  # stay; one down; one up and one to the right
    assert shifted(image, moves, 1)[:, 0].tolist() == [
        [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
        [[0, 0, 0], [1, 2, 3], [4, 5, 6]],
        [[0, 4, 5], [0, 7, 8], [0, 0, 0]],
    ]


def test_only_the_chosen_images_are_flipped_left_to_right():
    images = torch.tensor([[1, 2], [3, 4]]).expand(2, 1, 2, 2)
    assert flipped(images, torch.tensor([False, True]))[:, 0].tolist() == [[[1, 2], [3, 4]], [[2, 1], [4, 3]]]


def test_an_epoch_shows_each_image_once_and_leaves_out_what_fills_no_batch():
    shown = list(batches(numbered(11), PLAIN, 1, CPU))
    labels = torch.cat([labels for _, labels in shown])
    assert [len(labels) for _, labels in shown] == [4, 4]
    assert len(set(labels.tolist())) == 8
    assert labels.tolist() != sorted(labels.tolist())  # shuffled
    for pixels, labels in shown:
        torch.testing.assert_close(pixels[:, 0, 0, 0] * 255, labels.float())


def test_a_set_smaller_than_a_batch_is_one_step():
    assert steps_per_epoch(numbered(3), PLAIN) == 1
    assert [len(labels) for _, labels in batches(numbered(3), PLAIN, 1, CPU)] == [3]


def test_an_epoch_can_be_seen_again_and_the_next_is_another():
    recipe = replace(PLAIN, crop_padding=1, hflip=True)

    def epoch(number: int, seed: int = 0) -> torch.Tensor:
        return torch.cat([pixels for pixels, _ in batches(numbered(40), replace(recipe, seed=seed), number, CPU)])

    assert torch.equal(epoch(2), epoch(2))
    assert not torch.equal(epoch(2), epoch(3))
    assert not torch.equal(epoch(2), epoch(2, seed=1))


@pytest.mark.parametrize("may_flip", [True, False])
def test_images_are_flipped_only_where_the_data_allow_it(may_flip: bool):
    recipe = replace(PLAIN, hflip=True)
    left = torch.cat([pixels[:, 0, 0, 0] for pixels, _ in batches(numbered(40, may_flip=may_flip), recipe, 1, CPU)])
    assert bool((left * 255 > 99).any()) is may_flip
    assert bool((left * 255 < 99).any())


def test_seeds_differ_by_purpose_and_fit_torch():
    seeds = {seed_of(replace(DEMO, seed=seed), purpose) for seed in range(20) for purpose in ("epoch 1", "epoch 2")}
    assert len(seeds) == 40
    assert all(0 <= seed < 2**63 for seed in seeds)
