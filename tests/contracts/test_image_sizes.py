"""Every architecture at the image sizes that are in use, and at images that are not square."""

from __future__ import annotations

import pytest
import torch

from paretovit.cost.counting import count_module
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Pixels, rows_and_columns
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.folders import MACROS
from paretovit.zoo.skeletons import ARCHITECTURES

SMALLEST = {
    file: min((spec for spec, _ in MACROS[file].rows()), key=lambda s: sum(t.depth * t.dim**2 for t in s.stages))
    for file in MACROS.names()
}
ROWS, COLUMNS = 24, 40  # pixels; 6 x 10 patches, so swapped sides show


def as_counted(spec: ModelSpec, size: Pixels) -> tuple[int, int]:
    """Multiply-accumulates at an image size, in closed form and counted."""
    model = build(spec, img_size=size, device="meta")
    return model.macs(), count_module(model, torch.empty(1, *model.default_cfg["input_size"], device="meta")).macs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("size", ["32", f"{ROWS}x{COLUMNS}", f"{COLUMNS}x{ROWS}"])
def test_takes_images_of_few_pixels_whatever_their_shape(architecture: str, size: str) -> None:
    torch.manual_seed(0)
    model = build(f"{architecture}_pico_patch4_{size}", num_classes=3).eval()
    sides = [int(side) for side in size.split("x")]
    assert model.stem.grid == (sides[0] // 4, sides[-1] // 4)
    images = torch.randn(2, *model.spec.input_shape)
    assert images.shape[2:] == (sides[0], sides[-1])
    with torch.no_grad():
        together, alone = model(images), model(images[1:])
    assert together.shape == (2, 3)
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    "size", ["224", "224x320", *(pytest.param(size, marks=pytest.mark.slow) for size in ("320x224", "384", "256x384"))]
)
def test_states_the_macs_that_are_counted_at_any_size(architecture: str, size: str) -> None:
    stated, counted = as_counted(
        resolve(f"{architecture}_pico_patch16_{size}"), resolve(f"vit_pico_patch16_{size}").image_px
    )
    assert stated == counted


def sizes_of(file: str) -> dict[str, Pixels]:
    """A square, and one of twice as many columns or rows: what divides the side divides its double."""
    side = rows_and_columns(SMALLEST[file].image_px)[0]
    return {"square": side, "wide": (side, 2 * side), "high": (2 * side, side)}


@pytest.mark.parametrize("file", SMALLEST)
def test_macro_structures_take_wide_and_high_images_and_state_their_macs(file: str) -> None:
    macs = {}
    for shape, size in sizes_of(file).items():
        macs[shape], counted = as_counted(SMALLEST[file], size)
        assert macs[shape] == counted, shape
    assert macs["wide"] == macs["high"] > 1.9 * macs["square"]


@pytest.mark.slow
@pytest.mark.parametrize("file", SMALLEST)
def test_macro_structures_do_not_mix_rows_up_with_columns(file: str) -> None:
    spec = SMALLEST[file]
    for size in (sizes_of(file)["wide"], sizes_of(file)["high"]):
        torch.manual_seed(0)
        model = build(spec, img_size=size, num_classes=3).eval()
        with torch.no_grad():
            assert model(torch.randn(1, *model.spec.input_shape)).isfinite().all()


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "timm/vit_tiny_patch16_224", "resnet18", "swin_vit_tiny_patch16_224"]
)
def test_a_model_is_built_for_rows_and_columns(name: str) -> None:
    model = build(name, img_size=(64, 96), num_classes=2).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 2)


def test_a_size_that_a_timm_model_cannot_cut_is_one_line() -> None:
    with pytest.raises(
        UserError, match="halonet26t does not take images of 256 x 320 px; its own are 256 x 256"
    ) as caught:
        build("halonet26t", img_size=(256, 320), device="meta")
    assert "\n" not in str(caught.value)
    assert build("halonet26t", img_size=(256, 512), device="meta")


def test_one_side_that_is_not_cut_into_patches_is_named() -> None:
    with pytest.raises(UserError, match=r"image size 321 .* use 320 or 336 px"):
        build("vit_tiny_patch16_224", img_size=(224, 321), device="meta")
