from dataclasses import replace

from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.headings import described, sheet_of
from paretovit.store import arrange


def row(indicator, value, unit="1", model="m", **conditions) -> Measurement:
    return Measurement(
        model=model,
        indicator=indicator,
        unit=unit,
        value=value,
        conditions=Conditions(spec=model, **conditions),
        origin=Origin(how="counted"),
    )


def test_an_indicator_has_the_title_and_direction_that_its_file_states():
    (heading,) = sheet_of(arrange([row("images_per_s", 50.0, "1/s")])).headings
    assert heading.label == "throughput (1/s)"
    assert not heading.lower_is_better
    assert heading.axis.endswith("higher is better")
    assert heading.is_cost


def test_an_accuracy_is_a_quality_in_percent():
    sheet = sheet_of(arrange([row("top1", 0.9)]))
    assert [h.scale.unit for h in sheet.qualities] == ["%"]
    assert sheet.costs == ()


def test_an_indicator_that_nobody_knows_keeps_its_name_and_unit():
    (heading,) = sheet_of(arrange([row("regret", 3.0, "tears")])).headings
    assert heading.label == "regret (tears)"


def test_columns_of_one_indicator_are_told_apart_by_what_differs_and_only_by_that():
    shared = {"device": "Abacus", "batch_size": 1}
    rows = [row("latency_s", 1.0, "s", runtime=r, threads=t, **shared) for r, t in (("a", 1), ("b", 2))]
    assert [h.title for h in sheet_of(arrange(rows)).headings] == ["latency, a, 1 thread", "latency, b, 2 threads"]


def test_a_cost_that_is_the_same_for_all_is_no_choice():
    rows = [row("params", 5.0, model=m) for m in "ab"] + [row("macs", v, model=m) for m, v in (("a", 1.0), ("b", 2.0))]
    assert [h.column.indicator for h in sheet_of(arrange(rows)).costs] == ["macs"]


def test_models_of_one_name_are_told_apart(sample_store):
    spec = next(iter(sample_store.specs().values()))
    twin = replace(spec, image_px=16)
    rows = [replace(row("params", 1.0), model=spec.name, conditions=Conditions(spec=s.key)) for s in (spec, twin)]
    first, second = sheet_of(arrange(rows, specs={spec.key: spec, twin.key: twin})).labels
    assert first.startswith(f"{spec.name} (8 px")
    assert second.startswith(f"{spec.name} (16 px")


def test_short_labels_leave_out_the_ending_that_a_panel_shares():
    names = ["vit_nano_patch1_8", "fnet_nano_patch1_8", "resnet50"]
    sheet = sheet_of(arrange([row("params", 1.0, model=name) for name in names]))
    assert sheet.short_labels == ("vit", "fnet", "resnet50")


def test_short_labels_keep_what_only_some_of_a_panel_have():
    names = ["vix_vit_patch4_32", "vix_vip_patch4_32", "vix_vit_rope_patch4_32", "vix_vip_rope_patch4_32"]
    sheet = sheet_of(arrange([row("params", 1.0, model=name) for name in names]))
    assert sheet.short_labels == ("vix_vit", "vix_vip", "vix_vit_rope", "vix_vip_rope")


def test_costs_of_models_with_an_accuracy_come_first():
    rows = [row("top1", 0.5, model="a"), row("top1", 0.6, model="b"), row("macs", 5.0, model="a")]
    rows += [row("latency_s", value, "s", model=model) for model, value in (("c", 1.0), ("d", 2.0))]
    rows += [row("macs", 6.0, model="b")]
    assert [h.column.indicator for h in sheet_of(arrange(rows)).costs] == ["macs", "latency_s"]


def test_short_labels_are_long_where_short_ones_would_be_the_same():
    names = ["vit_nano_patch1_8", "fnet_nano_patch1_8", "vit"]
    sheet = sheet_of(arrange([row("params", 1.0, model=name) for name in names]))
    assert sheet.short_labels == tuple(names)


def test_conditions_are_said_in_words():
    conditions = Conditions(device="Abacus", batch_size="best", threads=1, data="digits", assumptions=(("price", 2),))
    assert described(conditions) == "Abacus, best batch size, 1 thread, data digits, price 2"
