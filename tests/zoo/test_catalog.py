from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest
import torch

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries, expand, family, resolve
from paretovit.zoo.folders import MIXERS, MLPS, SEQUENCES
from paretovit.zoo.skeletons import ARCHITECTURES, SIZES
from paretovit.zoo.taxonomy import FAMILIES

PRINTED_MACS = [n for n, entry in entries().items() if entry.spec.whole is None and entry.published.gmacs is not None]
PRINTED_PARAMS = [name for name, entry in entries().items() if entry.published.params_m is not None]


def agrees(ours: float, printed: float) -> bool:
    """Within 1.1% (PiT prints 4.9 for its 4.847 million parameters), or equal to the digits that were printed."""
    last_digit = 10.0 ** int(Decimal(repr(printed)).as_tuple().exponent)
    return abs(ours - printed) <= max(0.011 * printed, last_digit / 2)


@pytest.mark.parametrize("name", PRINTED_MACS)
def test_closed_form_macs_agree_with_the_papers(name: str) -> None:
    printed = entries()[name].published.gmacs
    assert printed is not None
    assert agrees(build(name, device="meta").macs() / 1e9, printed)


@pytest.mark.parametrize("name", PRINTED_PARAMS)
def test_parameters_agree_with_the_papers(name: str) -> None:
    printed = entries()[name].published.params_m
    assert printed is not None
    assert agrees(sum(p.numel() for p in build(name, device="meta").parameters()) / 1e6, printed)


def test_a_published_number_names_its_source() -> None:
    for name, entry in entries().items():
        row = entry.published
        assert bool(row.source) == any(v is not None for v in (row.params_m, row.gmacs, row.top1)), name


def test_rows_name_paper_and_arxiv_number_and_lie_in_the_order_of_the_taxonomy() -> None:
    rows = list(entries().values())
    assert all(row.paper and row.arxiv.count(".") == 1 for row in rows)
    places = [FAMILIES.index(row.family) for row in rows]
    assert places == sorted(places)
    assert set(places) == set(range(len(FAMILIES)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("size", ["pico", "nano"])
def test_every_architecture_works_at_the_size_of_the_embedded_digits(architecture: str, size: str) -> None:
    model = build(f"{architecture}_{size}_patch2_8", in_chans=1, num_classes=10).eval()
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_names_that_are_not_listed_resolve_on_the_skeleton() -> None:
    spec = resolve("performer_tiny_patch4_32")
    assert (spec.image_px, spec.patch_px) == (32, 4)
    assert spec.stages[0].mixer.name == "performer"
    assert "performer_tiny_patch4_32" not in entries()


def test_options_scale_with_the_number_of_patches_also_under_another_image_size() -> None:
    assert dict(resolve("tome_small_patch16_224").stages[0].sequence.options)["r"] == 13
    # 49 patches are a quarter of 196, and so is the number to merge: 13 / 4 = 3.25
    resized = resolve("tome_small_patch16_224", img_size=112)
    assert dict(resized.stages[0].sequence.options)["r"] == 3
    assert resized.key == resolve("tome_small_patch16_112").key


def test_what_is_asked_for_replaces_what_the_name_says() -> None:
    spec = resolve("vit_tiny_patch16_224", img_size=32, in_chans=1, num_classes=10)
    assert (spec.name, spec.image_px, spec.in_chans, spec.num_classes) == ("vit_tiny_patch16_224", 32, 1, 10)


def test_timm_names_carry_timms_image_size_and_classes() -> None:
    spec = resolve("vit_base_patch16_clip_384")
    assert (spec.image_px, spec.num_classes, spec.whole) == (384, 1000, Part.of("timm", architecture=spec.name))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("performr_tiny_patch16_224", "performer_tiny_patch16_224"),
        ("vit_tinny_patch16_224", "vit_tiny_patch16_224"),
        ("resnet5O", "resnet50"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=near) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["", "vit_tiny_patch0_224", "vit_tiny_patch16_0", "no such model at all"])
def test_a_name_that_makes_no_model_is_refused(name: str) -> None:
    with pytest.raises(UserError):
        resolve(name)


def test_wildcards_are_spelt_out_once_each_in_order() -> None:
    sizes = ["performer_tiny_patch16_224", "performer_small_patch16_224", "performer_base_patch16_224"]
    assert expand(["resnet18", "performer_[bst]*", "performer_base*", "resnet18"]) == ["resnet18", *sizes]


def test_a_wildcard_that_matches_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"nothing\*"):
        expand(["nothing*"])


def of(**slots: Part) -> ModelSpec:
    return ModelSpec(name="any", stages=(Stage(depth=1, dim=32, heads=2, **slots),))


def test_the_family_is_read_off_the_slots() -> None:
    assert family(of()) == "baseline"
    for slot, folder in (("mixer", MIXERS), ("sequence", SEQUENCES), ("mlp", MLPS)):
        for name in folder.names():
            assert family(of(**{slot: Part(name)})) == folder[name].family
    assert family(of(mixer=Part("performer"), sequence=Part.of("tome", r=1))) == MIXERS["performer"].family


def test_evit_removes_or_merges_as_its_option_says() -> None:
    assert family(of(sequence=Part.of("evit", fuse=False))) == "token removal"
    assert family(of(sequence=Part.of("evit", keep=0.5, fuse=True))) == "token merging"


def test_the_mixer_of_a_later_stage_counts_too() -> None:
    spec = ModelSpec(name="any", stages=(*of().stages, *of(mixer=Part("fnet")).stages))
    assert family(spec) == MIXERS["fnet"].family


def test_sizes_have_heads_that_divide_their_width() -> None:
    assert all(size.dim % size.heads == 0 for size in SIZES.values())


def test_listing_the_catalog_imports_no_torch() -> None:
    code = "import sys, paretovit, paretovit.zoo.catalog as c; c.entries(); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "paretovit.zoo.catalog" in loaded
    assert not {"torch", "timm", "numpy", "sqlalchemy"} & set(loaded)


@pytest.mark.parametrize("architecture", ["swin_vit", "maxvit_vit"])
@pytest.mark.parametrize(("px", "window"), [(8, 1), (12, 2), (32, 4), (56, 7), (64, 8), (80, 7), (128, 8), (512, 8)])
def test_windows_do_not_grow_with_the_image(architecture: str, px: int, window: int) -> None:
    assert dict(resolve(f"{architecture}_pico_patch4_{px}").stages[0].mixer.options)["window"] == window
