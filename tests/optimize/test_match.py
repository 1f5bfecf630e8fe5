from __future__ import annotations

from dataclasses import replace

import pytest

from paretovit.cost.formulas import vit_counts
from paretovit.errors import UserError
from paretovit.optimize.match import WAYS, Match, described, match_all, matched, ratio_to, shapes
from paretovit.spec import ModelSpec, Stage
from paretovit.zoo.catalog import resolve

TINY = resolve("vit_tiny_patch16_224")


def by_formula(indicator: str, target: float):
    """The cost of a plain ViT over the target, by the closed formula: an answer without the operator counter."""

    def ratio(spec: ModelSpec) -> float:
        (shape,) = shapes(spec)
        counts = vit_counts(
            depth=shape.depth,
            heads=shape.heads,
            head_dim=shape.dim // shape.heads,
            mlp_ratio=4,
            image_px=spec.image_px,
            patch_px=spec.patch_px,
        )
        return float(counts[indicator]) / target

    return ratio


def test_a_resized_copy_is_found_again_in_every_way():
    for way, size in (("width", {"dim": 256, "heads": 4}), ("depth", {"depth": 9})):
        goal = replace(TINY, stages=(replace(TINY.stages[0], **size),))
        found = matched(TINY, ratio_to(goal, "macs"), by=way)
        assert found.reached
        assert found.ratio == pytest.approx(1, abs=0.01)
        assert shapes(found.spec)[0].depth == shapes(goal)[0].depth
    goals = {"patch": resolve("vit_tiny_patch14_224"), "resolution": resolve("vit_tiny_patch16_320")}
    for way, goal in goals.items():
        assert matched(TINY, ratio_to(goal, "macs"), by=way).spec.key == goal.key


@pytest.mark.parametrize("indicator", ["params", "macs", "activations"])
@pytest.mark.parametrize("share", [0.3, 0.77, 1.9, 3.1])
def test_the_search_finds_what_trying_every_width_finds(indicator, share):
    own = by_formula(indicator, 1.0)(TINY)
    ratio = by_formula(indicator, own * share)
    found = matched(TINY, ratio, by="width")
    heads_and_widths = [(h, k) for h in range(1, 13) for k in range(48, 81)]
    best = min(abs(ratio(_of(h, k)) - 1) for h, k in heads_and_widths)
    assert found.reached == (best <= 0.01)
    assert abs(found.ratio - 1) == pytest.approx(best, abs=2e-3)
    assert found.tried < 16


def _of(heads: int, head_width: int) -> ModelSpec:
    return replace(TINY, stages=(replace(TINY.stages[0], dim=heads * head_width, heads=heads),))


def test_a_head_keeps_its_width_within_a_quarter():
    found = matched(TINY, by_formula("params", 20e6), by="width")
    (shape,) = shapes(found.spec)
    assert 48 <= shape.dim / shape.heads <= 80
    assert shape.dim % shape.heads == 0


def test_a_cost_out_of_reach_is_answered_with_the_nearest():
    found = matched(TINY, by_formula("macs", by_formula("macs", 1.0)(TINY) * 1.04), by="depth")
    assert not found.reached
    assert shapes(found.spec)[0].depth == 12  # of 12 and 13 blocks, with 96% and 104%
    far = matched(TINY, by_formula("params", 1e12), by="depth")
    assert not far.reached
    assert shapes(far.spec)[0].depth == 48  # the end of the range


def test_all_stages_change_in_proportion():
    spec = ModelSpec(
        name="pyramid",
        stages=(Stage(depth=2, dim=64, heads=2), Stage(depth=4, dim=128, heads=4)),
        image_px=32,
        patch_px=4,
        num_classes=10,
    )
    wider = matched(spec, lambda one: sum(s.dim for s in one.stages) / 384, by="width").spec
    assert [(s.dim, s.heads) for s in wider.stages] == [(128, 4), (256, 8)]
    deeper = matched(spec, lambda one: sum(s.depth for s in one.stages) / 12, by="depth").spec
    assert [s.depth for s in deeper.stages] == [4, 8]


def test_options_that_follow_from_the_number_of_patches_follow():
    linformer = resolve("linformer_nano_patch4_32")
    finer = matched(linformer, ratio_to(resolve("linformer_nano_patch2_32"), "macs"), by="patch").spec
    assert finer.key == resolve("linformer_nano_patch2_32").key != linformer.key


def test_sizes_that_make_no_model_are_passed_over():
    afno = resolve("afno_tiny_patch16_224")  # eight blocks must divide its width
    found = matched(afno, ratio_to(resolve("vit_small_patch16_224"), "params"), by="width")
    assert shapes(found.spec)[0].dim % 8 == 0
    assert found.ratio == pytest.approx(1, abs=0.1)


def test_a_vit_of_timm_is_resized_by_its_constructor():
    deit, goal = resolve("deit_tiny_patch16_224"), resolve("vit_small_patch16_224")
    assert described(deit) == "12 x 192 with 3 heads, patch 16, 224 px"
    for way in ("width", "depth", "resolution"):
        found = matched(deit, ratio_to(goal, "macs"), by=way)
        assert ratio_to(goal, "macs")(found.spec) == found.ratio
        assert found.ratio == pytest.approx(1, abs=0.05)


def test_peaks_of_memory_are_matched_by_prediction():
    found = matched(
        resolve("vit_pico_patch2_8"), ratio_to(resolve("vit_nano_patch2_8"), "peak_bytes_infer"), by="width"
    )
    assert found.reached


def test_a_group_holds_every_count_of_the_target_and_of_each_way():
    specs = [resolve("vit_pico_patch2_8"), resolve("fnet_pico_patch2_8")]
    (group,) = match_all(specs, "macs", ways=["width", "depth"])
    assert group.specs[0].name == "fnet_pico_patch2_8"
    assert {row.conditions.spec for row in group.rows} == {spec.key for spec in group.specs}
    first, width, depth = group.lines()
    assert first.startswith("As dear as fnet_pico_patch2_8 in macs: vit_pico_patch2_8, which has ")
    assert width.split()[0] == "width"
    assert "out of reach, the nearest is" in depth
    assert [way["by"] for way in group.to_json()["ways"]] == ["width", "depth"]


def test_without_an_indicator_nothing_is_matched():
    assert match_all([TINY], None) == []


def test_equal_is_within_one_percent():
    assert Match("width", TINY, 1.0099, 1).reached
    assert not Match("width", TINY, 1.0101, 1).reached


@pytest.mark.parametrize(
    ("names", "indicator", "ways", "said"),
    [
        (["vit_pico_patch2_8"], "macs", None, "name the model that is to be resized"),
        (["vit_pico_patch2_8", "fnet_pico_patch2_8"], "mcs", None, "did you mean macs"),
        (["vit_pico_patch2_8", "fnet_pico_patch2_8"], "cold_start_s", None, "cannot be matched"),
        (["vit_pico_patch2_8", "fnet_pico_patch2_8"], "macs", ["withd"], "did you mean width"),
        (["swin_tiny_patch4_window7_224", "fnet_pico_patch2_8"], "macs", None, "cannot be resized"),
    ],
)
def test_what_cannot_be_matched_is_refused(names, indicator, ways, said):
    with pytest.raises(UserError, match=said):
        match_all([resolve(name) for name in names], indicator, ways=ways)


def test_an_unknown_way_is_refused():
    assert "sideways" not in WAYS
    with pytest.raises(UserError, match="unknown way to resize a model"):
        matched(TINY, lambda spec: 1.0, by="sideways")
