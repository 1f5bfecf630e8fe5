from __future__ import annotations

import pytest
import torch

from paretovit.errors import UserError
from paretovit.training.calibration import CalibrationImages
from paretovit.training.data import open_data
from paretovit.zoo.catalog import resolve


def test_images_are_of_the_training_split_at_the_models_size_and_always_the_same():
    spec = resolve("vit_pico_patch4_16", in_chans=1)
    images = CalibrationImages("digits", 20)(spec)
    assert images.shape == (20, 1, 16, 16)
    torch.testing.assert_close(images, CalibrationImages("digits", 20)(spec))
    train = open_data("digits", img_size=16, in_chans=1).train
    every = train.normalised(train.pixels[torch.arange(len(train))])
    assert all((every == image).flatten(1).all(1).any() for image in images)


def test_the_name_says_which_and_how_many():
    assert CalibrationImages("digits", 20).name == "20 images of digits, train"


@pytest.mark.parametrize(
    ("data", "count", "said"),
    [
        ("fake", 4, "are made up; give others"),
        ("digits", 10**6, "training images, and 1000000 calibrate int8"),
        ("digits", 0, "at least one image"),
        ("digitz", 4, "did you mean digits"),
    ],
)
def test_what_cannot_calibrate_is_refused(data, count, said):
    with pytest.raises(UserError, match=said):
        CalibrationImages(data, count)(resolve("vit_pico_patch4_16"))
