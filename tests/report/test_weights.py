from __future__ import annotations

from dataclasses import replace

import pytest

from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.page import write
from paretovit.report.weights import for_page, with_costs
from paretovit.store import Store
from paretovit.zoo.catalog import resolve, timm_spec

NETWORK, OTHER = timm_spec("resnet50", image_px=224), timm_spec("regnety_040", image_px=224)
A1 = timm_spec("resnet50.a1_in1k", image_px=224)
TV = timm_spec("resnet50.tv_in1k", image_px=224)
ELSEWHERE = timm_spec("regnety_040.ra3_in1k", image_px=224)
SPECS = {spec.key: spec for spec in (NETWORK, OTHER, A1, TV, ELSEWHERE)}


def row(spec, indicator: str, value: float, **conditions) -> Measurement:
    return Measurement(
        model=spec.name,
        indicator=indicator,
        unit="1",
        value=value,
        conditions=Conditions(spec=spec.key, **conditions),
        origin=Origin(how="published" if "source" in conditions else "measured"),
    )


PRINTED = {"data": "ImageNet-1k", "source": "a table"}
ACCURACIES = [
    row(A1, "top1", 0.80, **PRINTED),
    row(TV, "top1", 0.76, **PRINTED),
    row(ELSEWHERE, "top1", 0.81, **PRINTED),
]
MORE = [row(A1, "top1", 0.4, data="ImageNet-A", source="a table"), row(NETWORK, "macs", 4e9, source="a table")]
HERE = [row(NETWORK, "params", 25e6), row(NETWORK, "top1", 0.5, data="digits", recipe="demo")]


def cells(rows) -> set[tuple[str, str, float]]:
    return {(r.model, r.indicator, r.value) for r in rows}


def test_weights_take_the_costs_of_their_network_and_nothing_that_was_learned():
    made = cells(with_costs([*ACCURACIES, *HERE], SPECS)) - cells([*ACCURACIES, *HERE])
    assert made == {("resnet50.a1_in1k", "params", 25e6), ("resnet50.tv_in1k", "params", 25e6)}


def test_a_cost_that_the_weights_have_themselves_stays():
    own = row(A1, "params", 26e6)
    assert [r.value for r in with_costs([*HERE, own], SPECS) if r.model == A1.name] == [26e6]


def test_where_no_two_specs_are_one_network_nothing_is_added():
    assert with_costs(HERE, {NETWORK.key: NETWORK, OTHER.key: OTHER}) == HERE


def test_a_model_of_ours_takes_what_is_printed_for_the_same_network_of_timm():
    ours, theirs = resolve("vit_tiny_patch16_224"), timm_spec("vit_tiny_patch16_224", image_px=224)
    (_, made) = with_costs([row(theirs, "macs", 1e9, source="a table")], {s.key: s for s in (ours, theirs)})
    assert (made.model, made.conditions.spec) == (ours.name, ours.key)


def test_a_page_shows_what_was_taken_here_and_the_foremost_accuracy_of_the_same_networks():
    shown = cells(for_page([*ACCURACIES, *MORE, *HERE], SPECS))
    assert shown == cells(HERE) | {
        ("resnet50.a1_in1k", "top1", 0.80),
        ("resnet50.tv_in1k", "top1", 0.76),
        ("resnet50.a1_in1k", "params", 25e6),
        ("resnet50.tv_in1k", "params", 25e6),
    }


def test_where_nothing_was_taken_here_a_page_shows_what_was_published_if_it_bears_it():
    assert for_page(ACCURACIES, SPECS) == ACCURACIES
    with pytest.raises(UserError, match="25 published columns, no published top1 and nothing that was taken here"):
        for_page([row(NETWORK, "macs", 1.0, source=f"table {at}") for at in range(25)], SPECS)


@pytest.mark.slow
def test_the_page_names_the_source_of_a_published_accuracy(tmp_path):
    with Store("sqlite://") as store:
        store.append([*ACCURACIES, *MORE, *HERE], SPECS.values())
        page = write(store, tmp_path)[0].read_text()
    assert "resnet50.a1_in1k" in page
    assert "<dt>published</dt><dd>a table</dd>" in page


def test_of_more_published_columns_than_a_page_bears_it_shows_the_first_accuracy_and_the_newest_times():
    def times(release: str, **conditions) -> Measurement:
        made = row(NETWORK, "images_per_s", 100.0, source=f"torch {release}", **conditions)
        return replace(made, origin=replace(made.origin, versions={"torch": release}))

    many = [times(f"2.{release}.0", device=f"device {release}") for release in range(30)]
    macs = row(NETWORK, "macs", 4e9, source="a table")
    shown = for_page([*ACCURACIES, *MORE[:1], *many, macs], SPECS)
    assert {r.conditions.device for r in shown if r.indicator == "images_per_s"} == {
        "device 29", "device 28", "device 27",
    }  # fmt: skip
    assert {r.model for r in shown} == {A1.name, TV.name, ELSEWHERE.name}  # a network has no accuracy
    assert {r.conditions.data for r in shown if r.indicator == "top1"} == {"ImageNet-1k"}
    assert {r.model for r in shown if r.indicator == "macs"} == {A1.name, TV.name}
