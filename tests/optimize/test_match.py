from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_measure import ScriptedMeasure

from paretovit.cost.formulas import vit_counts
from paretovit.errors import UserError
from paretovit.optimize.match import Group, Match, match_all, matched, measures
from paretovit.optimize.resize import WAYS, described, shapes, sizes_of
from paretovit.optimize.scale_cost import ratio_to
from paretovit.spec import ModelSpec, Stage
from paretovit.store import Store
from paretovit.zoo.catalog import resolve

TINY = resolve("vit_tiny_patch16_224")
PICO, NANO = (resolve(f"vit_{size}_patch4_32", num_classes=10) for size in ("pico", "nano"))


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
            num_classes=spec.num_classes,
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
    assert first.startswith("As dear as fnet_pico_patch2_8 in macs: vit_pico_patch2_8, which is 1.")
    assert width.split()[0] == "width"
    assert "out of reach, the nearest is" in depth
    assert [way["by"] for way in group.to_json()["ways"]] == ["width", "depth"]


def test_without_an_indicator_nothing_is_matched():
    assert match_all([TINY], None) == []


def test_equal_is_within_one_percent():
    assert Match("width", TINY, 1.0099, 1).reached
    assert not Match("width", TINY, 1.0101, 1).reached


def test_what_is_measured_is_equal_where_its_interval_says_so_and_says_how_far_off_it_may_be():
    near = Match("width", TINY, 1.02, 3, (0.99, 1.05))
    assert near.reached
    assert near.within == pytest.approx(0.05)
    sizes = "12 x 192 with 3 heads, patch 16, 224 px"
    assert str(near) == f"{sizes}: equal within 5%, 2% dearer (1% cheaper to 5% dearer)"
    far = Match("width", TINY, 1.04, 3, (1.03, 1.05), why="13 x 192 could not be measured: out of memory")
    assert not far.reached
    assert str(far) == (
        f"{sizes}: out of reach, the nearest is 4% dearer (3% dearer to 5% dearer); "
        "13 x 192 could not be measured: out of memory"
    )


def seconds(spec: ModelSpec) -> float:
    """What an image takes on a made-up machine: so much for the call, for every block, and for multiply-adds."""
    return 2e-4 + 1e-4 * shapes(spec)[0].depth + 1e-11 * by_formula("macs", 1.0)(spec)


def true_ratio(spec: ModelSpec) -> float:
    return seconds(spec) / seconds(NANO)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "rows.sqlite") as made:
        yield made


@pytest.fixture
def machine(monkeypatch):
    """Puts a scripted machine in the place of this one."""

    def made(**how) -> ScriptedMeasure:
        scripted = ScriptedMeasure(seconds, **how)
        monkeypatch.setattr("paretovit.optimize.scale_cost.measure", scripted)
        monkeypatch.setattr("paretovit.optimize.match.measure", scripted)
        return scripted

    return made


def group_of(store: Store, indicator: str = "latency_s", **how) -> Group:
    (group,) = match_all([PICO, NANO], indicator, store=store, **how)
    return group


@pytest.mark.parametrize("indicator", ["latency_s", "images_per_s"])
def test_on_a_quiet_machine_the_nearest_size_of_all_is_found_by_few_measurements(store, machine, indicator):
    watch = machine()
    group = group_of(store, indicator)
    assert group.before == pytest.approx(true_ratio(PICO))
    for match in group.matches:
        off = {size.key: abs(true_ratio(size) - 1) for size in sizes_of(PICO, match.by)}
        assert match.ratio == pytest.approx(true_ratio(match.spec))
        assert match.tried <= 5
        if match.reached:
            assert match.within <= 0.021  # the resolution of any time, to either side
        else:
            assert off[match.spec.key] == min(off.values()) > 0.01
            keys, dearer = list(off), 1 if match.by != "patch" else -1
            beyond = keys.index(match.spec.key) + (dearer if match.ratio < 1 else -dearer)
            assert keys[beyond] in watch.measured, "whether the next size is nearer was not looked at"
    assert {match.by for match in group.matches if match.reached} == {"width"}
    assert len(watch.measured) == len(set(watch.measured)) <= 2 + 4 * 5
    assert len(watch.runs) <= 1 + 5  # the sizes that all ways ask for are measured side by side


def test_on_a_noisy_machine_what_is_said_to_be_equal_is_within_what_is_said(machine):
    said = equal = 0
    for seed in range(12):
        machine(noise=0.03, rounds=9, sittings=3, seed=seed)
        with Store("sqlite://") as own:
            group = group_of(own, ways=["width", "depth", "resolution"])
        for match in group.matches:
            low, high = match.interval
            said += low <= true_ratio(match.spec) <= high
            equal += match.reached
            assert abs(true_ratio(match.spec) - 1) < 0.12
    assert said >= 33  # of 36; the intervals hold 95%, and the search looks for those that cover 1
    assert equal >= 24


def test_what_was_measured_is_not_measured_again(store, machine):
    watch = machine()
    first = group_of(store)
    again = machine()
    assert group_of(store).matches == first.matches
    assert again.measured == []
    assert len(store.rows("latency_s", every=True)) == len(watch.measured)


def test_a_match_that_was_interrupted_goes_on(store, machine):
    killed = machine(killed_at=2)
    with pytest.raises(KeyboardInterrupt):
        group_of(store)
    rest = machine()
    group = group_of(store)
    whole = machine()
    with Store("sqlite://") as other:
        assert group_of(other).matches == group.matches
    assert len(killed.measured) > 2
    assert sorted(killed.measured + rest.measured) == sorted(whole.measured)


def test_a_time_that_was_taken_beside_another_model_is_taken_anew(store, machine):
    machine()
    group_of(store, ways=["depth"])
    watch = machine()
    match_all([PICO, TINY], "latency_s", store=store, ways=["depth"])
    assert watch.measured.count(PICO.key) == 1


def test_equal_models_are_not_resized(store, machine):
    watch = machine()
    (group,) = match_all([NANO, replace(NANO, name="other")], "latency_s", store=store)
    assert [(match.spec.key, match.tried) for match in group.matches] == [(NANO.key, 0)] * 4
    assert watch.measured == [NANO.key]


def test_a_vit_of_timm_is_resized_by_measurement(store, machine):
    machine()
    deit = resolve("deit_tiny_patch16_224")
    (group,) = match_all([deit, TINY], "latency_s", store=store, ways=["depth"])
    assert group.matches[0].spec.key == deit.key  # as dear as it is
    (group,) = match_all([deit, NANO], "latency_s", store=store, ways=["depth"])
    assert shapes(group.matches[0].spec)[0].depth < 12


def test_a_size_that_cannot_be_measured_ends_the_search_for_it_and_is_named(store, machine):
    machine(broken="depth")
    depth, width = group_of(store, ways=["depth", "width"]).matches
    assert depth.spec.key == PICO.key
    assert (depth.reached, depth.tried) == (False, 1)
    assert depth.why.endswith("could not be measured: the process ended")
    assert width.reached


def test_a_target_or_baseline_that_cannot_be_measured_is_named(store, machine):
    machine(broken="pico")
    with pytest.raises(UserError, match=r"latency_s on torch_eager of vit_pico\S+ beside vit_nano\S+ cannot be"):
        group_of(store)
    machine(busy=99)
    with Store("sqlite://") as other, pytest.raises(UserError, match="others kept the machine busy in 3 of 3"):
        group_of(other)


def test_the_rows_of_a_group_have_its_time_and_what_is_measured_besides(store, machine):
    machine()
    group = group_of(store, ways=["width"], also=["images_per_s", "latency_s"])
    found = {(row.indicator, row.conditions.spec) for row in group.rows if row.conditions.device}
    assert found == {(name, spec.key) for name in ("latency_s", "images_per_s") for spec in group.specs}
    assert {"macs", "params", "peak_bytes_train"} <= {row.indicator for row in group.rows}


def test_what_is_counted_needs_no_machine(store, machine):
    watch = machine()
    group = group_of(store, "peak_bytes", ways=["width"])
    assert group.indicator == "peak_bytes_infer"
    assert group.matches[0].interval is None
    assert watch.measured == []
    assert [measures("peak_bytes"), measures("macs"), measures(None)] == [False] * 3
    assert [measures("latency_s"), measures("macs", ["latency_s"])] == [True] * 2


def test_lines_fit_100_columns(store, machine):
    machine()
    assert max(map(len, "\n".join(group_of(store).lines()).splitlines())) <= 100


@pytest.mark.parametrize(
    ("names", "indicator", "ways", "said"),
    [
        (["vit_pico_patch2_8"], "macs", None, "name the model that is to be resized"),
        (["vit_pico_patch2_8", "fnet_pico_patch2_8"], "mcs", None, "did you mean macs"),
        (["vit_pico_patch2_8", "fnet_pico_patch2_8"], "cold_start_s", None, "cannot be matched"),
        (["vit_pico_patch2_8", "fnet_pico_patch2_8"], "macs", ["withd"], "did you mean width"),
        (["vit_pico_patch2_8", "fnet_pico_patch2_8"], "latency_p90_s", None, "cannot be matched"),
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


def test_measuring_besides_wants_a_match_and_a_known_indicator():
    with pytest.raises(UserError, match="goes with --match"):
        match_all([PICO, NANO], None, also=["latency_s"])
    with pytest.raises(UserError, match="did you mean latency_s"):
        match_all([PICO, NANO], "macs", also=["latency"])
