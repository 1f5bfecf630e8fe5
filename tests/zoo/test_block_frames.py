"""Blocks that differ from the pre-norm block of two residuals: one residual, no MLP, LayerScale of the stage's own."""

from __future__ import annotations

import pytest
import torch

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage, from_json, to_json
from paretovit.zoo.backbone import Block
from paretovit.zoo.build import build
from paretovit.zoo.catalog import family
from paretovit.zoo.tokens import Tokens


def spec(stage: Stage | None = None, **frame: object) -> ModelSpec:
    stage = stage or Stage(depth=1, dim=8, heads=2)
    return ModelSpec(name="any", stages=(stage,), readout=Part("mean"), image_px=8, patch_px=4, **frame)  # type: ignore[arg-type]


def block_of(made: ModelSpec) -> Block:
    torch.manual_seed(0)
    block = build(made).double().eval().stages[0][0]  # type: ignore[index]
    assert isinstance(block, Block)
    return block


X = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TOKENS = Tokens(X, grid=(2, 2))


def test_one_residual_goes_around_mixer_and_mlp() -> None:
    block = block_of(spec(mlp_residual="block"))
    assert block.mlp is not None
    mixed = block.mixer(TOKENS.with_x(block.norm1(X)))
    torch.testing.assert_close(block(TOKENS).x, X + block.mlp(TOKENS.with_x(block.norm2(mixed))))


def test_with_one_residual_there_is_one_scale() -> None:
    block = block_of(spec(mlp_residual="block", layer_scale=0.5))
    assert block.mlp is not None
    mixed = block.mixer(TOKENS.with_x(block.norm1(X)))
    torch.testing.assert_close(block(TOKENS).x, X + 0.5 * block.mlp(TOKENS.with_x(block.norm2(mixed))))
    assert sum("scale" in name for name, _ in block.named_parameters()) == 1


@pytest.mark.parametrize("residual", ["tokens", "block"])
def test_without_an_mlp_a_block_is_mixer_and_residual(residual: str) -> None:
    made = spec(Stage(depth=1, dim=8, heads=2, mlp=None), mlp_residual=residual)
    block = block_of(made)
    torch.testing.assert_close(block(TOKENS).x, X + block.mixer(TOKENS.with_x(block.norm1(X))))
    assert not any("norm2" in name or "mlp" in name for name, _ in block.named_parameters())
    assert block.macs() == block.mixer.macs()


def test_a_spec_without_an_mlp_survives_json_and_has_a_family() -> None:
    made = spec(Stage(depth=1, dim=8, heads=2, mlp=None))
    assert from_json(to_json(made)) == made
    assert made.key != spec().key
    assert family(made) == "baseline"


def test_a_stage_may_scale_its_blocks_as_the_others_do_not() -> None:
    stages = (Stage(depth=1, dim=8, heads=2), Stage(depth=1, dim=8, heads=2, layer_scale=0.25))
    made = ModelSpec(name="any", stages=stages, readout=Part("mean"), image_px=8, patch_px=4)
    names = [name for name, _ in build(made, device="meta").named_parameters() if "scale" in name]
    assert names == ["stages.1.0.scale1.gamma", "stages.1.0.scale2.gamma"]
    assert from_json(to_json(made)) == made


def test_a_stage_without_a_scale_of_its_own_has_the_models() -> None:
    block = block_of(spec(layer_scale=0.5))
    assert block.scale1.gamma.tolist() == [0.5] * 8


def test_one_residual_and_a_method_between_mixer_and_mlp_are_refused() -> None:
    stage = Stage(depth=1, dim=8, heads=2, sequence=Part.of("tome", r=1))
    with pytest.raises(UserError, match="mlp_residual='tokens'"):
        build(spec(stage, mlp_residual="block"), device="meta")


def test_an_unknown_residual_is_refused() -> None:
    with pytest.raises(UserError, match="'block'"):
        spec(mlp_residual="both")
