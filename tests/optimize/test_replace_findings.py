"""The study of `benchmarks/` on replaced layers: what it tries, and what needs no training."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from few_digits import few_digits

from paretovit.measurement import Measurement
from paretovit.optimize.replace import Parent
from paretovit.optimize.replacement import Plan, replaced
from paretovit.papers import claims
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.store import Store
from paretovit.training.replacing import tried
from paretovit.zoo.backbone import Backbone

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SPEC = ModelSpec(
    name="vit_6x16_patch4_8",
    stages=(Stage(depth=6, dim=16, heads=2),),
    image_px=8,
    patch_px=4,
    in_chans=1,
    num_classes=10,
)


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("replace_findings")


def test_every_setting_can_be_made_has_a_name_of_its_own_and_is_read_back(study: ModuleType) -> None:
    settings = list(study.settings())
    assert len({(setting.name, setting.changes) for setting in settings}) == len(settings)
    for setting in settings:
        replaced(SPEC, setting.plan)
        about = tried(f"demo, from vit (demo, 0123abcd) with {setting.plan}, {setting.distil}")
        assert about is not None
        assert (about.alpha, about.start) == (setting.distil.alpha, setting.distil.start)
    followed = [setting for setting in settings if setting.is_followed]
    assert [s.distil.alpha for s in followed if s.finding == "self-distillation"] == [1.0] * 5
    assert sorted(s.distil.alpha for s in followed if s.finding != "self-distillation") == [0.0, 0.35, 1.0]


def test_a_class_token_that_hears_no_more_says_what_the_parent_says_without_its_last_layers(study: ModuleType) -> None:
    torch.manual_seed(0)
    whole = Backbone(SPEC)
    data, kept = few_digits(8, 32), list[Measurement]()
    with Store("sqlite://") as store:

        def keep(rows: list[Measurement], specs: list[ModelSpec]) -> None:
            store.append(rows, specs)
            kept.extend(rows)

        bench: Any = SimpleNamespace(store=store, data=data, options=SimpleNamespace(device="cpu"), keep=keep)
        parent = Parent(SPEC, whole.state_dict(), "demo", seed=3)
        study._cut(bench, parent)
        study._cut(bench, parent)  # not judged twice
    (top1,) = (row for row in kept if row.indicator == "top1")
    assert (top1.model, top1.conditions.recipe, top1.conditions.seed) == ("vit_6x16_patch4_8_without_4-5", "demo", 3)
    aside = Plan(layers=((4, 5),), mixer=Part("pooling"), class_tokens="mixed")
    student = Backbone(replaced(SPEC, aside).spec)  # refused with the token aside, and equal to it without the mixer
    replaced(SPEC, aside).prepare(student, parent.state)
    student.class_mixers["1"].forward = lambda class_BPD, patches_BMD: class_BPD
    images = data.val.normalised(data.val.pixels[torch.arange(32)])
    hits = (student.eval()(images).argmax(1) == data.val.labels).sum().item()
    assert top1.value == pytest.approx(hits / 32)
    assert claims(kept) == []
