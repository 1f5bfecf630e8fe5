"""The paper's claims on scaled models, on rows made up such that each verdict is known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from paretovit.analysis.scaled import SEARCH, WIDTH, scaled_row
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.papers import claims
from paretovit.spec import ModelSpec, Stage

LITERT = "latency_s on litert"


def model(name: str) -> ModelSpec:
    """As wide as its name is long, which tells it from the others."""
    return ModelSpec(name=f"vit_{name}", stages=(Stage(depth=1, dim=len(name), heads=1),))


def row(spec: ModelSpec, indicator: str, value: float, **conditions) -> Measurement:
    stated = Conditions(spec=spec.key, **conditions)
    how = "trained" if indicator == "top1" else "measured"
    return Measurement(
        model=spec.name, indicator=indicator, unit="1", value=value, conditions=stated, origin=Origin(how=how)
    )


def rows_of(name: str, percent: float, macs: float, seconds: float, *scaled: tuple[str, int, str]) -> list[Measurement]:
    """A model's accuracies from three seeds and on held out images, its costs, and what it was scaled for."""
    spec = model(name)
    trained = {"data": "cifar10", "recipe": "short"}
    return [
        *(
            row(spec, "top1", (percent + seed / 10) / 100, split="test", seed=seed, **trained)
            for seed in range(3)
        ),
        row(spec, "top1", 0.99, split="held out of train", seed=0, **trained),
        row(spec, "macs", macs),
        row(spec, "latency_s", seconds, runtime="litert", threads=1),
        row(spec, "latency_s", 99 - seconds, runtime="litert", threads=2),
        row(spec, "latency_s", 99 - seconds, runtime="onnxruntime", threads=1),
        *(scaled_row(spec, target=target, step=step, by=by, ratio=2.0**step) for target, step, by in scaled),
    ]  # fmt: skip


ROWS = [
    *rows_of("start", 30, 1, 1, ("macs", 0, SEARCH), (LITERT, 0, SEARCH)),
    *rows_of("macs 1", 40, 2, 4, ("macs", 1, SEARCH)),
    *rows_of("macs 22", 50, 4, 8, ("macs", 2, SEARCH)),
    *rows_of("litert 111", 45, 8, 2, (LITERT, 1, SEARCH)),
    *rows_of("litert 2222", 55, 16, 4, (LITERT, 2, SEARCH)),
    *rows_of("wider 1111111", 42, 2, 2, ("macs", 1, WIDTH)),
    *rows_of("wider 22222222", 30, 4, 3, ("macs", 2, WIDTH)),
]


@pytest.fixture(scope="module")
def found():
    return claims(ROWS, "hardware-aware-vit-scaling")


def of(found, words: str) -> dict[tuple[str, str], str]:
    kept = [claim for claim in found if words in claim.says]
    assert all(claim.where == "cifar10, test; short; scaled from vit_start" for claim in kept)
    return {(claim.first.model, claim.second.model): claim.said for claim in kept}


def test_scaled_models_beside_the_wider_one_that_is_nearest_in_cost(found):
    pairs = {
        ("vit_macs 1 (macs x 2.0)", "vit_wider 1111111 (macs x 2.0)"): "contradicted",
        ("vit_macs 22 (macs x 4.0)", "vit_wider 22222222 (macs x 4.0)"): "holds",
        # of what was made wider for macs, in litert; 4 and 3 times are not equal
        (f"vit_litert 111 ({LITERT} x 2.0)", f"vit_wider 1111111 ({LITERT} x 2.0)"): "holds",
    }
    assert of(found, "is more accurate than one") == of(found, "is no less accurate") == pairs


def test_a_step_that_chose_width_itself_is_not_held_against_itself():
    itself = rows_of("wider 1111111", 42, 2, 2, ("macs", 1, SEARCH), ("macs", 1, WIDTH))
    found = claims([*ROWS, *itself], "hardware-aware-vit-scaling")
    beside = [claim for claim in found if "wider alone" in claim.says]
    assert len(beside) == 6
    assert not any(claim.first.model == claim.second.model for claim in beside)


def test_models_on_the_front_of_their_own_target(found):
    pairs = of(found, "No other").items()
    said = {first.split(" (")[0]: (second.split(" (")[0], verdict) for (first, second), verdict in pairs}
    assert said == {
        # of all that cost no more in macs the most accurate one; the start is alone
        "vit_macs 1": ("vit_wider 1111111", "contradicted"),
        "vit_macs 22": ("vit_wider 1111111", "holds"),
        # in litert with one thread, the first of the two that the rows have
        "vit_litert 111": ("vit_wider 1111111", "holds"),
        "vit_litert 2222": ("vit_litert 111", "holds"),
    }


def test_models_scaled_for_another_target_at_their_cost_on_this_one(found):
    (claim,) = [claim for claim in found if "At equal cost" in claim.says]
    # those for litert cost more multiply-accumulates than any for macs, those for macs 4 and 8 of litert's 1 to 4
    assert claim.first.model == f"scaled for {LITERT}: 1 model at their cost in {LITERT}"
    assert claim.second.model == "scaled for macs"
    assert claim.first.values == pytest.approx([55, 55.1, 55.2])
    assert claim.second.values == pytest.approx([40, 40.1, 40.2])
    assert claim.said == "holds"


def test_what_is_read_off_between_two_models_is_by_the_logarithm_of_the_cost():
    rows = [*ROWS, *rows_of("macs 3333333", 40, 3, 2**1.5, ("macs", 3, SEARCH))]
    claim = next(claim for claim in claims(rows, "hardware-aware-vit-scaling") if "At equal cost" in claim.says)
    assert claim.first.values[0] == pytest.approx((50 + 55) / 2)
    assert claim.second.values[0] == pytest.approx(40)


def test_where_all_were_scaled_from_one_start_names_are_what_was_grown():
    rows = [replace(one, model=one.model.replace("vit_macs", "vit_start d")) for one in ROWS]
    assert claims(rows, "hardware-aware-vit-scaling")[0].first.model == "d 1 (macs x 2.0)"
    elsewhere = scaled_row(model("other"), target="params", step=0, by=SEARCH, ratio=1.0)
    claim = claims([*rows, elsewhere], "hardware-aware-vit-scaling")[0]
    assert claim.first.model == "vit_start d 1 (macs x 2.0)"
    assert claim.where == "cifar10, test; short; scaled from vit_start, vit_other"


def test_rows_of_no_search_make_no_claim():
    assert claims([one for one in ROWS if one.indicator != "scaled_ratio"], "hardware-aware-vit-scaling") == []


def test_rows_of_no_search_do_not_load_the_paper():
    code = (
        "import sys; from paretovit.measurement import Conditions, Measurement, Origin\n"
        "from paretovit.papers import claims\n"
        "about = {'conditions': Conditions(spec='a'), 'origin': Origin(how='counted')}\n"
        "row = Measurement(model='vit_tiny', indicator='macs', unit='1', value=1.0, **about)\n"
        "print(claims([row]), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "False"]
