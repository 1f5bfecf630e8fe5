from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paretovit.cost.export import export
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.build import build
from paretovit.zoo.fold import folded, with_norm
from paretovit.zoo.norms import Norm
from paretovit.zoo.norms.absent import Absent
from paretovit.zoo.norms.prepbn import Prepbn

DIM = 6


def tokens(seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(4, 5, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1


def norm(steps: int) -> Prepbn:
    made = Prepbn(DIM, steps=steps).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return made


def layer_normed(x: torch.Tensor, of: Prepbn) -> torch.Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * of.layer_norm.weight + of.layer_norm.bias


def batch_normed(x: torch.Tensor, of: Prepbn) -> torch.Tensor:
    mean, variance = x.mean((0, 1)), x.var((0, 1), correction=0)
    return (x - mean) / (variance + 1e-5).sqrt() * of.batch_norm.weight + of.batch_norm.bias + of.eta * x


def test_hands_over_from_layer_norm_to_batch_norm_in_equal_steps() -> None:
    prepbn, x = norm(steps=4).train(), tokens()
    for left in (3, 2, 1, 0, 0):
        share = left / 4
        expected = share * layer_normed(x, prepbn) + (1 - share) * batch_normed(x, prepbn)
        torch.testing.assert_close(prepbn(x), expected)


def test_at_inference_it_is_one_gain_and_one_shift_per_channel() -> None:
    prepbn = norm(steps=4).train()
    for seed in range(3):
        prepbn(tokens(seed))
    prepbn.eval()
    x = tokens(9)
    shift = prepbn(torch.zeros_like(x))
    torch.testing.assert_close(prepbn(x) - shift, x * (prepbn(torch.ones_like(x)) - shift))


@pytest.mark.parametrize("bias", [True, False])
def test_folds_into_the_linear_map_behind_it(bias: bool) -> None:
    prepbn, linear = norm(steps=2).train(), nn.Linear(DIM, 7, bias=bias).double()
    prepbn(tokens())
    prepbn.eval()
    x = tokens(5)
    torch.testing.assert_close(with_norm(linear, *prepbn.gain_and_shift())(x), linear(prepbn(x)))


def trained(**changes: Any) -> nn.Module:
    """A model in float64 whose norms have kept statistics far from those they start with."""
    torch.manual_seed(0)
    stage = Stage(depth=2, dim=16, heads=2, mixer=Part("simplified_linear_attention"))
    spec = ModelSpec(
        name="any",
        stages=(stage,),
        norm=Part("prepbn"),
        final_norm=Part("prepbn"),
        image_px=16,
        patch_px=4,
        num_classes=5,
    )
    model = build(replace(spec, **({"readout": Part.of("mean", norm_first=True)} | changes))).double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    for _ in range(20):
        model(2 + torch.randn(8, 3, 16, 16, dtype=torch.float64))
    return model.eval()


def norms(model: nn.Module) -> list[str]:
    return [name for name, m in model.named_modules() if isinstance(m, Norm) and not isinstance(m, Absent)]


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, []),
        ({"readout": Part("mean"), "norm": Part("batch_norm"), "final_norm": Part("batch_norm")}, []),
        ({"stages": (Stage(depth=1, dim=16, heads=2),), "readout": Part("class_token")}, []),
        ({"stages": (Stage(depth=1, dim=16, heads=2, mixer=Part("pooling")),)}, ["stages.0.0.norm1"]),
        ({"mlp_residual": "normed"}, ["stages.0.0.norm2", "stages.0.1.norm2"]),
        ({"norm": Part("layer_norm")}, [f"stages.0.{b}.norm{n}" for b in (0, 1) for n in (1, 2)]),
        ({"readout": Part("sequence_pooling")}, ["norm"]),
        ({"num_classes": 0}, ["norm"]),
    ],
    ids=str,
)
def test_a_trained_model_gives_the_same_logits_without_the_norms_that_fold(
    changes: dict[str, Any], left: list[str]
) -> None:
    model = trained(**changes)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = 3 + torch.randn(4, 3, 16, 16, dtype=torch.float64)
    light = folded(model)
    assert norms(light) == left
    torch.testing.assert_close(light(images), model(images), rtol=1e-9, atol=1e-9)
    assert light.macs() == model.macs()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_in_training_and_one_without_such_norms_do_not_fold() -> None:
    plain = build("vit_pico_patch4_8").eval()
    assert folded(plain) is plain
    with pytest.raises(UserError, match=r"call model.eval\(\) first"):
        folded(trained().train())


def test_an_exported_model_is_folded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("slab_deit_tiny", img_size=32, num_classes=3).eval()
    path = export(model, (3, 32, 32), tmp_path / "model.pt2", runtime="torch_eager").path
    nodes = [str(node.target) for node in torch.export.load(path).graph.nodes]
    assert not any("batch_norm" in node for node in nodes)
    assert any(
        "batch_norm" in str(n.target) for n in torch.export.export(model, (torch.zeros(1, 3, 32, 32),)).graph.nodes
    )


def test_the_steps_that_are_left_are_part_of_its_state() -> None:
    prepbn = norm(steps=4).train()
    prepbn(tokens())
    again = norm(steps=4)
    again.load_state_dict(prepbn.state_dict())
    assert again.left.item() == 3


@pytest.mark.parametrize("part", [Part.of("prepbn", steps=5), Part("batch_norm")], ids=str)
def test_a_training_step_leaves_one_trace_in_it_though_blocks_work_norms_out_again(part: Part) -> None:
    stage = Stage(depth=2, dim=8, heads=2)
    spec = ModelSpec(name="any", stages=(stage,), norm=part, image_px=8, patch_px=4, num_classes=3)
    model = build(spec).train()
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    tracked = [m.num_batches_tracked for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    assert [t.item() for t in tracked if t is not None] == [1] * 4
    assert all(m.left.item() == 4 for m in model.modules() if isinstance(m, Prepbn))


def test_refuses_to_hand_over_in_no_time() -> None:
    with pytest.raises(UserError, match="steps must be at least 1"):
        Prepbn(DIM, steps=0)
