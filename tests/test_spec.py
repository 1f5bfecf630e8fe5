from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage, from_json, pixels, to_json

SPEC = ModelSpec(name="tiny", stages=(Stage(depth=2, dim=32, heads=2),))

# a busy machine is the normal case
unhurried = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

words = st.text("abcdefghij_", min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
parts = st.builds(lambda name, options: Part.of(name, **options), words, st.dictionaries(words, values, max_size=3))
sizes = st.integers(1, 4096)
stages = st.builds(Stage, depth=sizes, dim=sizes, heads=sizes, sequence=parts, mixer=parts, mlp=parts, between=parts)
specs = st.builds(
    ModelSpec,
    name=words,
    stages=st.lists(stages, min_size=1, max_size=3).map(tuple),
    stem=parts,
    position=parts,
    readout=parts,
    layer_scale=st.none() | st.floats(0, 1),
    image_px=sizes | st.tuples(sizes, sizes),
    patch_px=sizes,
    in_chans=sizes,
    num_classes=st.integers(0, 1000),
    transforms=st.lists(parts, max_size=2).map(tuple),
    whole=st.none() | parts,
)


@unhurried
@given(specs)
def test_a_spec_survives_json(spec: ModelSpec) -> None:
    again = from_json(json.loads(json.dumps(to_json(spec))))
    assert again == spec
    assert again.key == spec.key


@unhurried
@given(specs, words)
def test_the_key_does_not_depend_on_the_name(spec: ModelSpec, name: str) -> None:
    assert replace(spec, name=name).key == spec.key


# results that are stored name models by these keys
KEYS = {
    "vit_tiny_patch16_224": "c2c007ec45b6381c",
    "performer_small_patch16_224": "4d3bb2b838eb034f",
    "vix_hybrid_vip_rope_patch1_32": "cce81ee4216b953a",
    "cvt_13": "9ecae6d9fa2bf0cc",
    "wave_vit_small": "9116ebb03f3e9467",
    "resnet50": "2ca446c0f8ed12d8",
}


@pytest.mark.parametrize("name", KEYS)
def test_the_keys_of_models_that_rows_were_stored_under_stay(name: str) -> None:
    from paretovit.zoo.catalog import resolve

    assert resolve(name).key == KEYS[name]


def test_images_may_have_rows_and_columns_and_equal_ones_are_a_side() -> None:
    wide = replace(SPEC, image_px=(32, 48))
    assert wide.input_shape == (3, 32, 48)
    assert to_json(wide)["image_px"] == [32, 48]
    assert from_json(to_json(wide)) == wide
    assert wide.size == "32 x 48 px"
    assert replace(SPEC, image_px=(32, 32)) == replace(SPEC, image_px=32)
    assert replace(SPEC, image_px=(32, 32)).size == "32 px"
    assert len({spec.key for spec in (wide, replace(SPEC, image_px=(48, 32)), replace(SPEC, image_px=32))}) == 3


def test_what_works_on_square_images_alone_says_so() -> None:
    assert replace(SPEC, image_px=32).square_px == 32
    with pytest.raises(UserError, match="tiny is for images of 32 x 48 px; this takes square ones"):
        _ = replace(SPEC, image_px=(32, 48)).square_px


@pytest.mark.parametrize("size", [0, (0, 8), (8, -1), (8, 8, 8)])
def test_images_of_no_pixels_are_refused(size: Any) -> None:
    with pytest.raises(UserError, match=r"image_px (must be at least 1|is a side, or)"):
        replace(SPEC, image_px=size)


@pytest.mark.parametrize(("text", "size"), [("224", 224), ("224x320", (224, 320)), ("8X9", (8, 9))])
def test_an_image_size_is_read_from_text(text: str, size: Any) -> None:
    assert pixels(text) == size


@pytest.mark.parametrize("text", ["", "x", "224x", "-3", "2x3x4", "1e3", "224 x 320"])
def test_text_that_is_no_image_size_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(UserError, match="write pixels as 224, or rows x columns as 224x320"):
        pixels(text)


OTHER: dict[str, Any] = {
    "stages": (Stage(depth=2, dim=32, heads=4),),
    "stem": Part("conv"),
    "position": Part("absent"),
    "readout": Part("mean"),
    "layer_scale": 0.1,
    "norm": Part("channel_norm"),
    "final_norm": Part("absent"),
    "mlp_residual": "normed",
    "init": "torch",
    "image_px": 225,
    "patch_px": 15,
    "in_chans": 1,
    "num_classes": 0,
    "transforms": (Part("sparse"),),
    "whole": Part.of("timm", architecture="resnet18"),
}


@pytest.mark.parametrize("field", [field.name for field in fields(ModelSpec) if field.name != "name"])
def test_every_other_field_changes_the_key(field: str) -> None:
    assert replace(SPEC, **{field: OTHER[field]}).key != SPEC.key


@pytest.mark.parametrize("field", [field.name for field in fields(Stage)])
def test_every_field_of_a_stage_changes_the_key(field: str) -> None:
    value = {"depth": 3, "dim": 3, "heads": 3, "width": 3, "class_tokens": "aside"}.get(field, Part("something"))
    assert replace(SPEC, stages=(replace(SPEC.stages[0], **{field: value}),)).key != SPEC.key


def test_a_field_with_its_default_value_is_not_written_so_that_later_fields_change_no_key() -> None:
    assert set(to_json(SPEC)) == {"name", "stages"}
    assert from_json(to_json(SPEC) | {"stem": {"part": "patch"}, "image_px": 224}).key == SPEC.key


def test_the_order_in_which_options_are_given_does_not_matter() -> None:
    assert Part.of("evit", keep=0.5, fuse=True) == Part.of("evit", fuse=True, keep=0.5)
    assert hash(Part.of("evit", keep=0.5, fuse=True)) == hash(Part.of("evit", fuse=True, keep=0.5))
    by_hand = replace(SPEC, stem=Part("patch", (("overlap", 2), ("bias", True))))
    assert by_hand.key == replace(SPEC, stem=Part.of("patch", bias=True, overlap=2)).key


def test_the_key_is_the_same_in_another_process() -> None:
    code = (
        "from paretovit.spec import *;"
        "print(ModelSpec(name='x', stages=(Stage(depth=2, dim=32, heads=2, mixer=Part.of('a', z=1, b=(2, 3.5))),)).key)"
    )
    stage = replace(SPEC.stages[0], mixer=Part.of("a", z=1, b=(2, 3.5)))
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert printed.stdout.strip() == replace(SPEC, stages=(stage,)).key


def test_a_part_is_printed_with_its_options() -> None:
    assert str(Part.of("evit", keep=0.5, fuse=True)) == "evit(fuse=True, keep=0.5)"
    assert str(Part("mlp")) == "mlp"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_px": 0}, "image_px must be at least 1, got 0"),
        ({"in_chans": -1}, "in_chans must be at least 1"),
        ({"mlp_residual": "queries"}, "mlp_residual must be 'tokens', 'normed' or 'block', got 'queries'"),
        ({"patch_px": 0}, "patch_px must be at least 1"),
        ({"num_classes": -1}, "0 .features only. or more"),
        ({"stages": ()}, "at least one stage"),
        ({"stages": (Stage(depth=0, dim=32, heads=2),)}, "depth, dim and heads must be at least 1"),
        ({"stages": (Stage(depth=1, dim=32, heads=-2),)}, "depth, dim and heads must be at least 1"),
        ({"stages": (Stage(depth=1, dim=32, heads=2, width=0),)}, "at least 1, and a width"),
    ],
)
def test_sizes_that_are_no_sizes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"tiny.*{message}"):
        replace(SPEC, **change)


def test_a_whole_model_needs_no_stages() -> None:
    assert ModelSpec(name="resnet18", whole=Part.of("timm", architecture="resnet18")).stages == ()


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        "spec",
        None,
        {**to_json(SPEC), "stages": 3},
        {**to_json(SPEC), "stages": [3]},
        {**to_json(SPEC), "stages": [{"depth": 1}]},
        {**to_json(SPEC), "stem": "patch"},
        {**to_json(SPEC), "stem": {"options": {}}},
        {**to_json(SPEC), "image_px": "large"},
        {**to_json(SPEC), "image_px": -1},
        {**to_json(SPEC), "flavour": "vanilla"},
        {k: v for k, v in to_json(SPEC).items() if k != "name"},
    ],
    ids=str,
)
def test_what_is_no_spec_is_refused_in_one_line(content: Any) -> None:
    with pytest.raises(UserError) as caught:
        from_json(content)
    assert "\n" not in str(caught.value)


def test_only_numbers_words_and_tuples_of_them_can_be_options() -> None:
    with pytest.raises(UserError, match="numbers, words and tuples"):
        to_json(replace(SPEC, stem=Part.of("patch", norm=object)))
