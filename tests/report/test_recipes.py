"""Short names of recipes: what differs is said, and no two become one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report import page
from paretovit.report.headings import sheet_of
from paretovit.report.recipes import _read, left_out, short_names
from paretovit.store import Store, arrange
from paretovit.training.pruning import Pruning, told
from paretovit.training.recipe import DEMO

SHORTER = replace(DEMO, epochs=5, lr=1e-3, held_out=0.1)
PARENT = f"{replace(SHORTER, epochs=10).label} at 32 px (8d1378ce)"  # as `begin_from` names it
VIT = f"vit ({SHORTER.label}, from {PARENT}, 4ee86bea)"


def replaced(layers: str, mixer: str) -> str:
    """A label as `told_of` makes it."""
    return f"{SHORTER.label}, from {VIT} with layers {layers} by {mixer}, alpha 0.35 of mse"


def test_a_recipe_alone_is_its_name():
    assert short_names([SHORTER.label]) == {SHORTER.label: "demo"}
    assert left_out([SHORTER.label]) == ["demo: epochs=5, lr=0.001, held_out=0.1"]


def test_fields_that_differ_are_named_and_the_others_are_not():
    one, other = (replace(SHORTER, epochs=5).label, replace(SHORTER, epochs=5, dropout=0.1).label)
    assert short_names([one, other, DEMO.label]) == {
        one: "demo, epochs=5, lr=0.001, held_out=0.1",
        other: "demo, epochs=5, lr=0.001, dropout=0.1, held_out=0.1",
        DEMO.label: "demo",
    }
    assert short_names([one, other]) == {one: "demo", other: "demo, dropout=0.1"}
    assert left_out([one, other]) == ["demo: epochs=5, lr=0.001, held_out=0.1"]


def test_recipes_of_other_names_need_no_fields():
    assert short_names([SHORTER.label, "vix, epochs=4"]) == {SHORTER.label: "demo", "vix, epochs=4": "vix"}


def test_what_all_began_from_is_left_out_and_what_some_began_from_is_named():
    assert short_names([f"{SHORTER.label}, from {PARENT}"]) == {f"{SHORTER.label}, from {PARENT}": "demo"}
    begun = [SHORTER.label, f"{SHORTER.label}, from {PARENT}", f"{SHORTER.label}, from {PARENT[:-9]}aaaaaaaa)"]
    assert list(short_names(begun).values()) == [
        "demo",
        "demo, from demo at 32 px (8d1378ce)",
        "demo, from demo at 32 px (aaaaaaaa)",
    ]


def test_replaced_layers_are_named_by_layer_and_mixer():
    labels = [replaced("0-1", "focal"), replaced("3-4", "focal"), replaced("3-4", "pooling")]
    assert list(short_names(labels).values()) == [
        "demo, from vit with layers 0-1 by focal",
        "demo, from vit with layers 3-4 by focal",
        "demo, from vit with layers 3-4 by pooling",
    ]


def test_pruned_weights_are_named_by_their_pruning_whether_trained_or_not():
    parent = "vit (parent of 10 epochs)"
    pruned = [told(parent, Pruning(pattern=pattern)) for pattern in ("2:4", "1:4")]
    trained = [f"{SHORTER.label}, from {words}" for words in pruned]
    assert list(short_names([*pruned, *trained]).values()) == [
        "vit pruned to 2:4 by magnitude",
        "vit pruned to 1:4 by magnitude",
        "demo, from vit pruned to 2:4 by magnitude",
        "demo, from vit pruned to 1:4 by magnitude",
    ]


def test_models_of_one_name_with_other_weights_are_told_apart_wherever_they_stand():
    pruned = [told(f"vit ({how})", Pruning(pattern="2:4")) for how in ("parent, epochs=1", "parent, epochs=2")]
    labels = [pruned[0], f"demo, from {pruned[1]}"]
    assert list(short_names(labels).values()) == [
        "vit (parent, epochs=1) pruned to 2:4 by magnitude",
        "demo, from vit (parent, epochs=2) pruned to 2:4 by magnitude",
    ]


def test_labels_that_differ_in_order_alone_stay_whole():
    labels = ["demo, a=1, b=2", "demo, b=2, a=1"]
    assert short_names(labels) == {label: label for label in labels}


WORDS = st.sampled_from(["demo", "vix", "epochs=1", "epochs=2", "lr=0.1", "step by step", "vit (demo, epochs=1)",
                         "vit (demo, epochs=2) pruned to 2:4", "demo, lr=0.1 at 32 px (8d1378ce)"])  # fmt: skip
LABELS = st.builds(
    lambda own, sources: ", from ".join(", ".join(clauses) for clauses in [own, *sources]),
    st.lists(WORDS, min_size=1, max_size=4),
    st.lists(st.lists(WORDS, min_size=1, max_size=3), max_size=2),
)


@given(st.lists(LABELS | st.text("de, from()=1", max_size=12), max_size=8))
def test_no_two_become_one_and_nothing_is_lost_in_reading(labels):
    names = short_names(labels)
    assert set(names) == set(labels)
    assert len(set(names.values())) == len(names)
    assert [_read(label).words for label in labels] == labels


def row(model: str, indicator: str, recipe: str, value: float) -> Measurement:
    return Measurement(
        model=model,
        indicator=indicator,
        unit="1" if indicator == "top1" else "nat",
        value=value,
        conditions=Conditions(spec=model, data="digits", split="val", recipe=recipe),
        origin=Origin(how="trained"),
    )


@pytest.fixture
def rows() -> list[Measurement]:
    labels = [replaced(layers, mixer) for layers in ("0-1", "3-4") for mixer in ("focal", "pooling")]
    return [
        row(f"m{at}", indicator, label, 0.1 + at / 10)
        for indicator in ("top1", "train_loss")
        for at, label in enumerate(labels)
    ]


def test_a_page_names_a_recipe_in_the_same_way_everywhere(rows):
    sheet = sheet_of(arrange([*rows, row("m9", "train_loss", DEMO.label, 1.0)]))
    titles = {h.column.conditions.recipe: h.title.partition(", ")[2] for h in sheet.headings}
    for heading in sheet.headings:
        assert heading.title.endswith(titles[heading.column.conditions.recipe])
    assert len({h.title for h in sheet.headings}) == len(sheet.headings)


def test_the_page_shows_short_names_and_keeps_the_whole_in_tooltips_and_in_its_list(rows, tmp_path):
    with Store(tmp_path / "rows.sqlite") as store:
        store.append([*rows, *(replace(row(f"m{at}", "params", "", at), conditions=Conditions(spec=f"m{at}"))
                               for at in range(4))])  # fmt: skip
        text = page.write(store, tmp_path / "out", pictures="none")[0].read_text(encoding="utf-8")
    heads = text.partition('<table id="rows"><thead>')[2].partition("</thead>")[0]
    assert "<button>top-1 accuracy, recipe demo, from vit with layers 0-1 by focal<" in heads
    assert f"recipe {rows[0].conditions.recipe}" in heads  # the tooltip
    assert "all of demo: epochs=5, lr=0.001, held_out=0.1" in text


def test_seeds_with_parents_of_their_own_have_one_name(rows):
    """Their labels differ in the hash of the weights that they begin from, and their columns are one."""
    labels = [f"{SHORTER.label}, from {PARENT[:-9]}{seed}aaaaaaa)" for seed in (0, 1)]
    made = [row("m0", "top1", label, 0.5 + seed / 10) for seed, label in enumerate(labels)]
    seeded = [replace(one, conditions=replace(one.conditions, seed=seed)) for seed, one in enumerate(made)]
    sheet = sheet_of(arrange([*seeded, row("m0", "top1", DEMO.label, 0.6)]))
    (pooled,) = [h.title for h in sheet.qualities if h.seeds]
    assert pooled == "top-1 accuracy, recipe demo, epochs=5, lr=0.001, held_out=0.1, from demo, mean of 2 seeds"
    assert sheet.recipes[labels[0]] == sheet.recipes[labels[1]] == "demo, epochs=5, lr=0.001, held_out=0.1, from demo"


def test_titles_longer_than_their_figure_are_in_several_lines():
    chart = {
        "title": {"text": "short", "subtitle": ["word " * 40]},
        "layer": [{"encoding": {"y": {"title": "word " * 20 + "end"}, "x": {"title": "word " * 20 + "end"}}}, {}],
    }
    done = page._wrapped(chart)
    encoding = done["layer"][0]["encoding"]
    assert [len(encoding[axis]["title"]) for axis in "yx"] == [2, len("word " * 20 + "end")]  # lines, letters
    assert encoding["y"]["title"][-1].endswith("end")
    assert done["title"]["text"] == "short"
    assert len(done["title"]["subtitle"]) == 2
