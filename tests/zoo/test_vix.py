"""What `reproduce` does not see: names, and sizes that the paper does not have. Counts are in tests/papers."""

from __future__ import annotations

import pytest
import torch

from paretovit.spec import Part
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries, resolve
from paretovit.zoo.vix import names, vix_spec


def test_the_catalog_has_the_62_models_of_the_paper() -> None:
    assert len(names()) == len(set(names())) == 62
    assert set(names()) <= set(entries())


@pytest.mark.parametrize(
    "name",
    [
        "vix_hybrid_levit_patch1_32",  # its stem is a convolution already
        "vix_cct_rope_patch1_32",
        "vix_hybrid_mixer_rope_patch1_32",
        "vix_pil_patch1_32",
        "vix_vit_patch0_32",
        "vix_vit_patch1",
    ],
)
def test_names_that_the_paper_has_no_model_for_are_no_models(name: str) -> None:
    assert vix_spec(name) is None


def test_classes_follow_the_data_set() -> None:
    assert resolve("vix_vit_patch1_32").num_classes == 10
    assert resolve("vix_vit_patch2_64").num_classes == 200
    assert resolve("vix_vit_patch2_64", num_classes=5).num_classes == 5


@pytest.mark.parametrize(("patch", "image", "few"), [(1, 32, 64), (1, 64, 64), (4, 32, 16), (16, 32, 1)])
def test_landmarks_are_a_quarter_of_the_patches_where_those_are_few(patch: int, image: int, few: int) -> None:
    for kind, option in (("vin", "landmarks"), ("vil", "length")):
        mixer = resolve(f"vix_{kind}_patch{patch}_{image}").stages[0].mixer
        assert dict(mixer.options)[option] == few


def test_rotary_keys_are_as_many_as_queries() -> None:
    assert dict(resolve("vix_vil_patch1_32").stages[0].mixer.options)["key_heads"] == 1
    rope = resolve("vix_vil_rope_patch1_32")
    assert "key_heads" not in dict(rope.stages[0].mixer.options)
    assert rope.position == Part("rotary")


@pytest.mark.parametrize("name", [n for n in names() if n.endswith("patch1_32")])
def test_every_model_learns_at_a_coarser_patch(name: str) -> None:
    torch.manual_seed(0)
    model = build(name.replace("patch1", "patch4"))
    logits = model(torch.randn(3, 3, 32, 32))
    assert logits.shape == (3, 10)
    logits.square().sum().backward()
    unused = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not unused
