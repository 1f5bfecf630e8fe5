from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import wilson
from paretovit.spec import ModelSpec, Stage
from paretovit.training.data import Images
from paretovit.training.evaluate import check_fit, evaluate, score

IMAGES = Images(
    name="rows",
    split="val",
    pixels=torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1),
    labels=torch.tensor([0, 1, 2, 3, 6]),
    class_names=tuple("abcdefg"),
    mean=(0.0,),
    std=(1 / 255,),
)


class Ranks(nn.Module):
    """Ranks the classes from 6 down to 0, whatever it sees."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.arange(7.0).expand(len(images), 7)


def test_a_hit_is_the_right_class_first_or_among_five():
    result = score(Ranks(), IMAGES, batch_size=2)
    # label 6 is ranked first; 2, 3 and 6 are among 6 5 4 3 2; 0 and 1 are not
    assert (result.images, result.hits1, result.hits5) == (5, 1, 3)
    # minus log of softmax: log(sum of exp(0..6)) = 6.4583, less the label, averaged over labels 0 1 2 3 6
    assert result.loss == pytest.approx(6.4583 - 12 / 5, abs=1e-3)


def test_the_images_are_normalised_before_the_model_sees_them():
    seen = []

    class Remembers(Ranks):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return super().forward(images)

    score(Remembers(), replace(IMAGES, mean=(1 / 255,), std=(2 / 255,)))
    torch.testing.assert_close(torch.cat(seen).flatten(), torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5]))


@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_scored_in_evaluation_mode_and_left_as_it_was(training: bool):
    modes = []

    class Notes(Ranks):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            modes.append(self.training)
            return super().forward(images)

    module = Notes().train(training)
    score(module, IMAGES)
    assert modes == [False]
    assert module.training is training


def test_outputs_that_are_not_finite_rank_nothing():
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 7), float("nan"))

    with pytest.raises(Unmeasurable, match="not finite"):
        score(Broken(), IMAGES)


@pytest.mark.parametrize(
    ("hits", "images", "low", "high"),
    # Wilson's interval as tabulated by Agresti and Coull 1998 and by common statistics software
    [(0, 10, 0.0, 0.2775), (9, 10, 0.5958, 0.9821), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)],
)
def test_the_interval_is_wilsons(hits: int, images: int, low: float, high: float):
    assert wilson(hits, images) == pytest.approx((low, high), abs=1e-4)


def spec_for(images: Images, **changes: int) -> ModelSpec:
    fields = {"image_px": images.image_px, "in_chans": images.in_chans, "num_classes": images.num_classes} | changes
    return ModelSpec(name="fixed", stages=(Stage(depth=1, dim=4, heads=1),), patch_px=1, **fields)


def test_rows_of_an_accuracy_say_on_what_and_after_which_training():
    spec = spec_for(IMAGES)
    top1, top5, ece = evaluate(spec, Ranks(), IMAGES, recipe="demo", seed=3)
    assert (top1.indicator, top1.value, top5.indicator, top5.value) == ("top1", 0.2, "top5", 0.6)
    assert top1.conditions == top5.conditions == ece.conditions
    stated = top1.conditions.to_json()
    assert stated == {"spec": spec.key, "data": "rows", "split": "val", "recipe": "demo", "seed": 3}
    assert top1.origin.timing["images"] == 5
    assert top1.origin.timing["interval_95"] == pytest.approx(wilson(1, 5))


def test_there_is_no_top5_of_five_classes():
    class FiveRanks(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.arange(5.0).expand(len(images), 5)

    few = replace(IMAGES, labels=IMAGES.labels.clamp(max=4), class_names=tuple("abcde"))
    assert [row.indicator for row in evaluate(spec_for(few), FiveRanks(), few)] == ["top1", "ece"]


def test_made_up_images_have_no_accuracy():
    assert evaluate(spec_for(IMAGES), Ranks(), replace(IMAGES, real=False)) == []


@pytest.mark.parametrize(
    ("change", "mend"),
    [({"image_px": 8}, "--img-size 1"), ({"in_chans": 3}, "--in-chans 1"), ({"num_classes": 10}, "--num-classes 7")],
)
def test_a_model_for_other_images_is_refused_with_the_flag_that_mends_it(change: dict[str, int], mend: str):
    with pytest.raises(UserError, match=mend):
        check_fit(spec_for(IMAGES, **change), IMAGES)


def test_every_class_is_counted():
    result = score(Ranks(), IMAGES, batch_size=2, in_detail=True)
    assert result.by_class == ((1, 0), (1, 0), (1, 0), (1, 0), (0, 0), (0, 0), (1, 1))
    top1 = evaluate(spec_for(IMAGES), Ranks(), IMAGES)[0]
    assert top1.origin.timing["by_class"]["g"] == [1, 1]


def test_a_model_is_calibrated_as_far_as_it_is_as_often_right_as_it_says():
    class Sure(nn.Module):
        """Class 0 with probability 0.9 where the pixel is even, with 0.6 where it is odd."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sure = torch.where(images.flatten() % 2 == 0, 0.9, 0.6)
            return torch.stack((sure, 1 - sure), 1).log()

    pixels = torch.tensor([0] * 6 + [1] * 4, dtype=torch.uint8).view(10, 1, 1, 1)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 0, 1])
    images = replace(IMAGES, pixels=pixels, labels=labels, class_names=("a", "b"))
    result = score(Sure(), images, batch_size=3, in_detail=True)
    # 6 images at 0.9 of which half are right, 4 at 0.6 of which three quarters are
    assert result.calibration_error == pytest.approx(0.6 * abs(0.5 - 0.9) + 0.4 * abs(0.75 - 0.6), abs=1e-6)
    assert sum(count for count, _, _ in result.by_confidence) == 10


def test_shares_of_the_images_add_up_to_all():
    halves = [score(Ranks(), IMAGES, share=(rank, 2)) for rank in range(2)]
    whole = score(Ranks(), IMAGES)
    assert [half.images for half in halves] == [3, 2]
    assert sum(half.hits5 for half in halves) == whole.hits5


def test_what_a_runtime_loses_is_a_row_beside_its_own_accuracy():
    class Other(nn.Module):
        """Right for images 0 and 1, where `Ranks` is right for the last one alone."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(7)[images.flatten().long() % 2]

    served_by = {"runtime": "r", "dtype": "int8"}
    found = evaluate(spec_for(IMAGES), Ranks(), IMAGES, served=Other(), served_by=served_by)
    own = [row for row in found if row.conditions.runtime is None]
    served = {row.indicator: row for row in found if row.conditions.runtime == "r"}
    assert [row.indicator for row in own] == ["top1", "top5", "ece"]
    assert served["top1"].value == pytest.approx(2 / 5)
    drop = served["top1_drop"]
    assert drop.value == pytest.approx(-1 / 5)
    assert (drop.origin.timing["lost"], drop.origin.timing["won"]) == (1, 2)
    # n = 7, b = 1.5, c = 2.5: -1/7 and 1.96 sqrt(4 - 1/7) / 7 around it
    assert drop.origin.timing["interval_95"] == pytest.approx([-1 / 7 - 0.54989, -1 / 7 + 0.54989], abs=1e-4)
    assert drop.conditions.dtype == "int8"


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_all_processes_call_equally_often_for_a_model_may_be_shared_out_over_them(rank: int):
    calls = []

    class Counts(Ranks):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            calls.append(len(images))
            return super().forward(images)

    # shares of 2, 2 and 1 of the 5 images, one by one
    assert score(Counts(), IMAGES, batch_size=1, share=(rank, 3)).images == (2, 2, 1)[rank]
    assert calls == [1, 1]
