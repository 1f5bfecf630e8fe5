"""What every model with a macro-structure of its own promises; what is peculiar to one stands in a file of its own.

Each file of the folder is tried in full with its smallest model, at the smallest image that it takes; its other
models are built without weights, and `slow` tries them in full too.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paretovit.cost.counting import count_module
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, from_json, to_json
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries, family
from paretovit.zoo.folders import MACROS
from paretovit.zoo.taxonomy import FAMILIES

SPECS = {spec.name: spec for file in MACROS.names() for spec, _ in MACROS[file].rows()}


def size(spec: ModelSpec) -> int:
    return sum(stage.depth * stage.dim**2 for stage in spec.stages)


SMALLEST = [min((spec for spec, _ in MACROS[file].rows()), key=size).name for file in MACROS.names()]
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in SPECS if name not in SMALLEST]


def takes(name: str, px: int) -> bool:
    try:
        build(SPECS[name], img_size=px, device="meta")
    except UserError:
        return False
    return True


def small_px(name: str) -> int:
    """The smallest of a few image sizes that a model takes; its own it has to."""
    return next(px for px in (64, 96, 112, 128, 192, SPECS[name].image_px) if takes(name, px) or px >= 224)


def images(name: str, model: nn.Module, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, *model.default_cfg["input_size"], generator=generator)


@pytest.fixture(params=[*SMALLEST, *OTHERS])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build(SPECS[name], img_size=small_px(name), num_classes=10).eval()


@pytest.mark.parametrize("name", SPECS)
def test_stands_in_the_catalog_under_its_name_and_a_family(name: str) -> None:
    entry = entries()[name]
    assert entry.spec == SPECS[name]
    assert entry.family in FAMILIES
    assert family(SPECS[name]) == entry.family
    assert family(from_json(to_json(SPECS[name]))) == entry.family


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_survives_json(name: str) -> None:
    assert from_json(to_json(SPECS[name])) == SPECS[name]
    assert from_json(to_json(SPECS[name])).key == SPECS[name].key


@pytest.mark.parametrize("name", SPECS)
def test_states_the_macs_that_are_counted(name: str) -> None:
    model = build(SPECS[name], device="meta")
    image = torch.empty(1, *model.default_cfg["input_size"], device="meta")
    assert count_module(model, image).macs == model.macs()


def test_takes_images_of_twice_the_size_and_costs_more_there(name: str) -> None:
    spec = SPECS[name]
    model, larger = build(spec, device="meta"), build(spec, img_size=2 * spec.image_px, device="meta")
    image = torch.empty(2, *larger.default_cfg["input_size"], device="meta")
    assert larger(image).shape == (2, spec.num_classes)
    assert larger.macs() > 2 * model.macs()


def test_gives_logits_that_differ_between_images(name: str, model: nn.Module) -> None:
    with torch.no_grad():
        first, second = model(images(name, model))
    assert first.shape == (10,)
    assert (first - second).abs().max() > 1e-6


def test_never_mixes_images(name: str, model: nn.Module) -> None:
    model, image = model.double(), images(name, model).double()
    with torch.no_grad():
        torch.testing.assert_close(model(image)[:1], model(image[:1]), rtol=1e-6, atol=1e-9)


def test_one_step_of_training_reaches_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    model = build(SPECS[name], img_size=small_px(name), num_classes=10, drop_path=0.1).train()
    image = images(name, model, count=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = nn.functional.cross_entropy(model(image), torch.tensor([0, 1, 2, 3]))
    (loss + sum(model.aux.values())).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        # of the last block's patches nobody hears where a class token is read: CvT's last queries learn nothing
        last = f"stages.{len(model.stages) - 1}.{len(model.stages[-1]) - 1}."
        unread = model.prefix > 0 and parameter_name.startswith(last)
        # CCT's bias adds the same to all that a softmax is taken of: its gradient is 0, or what rounding leaves of it
        moot = parameter_name == "readout.weigh.bias"
        assert parameter.grad.any() or unread or moot, parameter_name
    optimizer.step()
    with torch.no_grad():
        assert model.eval()(image).isfinite().all()


def test_mixed_precision_is_finite_in_training_and_inference(name: str, model: nn.Module) -> None:
    image = images(name, model)
    for training in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.set_grad_enabled(training):
            out = model.train(training)(image)
        assert out.isfinite().all()
        if training:
            out.float().square().mean().backward()
            assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_state_dict_carries_all_that_it_does(name: str, model: nn.Module) -> None:
    torch.manual_seed(99)
    other = build(SPECS[name], img_size=small_px(name), num_classes=10).eval()
    other.load_state_dict(model.state_dict())
    image = images(name, model)
    with torch.no_grad():
        assert torch.equal(other(image), model(image))


def test_features_and_head_make_the_logits(name: str, model: nn.Module) -> None:
    image = images(name, model)
    with torch.no_grad():
        features = model.forward_features(image)
        torch.testing.assert_close(model.forward_head(features), model(image), rtol=1e-4, atol=1e-5)
        assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
        model.reset_classifier(7)
        assert model.forward_head(features).shape == (2, 7)
    first_conv = model.get_submodule(model.default_cfg["first_conv"])
    assert first_conv.weight.shape[1] == model.default_cfg["input_size"][0]


def test_images_may_have_other_channels_and_features_no_head(name: str) -> None:
    px = small_px(name)
    model = build(SPECS[name], img_size=px, in_chans=1, num_classes=0, device="meta")
    image = torch.empty(2, *model.default_cfg["input_size"], device="meta")
    assert model.default_cfg["input_size"][0] == 1
    assert model(image).shape == (2, model.num_features)


def test_drawing_again_with_the_seed_gives_the_same_weights(name: str, model: nn.Module) -> None:
    torch.manual_seed(0)
    again = build(SPECS[name], img_size=small_px(name), num_classes=10)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
