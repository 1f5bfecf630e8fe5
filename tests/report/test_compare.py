from __future__ import annotations

import json
from dataclasses import replace

from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.compare import comparison, contradiction_lines, pair_lines
from paretovit.spec import ModelSpec
from paretovit.zoo.catalog import resolve, timm_spec

SPECS = [replace(resolve("vit_pico_patch2_8"), name=name, num_classes=at) for at, name in enumerate("abc", start=2)]
A, B, C = SPECS


def row(spec: ModelSpec, indicator: str, value: float | None, *, timing=None, how="measured", **more) -> Measurement:
    return Measurement(
        model=spec.name,
        indicator=indicator,
        unit="s" if indicator == "latency_s" else "1",
        value=value,
        samples=(value,) * 3 if indicator == "latency_s" else (),
        conditions=Conditions(spec=spec.key, **more),
        origin=Origin(how=how, timing=timing or {}),
        why="" if value is not None else "lost",
    )


def latency(spec: ModelSpec, seconds: float, **facts) -> Measurement:
    return row(spec, "latency_s", seconds, timing={"rounds": 3, **facts}, device="Abacus")


COUNTED = [row(spec, "macs", value, how="counted") for spec, value in zip(SPECS, (1e6, 2e6, 1e6), strict=True)]


def said(made) -> str:
    return " ".join(" ".join(pair_lines(made)).split())


def test_every_indicator_has_its_verdict_for_each_pair_with_the_first():
    stored = [latency(A, 2.0), latency(B, 1.0), latency(C, 2.01), row(A, "params", 5.0), row(B, "params", 5.0)]
    made = comparison(SPECS, COUNTED, stored)
    text = said(made)
    assert (
        "a against b: better by multiply-accumulates (2.00 times); worse by latency (2.00 times); "
        "not told apart in parameters." in text
    )
    assert "a against c: not told apart in multiply-accumulates, latency; unknown in parameters." in text


def test_what_was_taken_on_a_busy_machine_is_unknown():
    made = comparison(SPECS[:2], COUNTED[:2], [latency(A, 2.0, contended=True), latency(B, 1.0)])
    assert "unknown in latency" in said(made)
    assert made.contradictions == []


def test_contradictions_are_costs_that_order_two_models_oppositely_beyond_the_noise():
    made = comparison(SPECS, COUNTED, [latency(A, 2.0), latency(B, 1.0), latency(C, 1.005)])
    lines = contradiction_lines(made)
    assert lines[0].startswith("Contradictions beyond the noise")
    assert len(lines) == 2  # a and c are equal in macs, b and c are not told apart in latency
    assert " ".join(lines[1].split()) == (
        "- by latency b is 2.00 times better than a, by multiply-accumulates 2.00 times worse"
    )


def test_where_nothing_contradicts_it_is_said():
    made = comparison(SPECS[:2], COUNTED[:2], [latency(A, 1.0), latency(B, 2.0)])
    assert contradiction_lines(made) == ["No two costs here order two of these models oppositely beyond the noise."]


def test_models_stay_in_the_order_given_and_others_of_the_store_out():
    made = comparison([C, A], [COUNTED[2], COUNTED[0]], [latency(A, 1.0), latency(B, 1.0)])
    assert made.sheet.labels == ("c", "a")


def test_a_count_made_now_stands_for_one_in_the_store():
    made = comparison(SPECS[:1], COUNTED[:1], [row(A, "macs", 7.0)])
    assert [r.value for r in made.rows] == [1e6]


def test_published_columns_are_left_out_and_said_unless_asked_for():
    weights, network = timm_spec("resnet50.a1_in1k", image_px=224), timm_spec("resnet50", image_px=224)
    published = [
        row(weights, "top1", 0.8, how="published", data="ImageNet-1k", source="a table"),
        row(network, "macs", 4e9, how="published", source="a table"),
        latency(network, 0.01),
    ]
    without = comparison([weights, A], COUNTED[:1], published)
    assert {r.indicator for r in without.rows} == {"macs", "latency_s"}
    assert "Left out: 2 columns that others published; --published shows them." in said(without)
    whole = comparison([weights, A], COUNTED[:1], published, published=True)
    assert [r.indicator for r in whole.rows if r.model == weights.name] == ["top1", "macs", "latency_s"]


def test_our_vit_has_what_timms_tables_print_for_the_same_network():
    ours, theirs = resolve("vit_tiny_patch16_224"), timm_spec("vit_tiny_patch16_224", image_px=224)
    assert ours.key != theirs.key
    stored = [row(theirs, "images_per_s", 100.0, how="published", source="a table")]
    made = comparison([ours], [], stored, published=True)
    assert [(r.model, r.value) for r in made.rows] == [(ours.name, 100.0)]


def test_the_json_holds_rows_verdicts_and_contradictions():
    made = comparison(SPECS[:2], COUNTED[:2], [latency(A, 2.0), latency(B, 1.0)])
    content = json.loads(json.dumps(made.to_json()))
    assert len(content["rows"]) == 4
    (pair,) = content["pairs"]
    assert {v["indicator"]: v["better"] for v in pair["verdicts"]} == {"macs": "first", "latency_s": "second"}
    (one,) = content["contradictions"]
    assert {one["first"], one["second"]} == {"a", "b"}
