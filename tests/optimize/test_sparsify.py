"""Which layers are pruned, by what, and what comes out."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.optimize.compressed import COMPRESSED, load_compressed
from paretovit.optimize.prune import How, Parent, prune
from paretovit.optimize.sparsify import block_range, sparsify, speedup, steps
from paretovit.spec import ModelSpec, Stage
from paretovit.training.data import open_data
from paretovit.training.loop import STATE
from paretovit.training.progress import Watch, silent
from paretovit.training.pruning import tried
from paretovit.training.recipe import DEMO
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import WEIGHTS, load_model, load_tensors
from paretovit.zoo.masked import Masked
from paretovit.zoo.patterns import Pattern

SPEC = ModelSpec(
    name="small", stages=(Stage(depth=3, dim=16, heads=2),), image_px=8, patch_px=4, in_chans=1, num_classes=10
)
P24 = Pattern(2, 4)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return build(SPEC).eval()


def test_only_the_blocks_asked_for_are_pruned_and_the_model_given_is_left_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = sparsify(SPEC, model, P24, blocks=(1, 2))
    assert {name.split(".")[2] for name in made.pruned} == {"1", "2"}
    assert len(made.pruned) == 8
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name in made.pruned:
        assert P24.holds(made.module.get_submodule(name).weight != 0)
    assert torch.equal(made.module.head.weight, model.head.weight)


def test_magnitude_keeps_the_largest_and_wanda_weighs_them_with_their_inputs(model):
    by_hand = P24.mask(model.stages[0][0].mlp.fc1.weight.abs())
    made = sparsify(SPEC, model, P24)
    assert torch.equal(made.module.stages[0][0].mlp.fc1.weight_mask, by_hand)

    images, seen = torch.randn(40, 1, 8, 8), []
    handle = model.stages[0][0].mlp.fc1.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    with torch.no_grad():
        model(images)
    handle.remove()
    norms = torch.stack([seen[0][..., i].norm() for i in range(16)])
    by_hand = P24.mask(model.stages[0][0].mlp.fc1.weight.abs() * norms)
    made = sparsify(SPEC, model, P24, score="wanda", images=images)
    assert torch.equal(made.module.stages[0][0].mlp.fc1.weight_mask, by_hand)


def test_reordering_keeps_more_and_scores_go_with_their_weights(model):
    plain, ordered = (sparsify(SPEC, model, P24, reorder=reorder) for reorder in (False, True))
    gains = {a.name: b.kept - a.kept for a, b in zip(plain.layers, ordered.layers, strict=True)}
    assert all(gain > 0.005 for name, gain in gains.items() if name.endswith("fc2"))
    assert all(abs(gain) < 1e-6 for name, gain in gains.items() if name.endswith(("fc1", "qkv")))
    for layer in ordered.layers:
        module = ordered.module.get_submodule(layer.name)
        original = model.get_submodule(layer.name).weight
        assert (module.weight.abs().sum() / original.abs().sum()).item() == pytest.approx(layer.kept, rel=1e-5)


def test_where_the_roofline_says_no_a_layer_is_left(model):
    spec = replace(SPEC, name="wide", stages=(Stage(depth=1, dim=768, heads=12),), image_px=128)
    made = sparsify(spec, build(spec), P24, where="roofline", device="a10", batch_size=256)
    why = {layer.name: layer.why for layer in made.layers}
    assert made.pruned
    assert speedup(made, "a10", batch_size=256) > 1.3
    assert speedup(made, "v100", batch_size=256) == 1
    with pytest.raises(UserError, match=r"no layer of small is to be pruned: at most 1\.00"):
        sparsify(SPEC, model, P24, where="roofline", device="a10", batch_size=4096)
    assert all(not reason for reason in why.values())


def test_widths_that_do_not_divide_are_left_and_said():
    spec = replace(SPEC, stages=(Stage(depth=1, dim=18, heads=2, mlp=SPEC.stages[0].mlp),))
    made = sparsify(spec, build(spec), P24)
    assert {layer.why for layer in made.layers if layer.width == 18} == {"width 18 is not divisible by 4"}
    assert made.pruned == ("stages.0.0.mlp.fc2",)  # 72 wide


def test_bad_choices_are_one_line(model):
    for words, said in (
        ({"blocks": (2, 3)}, "there is no block 3; the model has 3, from 0 to 2"),
        ({"where": "everywhere"}, "take roofline or all"),
        ({"where": "roofline", "device": "a11"}, "unknown device"),
        ({"score": "wanda"}, "need images"),
    ):
        with pytest.raises(UserError, match=said):
            sparsify(SPEC, model, P24, **words)
    made = sparsify(SPEC, model, P24)
    with pytest.raises(UserError, match="masked already"):
        sparsify(made.spec, made.module, P24)
    with pytest.raises(UserError, match="as 4-11"):
        block_range("11-4")
    assert (block_range("4-11"), block_range("3")) == ((4, 11), (3, 3))


def test_gradual_steps_take_one_weight_of_a_group_at_a_time():
    assert [str(pattern) for pattern in steps(Pattern(1, 4))] == ["3:4", "2:4", "1:4"]


@pytest.mark.parametrize("gradual", [False, True])
def test_fine_tuning_keeps_the_zeros_and_writes_both_files(model, tmp_path, gradual):
    parent = Parent(spec=SPEC, module=model, data=open_data("digits"), label="none")
    recipe = replace(DEMO, epochs=2, warmup_epochs=0, train_images=60, ema=0.9)
    done = prune(parent, How(gradual=gradual), out=tmp_path, recipe=recipe)
    spec, state = load_model(tmp_path)
    assert spec == done.sparsified.spec
    again = build(str(tmp_path))
    for module in again.modules():
        if isinstance(module, Masked):
            assert P24.holds(module.weight != 0)
            assert (module.weight != 0).sum() == module.weight.numel() // 2
    compact, packed = load_compressed(tmp_path / COMPRESSED)
    assert compact == spec
    assert torch.equal(packed["head.weight"], state["head.weight"].half())
    kinds = [row.conditions.recipe for row in done.rows if row.indicator == "top1"]
    assert kinds[0] == "none"
    assert kinds[1] == f"small (none) pruned to {'3:4' if gradual else '2:4'} by magnitude"
    assert kinds[-1].endswith(f"pruned to 2:4 by magnitude{', step by step' if gradual else ''}")
    assert tried(kinds[-1]).pruning == How(gradual=gradual).words
    assert (tmp_path / "step-3of4").is_dir() == gradual


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads({threads})
sys.path.insert(0, {tests!r})
from test_sparsify import fine_tuned
ticks = []
def watch(tick):
    ticks.append(tick)
    if len(ticks) == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
fine_tuned(Path(sys.argv[1]), gradual={gradual}, progress=watch)
"""


def fine_tuned(out: Path, *, gradual: bool, progress: Watch = silent) -> nn.Module:
    """Four epochs of three steps, with all that may move a weight away from zero: momentum, decay, an average."""
    torch.manual_seed(0)
    parent = Parent(spec=SPEC, module=build(SPEC).eval(), data=open_data("digits"), label="none")
    recipe = replace(
        DEMO, epochs=4, warmup_epochs=1, train_images=100, ema=0.9, dropout=0.1, crop_padding=1, weight_decay=0.5
    )
    prune(parent, How(gradual=gradual, reorder=True), out=out, recipe=recipe, progress=progress)
    return build(str(out))


@pytest.mark.parametrize(("gradual", "at"), [(False, 8), (True, 11)])
def test_fine_tuning_killed_with_kill_9_goes_on_bit_for_bit_and_keeps_its_zeros(tmp_path, gradual, at):
    code = KILLED.format(threads=torch.get_num_threads(), tests=str(Path(__file__).parent), at=at, gradual=gradual)
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "cut")], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    state, _ = load_tensors(tmp_path / "cut" / STATE)  # after the last epoch that was finished
    masks = {name: mask for name, mask in state.items() if name.endswith(".weight_mask")}
    assert {name.partition("/")[0] for name in masks} == {"model", "average"}
    for name, mask in masks.items():
        assert not (state[name.removesuffix("_mask")][~mask] != 0).any()

    ticks = []
    model = fine_tuned(tmp_path / "cut", gradual=gradual, progress=ticks.append)
    assert len(ticks) == {False: 12 - 6, True: 6 - 3}[gradual], "what was finished is not done again"
    fine_tuned(tmp_path / "whole", gradual=gradual)
    for name in (WEIGHTS, COMPRESSED):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for module in model.modules():
        if isinstance(module, Masked):
            assert not (module.weight[~module.weight_mask] != 0).any()
            assert (module.weight != 0).sum() == module.weight_mask.sum() == module.weight.numel() // 2


def test_without_data_the_sparse_model_is_written_and_never_over_another(model, tmp_path):
    parent = Parent(spec=SPEC, module=model)
    done = prune(parent, How(pattern=Pattern(4, 8)), out=tmp_path)
    assert done.rows == ()
    assert done.compressed_bytes < done.dense_bytes
    assert done.speedups == {"a10": 1.0, "h200": 1.0}
    with pytest.raises(UserError, match="holds a model already"):
        prune(parent, How(), out=tmp_path)
