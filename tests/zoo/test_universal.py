"""Stages whose blocks share their parameters."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from paretovit.cost.counting import count
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage, from_json, to_json
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.catalog import family, resolve
from paretovit.zoo.tokens import Tokens

SHARED = Stage(depth=3, dim=16, heads=2, share=True)
SPEC = ModelSpec(name="tiny", stages=(SHARED,), position=Part("absent"), image_px=24, patch_px=8, num_classes=5)
IMAGES = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def shared(**changes: object) -> ModelSpec:
    return replace(SPEC, stages=(replace(SHARED, **changes),))


def elements(spec: ModelSpec) -> int:
    return sum(p.numel() for p in Backbone(spec).parameters())


def test_one_block_is_applied_again_and_again_after_telling_place_and_step() -> None:
    torch.manual_seed(0)
    model = Backbone(SPEC).eval()
    assert model.class_token is not None
    h = torch.cat((model.class_token.expand(2, -1, -1), model.stem(IMAGES)), dim=1).detach()
    (block,) = model.stages[0].children()
    for step in (1, 2, 3):
        for token in range(10):
            row, column = divmod(token - 1, 3)
            for j in range(8):  # Vaswani et al. 2017 for the step: pairs of sine and cosine, half the width in number
                angle = step / 10_000 ** (2 * j / 16)
                h[:, token, 2 * j] += math.sin(angle)
                h[:, token, 2 * j + 1] += math.cos(angle)
            if token:
                for j in range(4):  # a quarter of the width each for sine and cosine of the column, then of the row
                    for place, start in ((column, 0), (row, 8)):
                        h[:, token, start + j] += math.sin(place / 10_000 ** (j / 4))
                        h[:, token, start + 4 + j] += math.cos(place / 10_000 ** (j / 4))
        h = block(Tokens(h, grid=(3, 3), prefix=1)).x
    torch.testing.assert_close(model(IMAGES), model.head(model.norm(h[:, 0])))


def test_parameters_count_once_and_operators_as_often_as_they_run() -> None:
    once, often = shared(depth=1), shared(depth=12)
    assert elements(often) == elements(once)
    one_block = replace(SPEC, stages=(replace(SHARED, depth=1, share=False),))
    assert elements(once) == elements(one_block)
    macs = Backbone(often).macs()
    assert macs == count(lambda: Backbone(often), (1, 3, 24, 24)).macs
    assert macs == Backbone(replace(SPEC, stages=(replace(SHARED, depth=12, share=False),))).macs()


def test_the_state_holds_the_block_once_and_no_table() -> None:
    model = Backbone(SPEC)
    names = {name for name in model.state_dict() if name.startswith("stages.")}
    assert names == {f"stages.0.0.{name}" for name in model.stages[0][0].state_dict()}
    copy = Backbone(SPEC)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.eval()(IMAGES), model.eval()(IMAGES))


def test_gradients_of_all_steps_come_together_also_under_checkpointing() -> None:
    torch.manual_seed(0)
    model = Backbone(SPEC)
    model(IMAGES).square().sum().backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert plain.keys() == dict(model.named_parameters()).keys()
    model.zero_grad()
    model.set_grad_checkpointing()
    model(IMAGES).square().sum().backward()
    torch.testing.assert_close({name: p.grad for name, p in model.named_parameters()}, plain)


def test_the_shared_block_drops_its_branches_at_the_mean_rate_of_the_depth() -> None:
    model = Backbone(SPEC, drop_path=0.4)
    assert model.stages[0][0].drop_path.drop_prob == pytest.approx(0.2)
    assert isinstance(Backbone(SPEC).stages[0][0].drop_path, nn.Identity)


def test_stages_share_within_themselves() -> None:
    two = replace(SPEC, stages=(SHARED, replace(SHARED, share=False), SHARED))
    block = elements(shared(depth=2)) - elements(replace(SPEC, stages=(replace(SHARED, depth=1),)))
    assert block == 0
    assert elements(two) - elements(SPEC) == 4 * sum(p.numel() for p in Backbone(SPEC).stages[0].parameters())


def test_sharing_is_part_of_the_spec_and_changes_no_other_key() -> None:
    assert from_json(to_json(SPEC)) == SPEC
    assert "share" not in to_json(replace(SHARED, share=False))
    assert SPEC.key != shared(share=False).key


def test_its_family_is_that_of_specialized_parameters() -> None:
    assert family(SPEC) == "specialized parameters"
    assert family(shared(mixer=Part("hydra"))) == "kernel attention"
    assert resolve("universal_tiny_patch16_224").stages[0].share


@pytest.mark.parametrize(
    "changes", [{"sequence": Part("evit")}, {"mixer": Part("shifted_window")}], ids=["removal", "alternating"]
)
def test_refuses_parts_that_are_not_the_same_every_time(changes: dict[str, Part]) -> None:
    with pytest.raises(UserError, match="the same every time") as caught:
        Backbone(replace(shared(**changes), readout=Part("mean")))
    assert "\n" not in str(caught.value)
