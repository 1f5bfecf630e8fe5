"""The skeleton against timm's ViT, DeiT and DeiT III with equal weights, and the manners of a timm model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.catalog import resolve
from paretovit.zoo.folders import MIXERS, NORMS
from paretovit.zoo.skeletons import ARCHITECTURES
from paretovit.zoo.timm_weights import checkpoint_filter_fn

PLAIN = ModelSpec(name="tiny", stages=(Stage(depth=3, dim=64, heads=2),), image_px=32, patch_px=8, num_classes=10)
# name -> our spec, and timm's arguments for the same model
TWINS: dict[str, tuple[ModelSpec, dict[str, Any]]] = {
    "ViT and DeiT": (PLAIN, {}),
    "DeiT III": (
        replace(PLAIN, position=Part.of("learned", prefix=False), layer_scale=1e-6),
        {"no_embed_class": True, "init_values": 1e-6},
    ),
    "mean pooling": (replace(PLAIN, readout=Part("mean")), {"global_pool": "avg", "class_token": False}),
    "one channel, no head": (replace(PLAIN, in_chans=1, num_classes=0), {"in_chans": 1, "num_classes": 0}),
}


def noisy(model: nn.Module) -> nn.Module:
    """The model in eval mode with parameters that all show in its output, LayerScale and biases included."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.eval()


def images(spec: ModelSpec = PLAIN, count: int = 2) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, spec.in_chans, spec.image_px, spec.image_px)


def with_slots(**slots: Part) -> ModelSpec:
    return replace(PLAIN, stages=(replace(PLAIN.stages[0], **slots),))


@pytest.fixture(params=TWINS, ids=str)
def twins(request: pytest.FixtureRequest) -> tuple[Backbone, nn.Module]:
    spec, options = TWINS[request.param]
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 2, "num_classes": 10}
    theirs = noisy(VisionTransformer(**(shape | options)))
    ours = Backbone(spec).eval()
    ours.load_state_dict(checkpoint_filter_fn(theirs.state_dict()))
    return ours, theirs


def test_gives_timms_logits_with_timms_weights(twins: tuple[Backbone, nn.Module]) -> None:
    ours, theirs = twins
    torch.testing.assert_close(ours(images(ours.spec)), theirs(images(ours.spec)), rtol=1e-5, atol=1e-5)


def test_gives_timms_features_before_the_head(twins: tuple[Backbone, nn.Module]) -> None:
    ours, theirs = twins
    image = images(ours.spec)
    features = theirs.forward_features(image)
    torch.testing.assert_close(ours.forward_features(image), features, rtol=1e-5, atol=1e-5)
    expected = theirs.forward_head(features, pre_logits=True)
    torch.testing.assert_close(ours.forward_head(features, pre_logits=True), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "fnet", "evit_fuse", "tome", "token_learner", "switch", "dynamic_vit", "avit"])
def test_forward_is_features_then_head(name: str) -> None:
    model = noisy(Backbone(replace(resolve(f"{name}_pico_patch8_32"), num_classes=5)))
    image = images()
    torch.testing.assert_close(model.forward_head(model.forward_features(image)), model(image))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("vit_tiny_patch16_224", 5_717_416),
        ("vit_small_patch16_224", 22_050_664),
        ("vit_base_patch16_224", 86_567_656),
        ("vit_large_patch16_224", 304_326_632),
    ],
)
def test_has_the_parameters_of_the_vits_of_the_papers(name: str, params: int) -> None:
    with torch.device("meta"):
        ours, theirs = Backbone(resolve(name)), timm.create_model(name)
    assert sum(p.numel() for p in ours.parameters()) == params
    assert sum(p.numel() for p in theirs.parameters()) == params


def test_macs_are_the_closed_form_of_a_vit() -> None:
    with torch.device("meta"):
        model = Backbone(resolve("vit_tiny_patch16_224"))
    tokens, dim = 14 * 14 + 1, 192
    block = 4 * tokens * dim**2 + 2 * tokens**2 * dim + 8 * tokens * dim**2
    assert model.macs() == 196 * 768 * dim + 12 * block + 1000 * dim


def test_images_are_independent_of_their_batch() -> None:
    model = noisy(Backbone(PLAIN))
    torch.testing.assert_close(model(images())[1:], model(images()[1:]))


@pytest.mark.parametrize("shape", [(2, 3, 40, 32), (2, 3, 32, 40), (2, 1, 32, 32)])
def test_refuses_images_it_was_not_built_for(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="3 x 32 x 32"):
        Backbone(PLAIN)(torch.zeros(shape))


@pytest.mark.parametrize(("px", "near"), [(30, "24 or 32"), (5, "use 8 px"), (33, "32 or 40")])
def test_names_the_near_sizes_where_patches_do_not_fit(px: int, near: str) -> None:
    with pytest.raises(UserError, match=near):
        Backbone(replace(PLAIN, image_px=px))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (with_slots(mixer=Part("fnet"), sequence=Part("evit")), "mixers that can: .*attention"),
        (with_slots(mixer=Part("performer"), sequence=Part.of("tome", r=2)), "mixers that can: .*attention"),
        (with_slots(mixer=Part("performer"), sequence=Part("dynamic_vit")), "performer would hear.*: attention"),
        (with_slots(mixer=Part("fnet"), sequence=Part("avit")), "fnet would hear.*: attention"),
        (with_slots(mlp=Part("switch"), sequence=Part("avit")), "switch would take.*: mlp"),
        (with_slots(mixer=Part("shifted_window")), "give the model the read-out 'mean'"),
        (with_slots(sequence=Part.of("evit", blocks=(1, 3))), r"blocks \(1, 3\) do not lie in a stage of 3"),
        (with_slots(mixer=Part("performr")), "did you mean performer"),
        (with_slots(sequence=Part.of("evit", kep=0.5)), "kep"),
        (with_slots(sequence=Part("tome")), "missing a required.*'r'"),
        (with_slots(mlp=Part.of("mlp", ratio=4, ration=4)), "ration"),
        (replace(PLAIN, stem=Part.of("patch", overlap=4)), "overlap"),
        (replace(PLAIN, stages=(*PLAIN.stages, Stage(depth=1, dim=32, heads=2))), "from 64 to 32 between stages"),
        (replace(PLAIN, stages=(Stage(depth=1, dim=64, heads=3),)), "3 heads do not divide the width 64"),
        (replace(PLAIN, stages=(Stage(depth=1, dim=66, heads=3),), position=Part("sin_cos")), "divisible by 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_parts_that_do_not_go_together_in_one_line(spec: ModelSpec, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Backbone(spec)
    assert "\n" not in str(caught.value)


def test_a_grid_mixer_does_not_follow_a_method_that_breaks_the_grid() -> None:
    summary = replace(PLAIN.stages[0], sequence=Part.of("token_learner", tokens=4))
    window = replace(PLAIN.stages[0], mixer=Part("shifted_window"))
    with pytest.raises(UserError, match="needs tokens on a grid"):
        Backbone(replace(PLAIN, stages=(summary, window), readout=Part("mean")))


def test_stages_of_one_width_follow_each_other() -> None:
    split = replace(PLAIN, stages=(Stage(depth=1, dim=64, heads=2), Stage(depth=2, dim=64, heads=2)))
    whole, parted = noisy(Backbone(PLAIN)), Backbone(split).eval()
    renamed = {"0.0": "0.0", "0.1": "1.0", "0.2": "1.1"}
    state = {
        (f"stages.{renamed[k[7:10]]}{k[10:]}" if k.startswith("stages.") else k): v
        for k, v in whole.state_dict().items()
    }
    parted.load_state_dict(state)
    torch.testing.assert_close(parted(images()), whole(images()))


def test_a_new_head_fits_and_leaves_the_features_alone() -> None:
    model = noisy(Backbone(PLAIN))
    features = model.forward_head(model.forward_features(images()), pre_logits=True)
    model.reset_classifier(7)
    assert model(images()).shape == (2, 7)
    assert model.num_classes == 7
    assert model.get_classifier() is model.head
    model.reset_classifier(0)
    torch.testing.assert_close(model(images()), features)


def test_macs_follow_a_new_head() -> None:
    model = Backbone(PLAIN)
    before = model.macs()
    model.reset_classifier(12)
    assert model.macs() == before + 2 * 64


def test_does_not_pretend_to_change_its_read_out() -> None:
    with pytest.raises(UserError, match="readout"):
        Backbone(PLAIN).reset_classifier(5, global_pool="avg")


def test_drop_path_acts_in_training_only_and_never_in_the_first_block() -> None:
    sure, dropping = Backbone(PLAIN), Backbone(PLAIN, drop_path=0.9)
    dropping.load_state_dict(sure.state_dict())
    torch.testing.assert_close(dropping.eval()(images()), sure.eval()(images()), rtol=0, atol=0)
    torch.manual_seed(0)
    many = images(count=1).expand(32, -1, -1, -1)
    assert dropping.train()(many).std(dim=0).max() > 1e-3  # equal images fare differently
    assert isinstance(dropping.stages[0][0].drop_path, nn.Identity)
    assert [block.drop_path.drop_prob for block in dropping.stages[0][1:]] == pytest.approx([0.45, 0.9])


@pytest.mark.parametrize("name", ["vit", "tome", "switch", "dynamic_vit", "avit", "universal"])
def test_checkpointing_changes_memory_and_not_gradients(name: str) -> None:
    model = Backbone(replace(resolve(f"{name}_pico_patch8_32"), num_classes=5), drop_path=0.3).train()

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        torch.manual_seed(3)
        loss = model(images()).square().sum()
        (loss + sum(model.aux.values())).backward()
        return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    model.set_grad_checkpointing()
    again = gradients()
    assert len(plain) == len(dict(model.named_parameters()))
    torch.testing.assert_close(again, plain)


def checkpointed_twin(spec: ModelSpec) -> tuple[nn.Module, nn.Module]:
    """The model after a training pass and its backward pass, as it is, and with activations worked out again."""
    twins = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = Backbone(spec).train()
        model.set_grad_checkpointing(checkpointing)
        (model(images()).square().sum() + sum(model.aux.values())).backward()
        twins.append(model)
    return twins[0], twins[1]


MEAN_OF = {"readout": Part("mean")}


@pytest.mark.parametrize(
    "spec",
    [
        *(
            replace(with_slots(mixer=Part(name)), **({} if MIXERS.fact(name, "takes_prefix", True) else MEAN_OF))
            for name in MIXERS.names()
        ),
        *(replace(PLAIN, norm=Part(name), final_norm=Part(name)) for name in NORMS.names()),
        replace(PLAIN, stages=(replace(PLAIN.stages[0], share=True),), norm=Part("batch_norm")),
    ],
    ids=lambda spec: f"{spec.stages[0].mixer}-{spec.norm}-{spec.stages[0].share}",
)
def test_a_step_leaves_the_same_state_and_gradients_under_checkpointing(spec: ModelSpec) -> None:
    plain, again = checkpointed_twin(spec)
    for (name, mine), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(other.grad, mine.grad, msg=name)
    for (name, mine), other in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(other, mine), name
    assert [name for name, _ in again.named_buffers()] == [name for name, _ in plain.named_buffers()]


def test_a_backward_pass_that_is_run_twice_works_out_again_what_the_first_pass_did() -> None:
    torch.manual_seed(0)
    model = Backbone(replace(PLAIN, norm=Part("prepbn"))).train()
    model.set_grad_checkpointing()
    loss = model(images()).square().sum()
    state = {name: buffer.clone() for name, buffer in model.named_buffers()}
    parameters = list(model.parameters())
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    second = torch.autograd.grad(loss, parameters)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(buffer, state[name]) for name, buffer in model.named_buffers())


def test_weight_decay_spares_places_and_class_tokens() -> None:
    model = Backbone(PLAIN)
    assert model.no_weight_decay() == {"class_token", "position.table"}
    assert model.no_weight_decay() <= dict(model.named_parameters()).keys()


def test_every_parameter_is_in_a_layer_group_of_timms() -> None:
    from timm.models import group_parameters

    model = Backbone(PLAIN)
    groups = group_parameters(model, model.group_matcher())
    names = [name for group in groups.values() for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    layer_of = {name: layer for layer, group in groups.items() for name in group}
    assert layer_of["stem.proj.weight"] == layer_of["class_token"] == layer_of["position.table"] == 0
    assert [layer_of[f"stages.0.{block}.norm1.weight"] for block in range(3)] == [1, 2, 3]
    assert layer_of["norm.weight"] == 3  # with the last block, as timm's
    assert layer_of["head.weight"] == 4


def test_starts_as_the_released_vit_does() -> None:
    torch.manual_seed(0)
    model = Backbone(replace(PLAIN, stages=(Stage(depth=1, dim=256, heads=4),)))
    block = model.stages[0][0]
    for weight in (block.mixer.qkv.weight, block.mlp.fc1.weight, model.head.weight):
        # Glorot and Bengio 2010, eq. 16: uniform within sqrt(6 / (in + out)), which has the variance 2 / (in + out)
        assert weight.std().item() == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.05)
        assert weight.abs().max().item() <= (6 / sum(weight.shape)) ** 0.5
    assert model.position.table.std().item() == pytest.approx(0.02, rel=0.1)
    assert not block.mixer.qkv.bias.any()
    assert model.class_token is not None
    assert model.class_token.abs().max() < 1e-4


def test_its_configuration_tells_timms_transforms_the_size() -> None:
    config = timm.data.resolve_model_data_config(Backbone(PLAIN))
    assert config["input_size"] == (3, 32, 32)
    assert config["mean"] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiles_into_one_graph(architecture: str) -> None:
    torch.compiler.reset()
    spec = resolve(f"{architecture}_pico_patch8_32")
    model = Backbone(replace(spec, stages=(replace(spec.stages[0], depth=1),))).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images()), model(images()))


def test_runs_under_autocast_and_in_half_precision() -> None:
    for name in ("vit", "tome", "switch", "token_learner", "dynamic_vit", "avit"):
        spec = resolve(f"{name}_pico_patch8_32")
        model = Backbone(replace(spec, stages=(replace(spec.stages[0], depth=1),))).train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(images()).float().sum() + sum(model.aux.values())
        loss.backward()
        assert model.bfloat16().eval()(images().bfloat16()).dtype == torch.bfloat16
