"""The largest batch that fits: by search, and with models."""

from __future__ import annotations

import pytest

from paretovit.cost.folders import INDICATORS
from paretovit.cost.indicators._largest_batch import largest, memory_gb
from paretovit.cost.live_bytes import predicted_peak
from paretovit.cost.subject import Setting, Subject
from paretovit.errors import Unmeasurable
from paretovit.zoo.catalog import resolve

SPEC = resolve("vit_pico_patch2_8")


@pytest.mark.parametrize(
    ("peak", "budget", "fits"),
    [
        (lambda n: 100 + 10 * n, 200, 10),
        (lambda n: 100 + 10 * n, 110, 1),
        (lambda n: 7 * n, 7_000_000, 1_000_000),
        (lambda n: max(500, 3 * n), 600, 200),  # the optimizer's step is the peak of small batches
        (lambda n: 5 * n if n < 16 else 6 * n, 600, 100),  # another kernel from 16 images on
        (lambda n: n * n, 1_000_000, 1_000),
    ],
)
def test_it_fits_and_the_next_does_not(peak, budget, fits):
    assert largest(peak, budget) == fits


def test_few_batches_are_tried():
    tried = []
    largest(lambda n: tried.append(n) or 1_000_000 + 4321 * n, 64e9)
    assert len(tried) <= 8


def test_not_even_one_image_is_a_reason():
    with pytest.raises(Unmeasurable, match="one image takes"):
        largest(lambda n: 10 * n, 9)


@pytest.mark.parametrize(("name", "training"), [("max_batch", False), ("max_batch_train", True)])
def test_it_is_the_batch_whose_predicted_peak_fits(name, training):
    setting = Setting(assumed=(("memory_gb", 0.05),))
    (batch,) = INDICATORS[name]()(Subject(SPEC, setting))
    below, above = (predicted_peak(SPEC, batch_size=int(batch) + more, training=training) for more in (0, 1))
    assert below <= 0.05e9 < above


def test_the_memory_is_a_condition_and_by_default_the_machines():
    indicator = INDICATORS["max_batch"]()
    assert dict(indicator.assumptions(Setting())) == {"memory_gb": memory_gb()}
    assert dict(indicator.assumptions(Setting(assumed=(("memory_gb", 8.0),)))) == {"memory_gb": 8.0}


@pytest.mark.parametrize(
    "setting", [Setting(runtime="torch_compile"), Setting(dtype="bfloat16"), Setting(device="cuda")]
)
def test_what_cannot_be_predicted_is_a_reason(setting):
    with pytest.raises(Unmeasurable, match="memory is predicted for torch_eager"):
        INDICATORS["max_batch"]()(Subject(SPEC, setting))
