"""Detectors on backbones of ours and timm's, beside the library's own detector with the same weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

from paretovit.cost.counting import count
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage, from_json, to_json
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.catalog import family, resolve, timm_spec
from paretovit.zoo.feature_map import feature_map
from paretovit.zoo.wholes.deformable_detr import DeformableDetr, Detector

SIZES = {"queries": 7, "width": 64, "layers": 2, "heads": 4, "hidden": 96, "points": 3}
PX, PATCH, DIM, CLASSES = 48, 8, 32, 5


def spec(**changes: Any) -> ModelSpec:
    plain = ModelSpec(
        name="detector",
        stages=(Stage(depth=2, dim=DIM, heads=2),),
        image_px=PX,
        patch_px=PATCH,
        num_classes=CLASSES,
        whole=Part.of("deformable_detr", **SIZES),
    )
    return replace(plain, **changes)


def timm_detector(architecture: str) -> ModelSpec:
    plain = timm_spec(architecture, image_px=PX, num_classes=CLASSES)
    return replace(plain, whole=Part.of("deformable_detr", architecture=architecture, **SIZES))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, PX, PX, generator=torch.Generator().manual_seed(1))


def shaken(module: nn.Module) -> nn.Module:
    """With no weight left at 0: those would hide what is wired wrongly."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return module


@pytest.mark.parametrize("levels", [1, 3])
def test_answers_are_those_of_the_library_with_the_same_weights(levels: int):
    ours = shaken(build(spec(whole=Part.of("deformable_detr", **SIZES, levels=levels)))).eval()
    assert isinstance(ours, Detector)
    stand_in = ResNetConfig(embedding_size=1, hidden_sizes=[DIM], depths=[1], out_features=["stage1"])
    config = DeformableDetrConfig(
        backbone_config=stand_in,
        num_labels=CLASSES,
        num_queries=7,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=96,
        decoder_ffn_dim=96,
        encoder_n_points=3,
        decoder_n_points=3,
        num_feature_levels=levels,
    )
    theirs = DeformableDetrForObjectDetection(config).eval()
    theirs.model.backbone = ours.detr.backbone
    theirs.model.load_state_dict(ours.detr.state_dict())
    for classes, boxes in zip(theirs.class_embed, theirs.bbox_embed, strict=True):
        classes.load_state_dict(ours.classes.state_dict())
        for layer, own in zip(boxes.layers, ours.boxes[::2], strict=True):
            layer.load_state_dict(own.state_dict())
    with torch.no_grad():
        wanted, found = theirs(images()), ours(images())
    torch.testing.assert_close(found[..., :CLASSES], wanted.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[..., CLASSES:], wanted.pred_boxes, rtol=1e-4, atol=1e-5)


def test_while_training_every_decoder_layer_answers_and_the_last_one_as_ever():
    module = shaken(build(spec(whole=Part.of("deformable_detr", **SIZES, dropout=0.0))))
    with torch.no_grad():
        training, judged = module.train()(images()), module.eval()(images())
    assert training.shape == (2, 2, 7, CLASSES + 4)
    torch.testing.assert_close(training[-1], judged)


def test_it_begins_by_finding_nothing_in_boxes_of_an_eighth():
    found = build(spec()).eval()(images()).detach()
    assert 0.005 < found[..., :CLASSES].sigmoid().mean() < 0.03
    torch.testing.assert_close(found[..., -2:], torch.full((2, 7, 2), -2.0).sigmoid())
    assert found[..., CLASSES : CLASSES + 2].std() > 0.05  # queries look at different places


def test_every_parameter_learns():
    module = shaken(build(spec())).train()
    module(images()).square().sum().backward()
    still = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert still == []


@pytest.mark.parametrize("changes", [{}, {"position": Part("rotary"), "readout": Part("mean")}])
def test_the_map_of_ours_is_what_comes_to_the_final_norm(changes: dict[str, Part]):
    model = build(spec(whole=None, **changes)).eval()
    assert isinstance(model, Backbone)
    norm, prefix, normed = model.norm, model.prefix, model.readout.norm_first
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(torch.rand(DIM))
        wanted = model.forward_features(images())[:, prefix:]
        found = feature_map(model, "model")(images())
        tokens = found.permute(0, 2, 3, 1).flatten(1, 2)
    side = PX // PATCH
    assert found.shape == (2, DIM, side, side)
    torch.testing.assert_close(norm(tokens) if normed else tokens, wanted)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_the_map_of_timms_is_what_comes_to_the_final_norm(name: str):
    model = timm.create_model(name, img_size=PX).eval()
    seen: list[Tensor] = []
    model.norm.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        model(images())
        found = feature_map(model, name)(images())
    patches = seen[0][:, model.num_prefix_tokens :]
    torch.testing.assert_close(found, patches.mT.reshape(2, 192, 3, 3))


def test_hierarchies_of_timm_are_backbones_too():
    found = build(timm_detector("pvt_v2_b0")).eval()(images())
    assert found.shape == (2, 7, CLASSES + 4)


@pytest.mark.parametrize("sequence", [Part.of("tome", r=4), Part("evit"), Part("dynamic_vit")], ids=lambda p: p.name)
def test_a_backbone_that_drops_patches_is_refused(sequence: Part):
    stage = Stage(depth=6, dim=DIM, heads=2, sequence=sequence)
    with pytest.raises(UserError, match=r"no map of features.*keeps all of them"):
        build(spec(stages=(stage,)))


@pytest.mark.parametrize(
    ("sizes", "says"),
    [({"width": 48}, "multiple of 32"), ({"width": 96, "heads": 4}, "power of 2"), ({"queries": 0}, "at least 1")],
)
def test_sizes_that_do_not_go_together_are_refused(sizes: dict[str, int], says: str):
    with pytest.raises(UserError, match=says):
        DeformableDetr(**(SIZES | sizes))


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"^detectors need .* pip install 'paretovit\[detection\]'$"):
        build(spec())


def test_a_detector_is_read_back_from_json_and_keeps_its_family():
    ours, theirs = spec(), timm_detector("xcit_nano_12_p8_224")
    for one in (ours, theirs):
        again = from_json(to_json(one))
        assert (again, again.key) == (one, one.key)
    assert family(spec(stages=(Stage(depth=2, dim=DIM, heads=2, mixer=Part("performer")),))) == "kernel attention"
    assert family(theirs) == family(resolve("xcit_nano_12_p8_224"))


@pytest.mark.parametrize("levels", [1, 2])
def test_multiply_accumulates_are_those_of_the_closed_form(levels: int):
    one = spec(whole=Part.of("deformable_detr", **SIZES, levels=levels))
    counted = count(lambda: build(one), (1, *one.input_shape)).macs
    side = PX // PATCH
    n, m = side**2, side**2 + 1
    maps = [side**2, ((side + 1) // 2) ** 2][:levels]
    d, q, hidden, layers = SIZES["width"], SIZES["queries"], SIZES["hidden"], SIZES["layers"]
    tokens, looks = sum(maps), SIZES["heads"] * levels * SIZES["points"]
    backbone = n * 3 * PATCH**2 * DIM + 2 * (12 * m * DIM**2 + 2 * m**2 * DIM)
    project = maps[0] * DIM * d + (maps[1] * 9 * DIM * d if levels > 1 else 0)

    def deformable(queries: int) -> int:
        """Values of all tokens; of each query two offsets and a weight for each look; the output."""
        return tokens * d * d + queries * d * 3 * looks + queries * d * d

    encoder = layers * (deformable(tokens) + 2 * tokens * d * hidden)
    decoder = layers * (4 * q * d * d + 2 * q * q * d + deformable(q) + 2 * q * d * hidden)
    answers = q * d * CLASSES + q * (2 * d * d + 4 * d)
    reference = q * d * 2
    assert counted == backbone + project + encoder + decoder + answers + reference


def test_counts_do_not_depend_on_what_was_counted_before():
    first = count(lambda: build(spec()), (1, *spec().input_shape))
    assert count(lambda: build(spec()), (1, *spec().input_shape)) == first
