"""Architectures at several numbers of tokens, and what the page says of them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.growth import GEMM_SHARE, MIXER, headline, tokens_section
from paretovit.report.headings import Sheet, sheet_of
from paretovit.report.series import grown_costs, growths, said, series_of, tokens_of
from paretovit.spec import ModelSpec, Part
from paretovit.store import arrange
from paretovit.zoo.catalog import family, resolve, timm_spec

SIDES = (16, 32, 64)


def cost(spec: ModelSpec, value: float, indicator: str = "peak_bytes_train") -> Measurement:
    return Measurement(
        model=spec.name,
        indicator=indicator,
        unit="B",
        value=value,
        conditions=Conditions(spec=spec.key, device="Abacus"),
        origin=Origin(how="measured"),
    )


def vix(kind: str, side: int) -> ModelSpec:
    return resolve(f"vix_{kind}_patch1_{side}", num_classes=10)


def sheet(*models: tuple[ModelSpec, float]) -> Sheet:
    return sheet_of(arrange([cost(*model) for model in models], specs={spec.key: spec for spec, _ in models}))


def grown(**laws) -> Sheet:
    return sheet(*((vix(kind, side), law(side**2)) for kind, law in laws.items() for side in SIDES))


def test_tokens_are_the_patches_of_the_image():
    assert tokens_of(vix("vit", 32)) == 1024
    assert tokens_of(timm_spec("deit_tiny_patch16_224", image_px=224)) == 196
    assert tokens_of(timm_spec("resnet50", image_px=224)) is None


def test_one_architecture_at_three_sizes_is_a_series_whatever_follows_from_the_size():
    found = series_of(grown(vin=lambda n: n, mixer=lambda n: n))  # 64 landmarks from 256 patches on, but the lines vary
    assert [(series.name, series.tokens) for series in found] == [
        ("vix_vin", (256, 1024, 4096)), ("vix_mixer", (256, 1024, 4096)),
    ]  # fmt: skip
    eight = vix("vin", 8)
    assert dict(eight.stages[0].mixer.options)["landmarks"] == 16
    assert series_of(sheet((eight, 1.0), (vix("vin", 32), 2.0)))[0].tokens == (64, 1024)


def test_models_of_one_name_that_differ_in_more_than_size_are_no_series():
    other = replace(vix("vit", 32), position=Part("rotary"))
    assert series_of(sheet((vix("vit", 16), 1.0), (other, 2.0))) == ()
    stage = vix("vit", 16).stages[0]
    first, other = (
        replace(vix("vit", side), stages=(replace(stage, mixer=Part.of("attention", fused=fused)),))
        for side, fused in ((16, True), (32, False))
    )
    assert series_of(sheet((first, 1.0), (other, 2.0))) == ()


def test_equally_many_tokens_by_other_patches_are_a_series_of_their_own():
    specs = [resolve(f"vix_vit_patch{p}_{px}", num_classes=10) for p, px in ((1, 16), (1, 32), (2, 32), (2, 64))]
    found = series_of(sheet(*((spec, float(at)) for at, spec in enumerate(specs, 1))))
    assert [(s.name, s.tokens) for s in found] == [
        ("vix_vit (patch 1)", (256, 1024)), ("vix_vit (patch 2)", (256, 1024)),
    ]  # fmt: skip


def test_the_crossover_is_against_softmax_attention_in_the_same_frame():
    shown = grown(vit=lambda n: n**2, vip=lambda n: 512 * n, vil=lambda n: 4 * n, hybrid_vip=lambda n: n)
    (heading,) = grown_costs(shown)
    found = {g.series.name: g for g in growths(shown, heading)}
    assert found["vix_vit"].is_softmax
    assert found["vix_vit"].against is None
    assert found["vix_vit"].power == pytest.approx(2)
    assert found["vix_vip"].reference is not None
    assert found["vix_vip"].reference.name == "vix_vit"
    assert found["vix_vip"].against is not None
    assert found["vix_vip"].against.size == pytest.approx(512)
    assert said(found["vix_vip"]) == "from about 510 on; 8.00 times less at 4,096"
    assert said(found["vix_vil"]) == "at every number measured, from 256 on; 1,024 times less at 4,096"
    assert found["vix_hybrid_vip"].reference is None  # another stem
    assert said(found["vix_hybrid_vip"]) == ""


def test_what_is_less_within_the_noise_only_is_no_crossover():
    made = [
        replace(cost(vix(kind, side), value), unit="s", samples=(0.9 * value, value, 1.1 * value),
                origin=Origin(how="measured", timing={"rounds": 3}))
        for kind, value in (("vit", 1.0), ("vil", 0.95)) for side in SIDES
    ]  # fmt: skip
    made = [replace(row, value=row.value and row.value * (1 + at % 3 / 10)) for at, row in enumerate(made)]
    specs = {spec.key: spec for kind in ("vit", "vil") for side in SIDES for spec in [vix(kind, side)]}
    shown = sheet_of(arrange(made, specs=specs))
    (_, growth) = growths(shown, grown_costs(shown)[0])
    assert said(growth) == "not within the measured range; 1.05 times less within the noise at 4,096"


def test_rotary_models_are_set_beside_the_rotary_softmax_model():
    shown = grown(vit=lambda n: n, vit_rope=lambda n: n**2, vip_rope=lambda n: 9 * n)
    found = {g.series.name: g.reference for g in growths(shown, grown_costs(shown)[0])}
    assert found["vix_vip_rope"] is not None
    assert found["vix_vip_rope"].name == "vix_vit_rope"


def test_the_headline_names_who_pays_from_where_and_who_does_not():
    shown = grown(vit=lambda n: n**2, vip=lambda n: 512 * n, vil=lambda n: 4 * n, vin=lambda n: n**3)
    assert headline(shown) == (
        "Against softmax attention as one operator, on Abacus: peak memory, training is less for vix_vil at every "
        "number of tokens measured, for vix_vip from about 510 tokens on, not for vix_vin up to 4,096 tokens."
    )


def test_the_headline_counts_architectures_where_they_are_many():
    costs = {
        "vip": 300.0,
        "vil": 500.0,
        "vin": 700.0,
        "fnet": 900.0,
        "mixer": 1100.0,
        "vip_rope": 1300.0,
        "vix": 1500.0,
    }
    specs = {name: {side: _named(name, side) for side in SIDES} for name in costs}
    models = [(vix("vit", side), float(side**4)) for side in SIDES]
    models += [(spec, costs[name] * side**2) for name, of_side in specs.items() for side, spec in of_side.items()]
    assert headline(sheet(*models)) == (
        "Against softmax attention as one operator, on Abacus: peak memory, training is less for 7 from between "
        "about 300 (vix_vip) and about 1,500 (vix_vix) tokens on."
    )


def _named(name: str, side: int) -> ModelSpec:
    """One linear architecture under many names: options tell them apart."""
    spec = vix("vil", side)
    (stage,) = {*spec.stages}
    return replace(spec, name=f"vix_{name}_patch1_{side}", stages=(replace(stage, mixer=Part.of("hydra", kind=name)),))


def test_without_softmax_attention_there_is_no_headline():
    assert headline(grown(vip=lambda n: n)) == ""


def test_the_section_has_a_line_per_architecture_with_crossover_and_power():
    shown = grown(vit=lambda n: n**2, vip=lambda n: 512 * n)
    text = tokens_section(shown, {"tokens-peak_bytes_train"})
    lines = [re.sub("<[^>]+>", "|", line) for line in re.findall("<tr>(.*?)</tr>", text)]
    assert "vix_vit||is softmax attention||N|2.00" in lines[1].replace("|||", "||")
    assert "from about 510 on; 8.00 times less at 4,096" in lines[2]
    assert "N|1.00" in lines[2]
    assert 'data-chart="crossovers"' not in text
    assert 'data-chart="crossovers"' in tokens_section(shown, {"tokens-peak_bytes_train", "crossovers"})


def test_the_section_shows_names_as_text():
    evil = "<b>_patch1_16"
    specs = [replace(vix("vit", side), name=evil.replace("16", str(side))) for side in SIDES]
    text = tokens_section(sheet(*((spec, float(at)) for at, spec in enumerate(specs, 1))), {"tokens-peak_bytes_train"})
    assert "<b>" not in text
    assert "&lt;b&gt;" in text


def test_a_sheet_without_series_has_no_section(sample_store):
    assert tokens_section(sheet_of(sample_store.table(sample_store.columns())), set()) == ""


def gemm_share(spec: ModelSpec, value: float, **timing) -> Measurement:
    return Measurement(
        model=spec.name,
        indicator=GEMM_SHARE,
        unit="1",
        value=value,
        samples=(0.9 * value, value, 1.1 * value),
        conditions=Conditions(spec=spec.key, device="Abacus", batch_size=2, threads=2, part=MIXER),
        origin=Origin(how="measured", timing={"rounds": 3, "macs": 250_000_000, **timing}),
    )


def test_shares_of_the_gemm_peak_are_listed_largest_first():
    low, high, busy = (vix(kind, 32) for kind in ("vip", "vit", "vil"))
    made = [gemm_share(low, 0.125), gemm_share(high, 0.5), gemm_share(busy, 0.25, contended=True)]
    text = tokens_section(sheet_of(arrange(made, specs={spec.key: spec for spec in (low, high, busy)})), set())
    lines = [re.sub("(<[^>]+>)+", "|", line) for line in re.findall("<tr>(.*?)</tr>", text)]
    assert lines[1] == f"|{high.name}|{family(high)}|250|50.0% |45.0 to 55.0|"
    assert lines[2] == f"|{busy.name}|{family(busy)}|250|25.0%|"
    assert "claims nothing" in re.findall("<tr>(.*?)</tr>", text)[2]
    assert lines[3] == f"|{low.name}|{family(low)}|250|12.5% |11.2 to 13.8|"
    assert "Abacus, 2 threads, batch 2" in text
    assert "at several sizes" not in text  # of no series here
