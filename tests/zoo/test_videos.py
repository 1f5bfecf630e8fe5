"""Models of images made models of videos, by name and with their weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from paretovit.cost.counting import count
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage, from_json, to_json
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries, family, resolve
from paretovit.zoo.video_weights import for_videos
from paretovit.zoo.videos import ATTENTION, on_videos

DEPTH, DIM, HEADS, FRAMES, PX, PATCH = 2, 16, 2, 3, 12, 4
IMAGE = ModelSpec(
    name="vit_mini",
    stages=(Stage(depth=DEPTH, dim=DIM, heads=HEADS),),
    image_px=PX,
    patch_px=PATCH,
    num_classes=5,
    layer_scale=0.5,
)


def drawn(spec: ModelSpec) -> Backbone:
    """A model in double precision, all of whose weights are drawn, also those that begin at 0 or 1."""
    model = Backbone(spec).double().eval()
    chance = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=chance) / 4)
    return model


def made_of(image: Backbone, attention: str, *, frames: int = FRAMES) -> Backbone:
    spec = on_videos(image.spec, attention, frames=frames)
    video = Backbone(spec).double().eval()
    video.load_state_dict(for_videos(image.state_dict(), image.spec, spec))
    return video


def clips(frames: int = FRAMES) -> Tensor:
    return torch.randn(2, 3, frames, PX, PX, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("attention", ATTENTION)
def test_a_video_model_of_any_size_has_a_name(attention: str) -> None:
    spec = resolve(f"timesformer_{attention}_tiny_patch8_32")
    assert (spec.input_shape, spec.frames, spec.num_classes) == ((3, 8, 32, 32), 8, 400)
    assert family(spec) == family(entries()[f"timesformer_{attention}_base_patch16_224"].spec) == "baseline"
    assert spec.stages[0].dim == 192
    assert from_json(to_json(spec)) == spec
    small = resolve(f"timesformer_{attention}_tiny_patch16_224", img_size=32, num_classes=3)
    assert (small.input_shape, small.num_classes) == ((3, 8, 32, 32), 3)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("image", ["vit_tiny_patch16_224", "vit_base_patch16_224", "deit_scaled_small"])
def test_the_rows_of_the_catalog_are_their_image_models_made_ones_of_videos(image: str, attention: str) -> None:
    made = on_videos(resolve(image), attention)
    assert replace(made, num_classes=400) == entries()[made.name].spec


@pytest.mark.parametrize("name", ["timesformer_divided_tiny", "timesformer_sideways_tiny_patch8_32"])
def test_a_name_of_no_video_model_is_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(UserError, match="did you mean timesformer_"):
        resolve(name)


def test_what_is_no_plain_vit_of_images_is_refused() -> None:
    for name in ("performer_tiny_patch16_224", "cvt_13", "resnet50", "timesformer_joint_tiny_patch16_224"):
        with pytest.raises(UserError, match="it takes a plain ViT"):
            on_videos(resolve(name), "divided")
    with pytest.raises(UserError, match="it takes a plain ViT"):
        on_videos(replace(IMAGE, transforms=(Part("masked"),)), "joint")
    with pytest.raises(UserError, match="joint or divided, got 'diagonal'"):
        on_videos(IMAGE, "diagonal")
    with pytest.raises(UserError, match="at least one frame"):
        on_videos(IMAGE, "joint", frames=0)


def heard(x_ND: Tensor, state: dict[str, Tensor], at: str) -> Tensor:
    """Softmax attention of every row to every row, token by token and head by head."""
    q, k, v = (x_ND @ state[f"{at}.qkv.weight"].T + state[f"{at}.qkv.bias"]).split(DIM, dim=1)
    out, width = torch.zeros_like(x_ND), DIM // HEADS
    for i in range(len(x_ND)):
        for head in range(HEADS):
            own = slice(head * width, (head + 1) * width)
            weights = torch.exp(k[:, own] @ q[i, own] / math.sqrt(width))
            out[i, own] = weights @ v[:, own] / weights.sum()
    return out @ state[f"{at}.proj.weight"].T + state[f"{at}.proj.bias"]


def divided_in_plain_words(model: Backbone, clip: Tensor) -> Tensor:
    """Logits of one clip (C, T, H, W): Bertasius et al. 2021, sec. 3, place by place and frame by frame."""
    state = model.state_dict()

    def normed(x: Tensor, at: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * state[f"{at}.weight"] + state[f"{at}.bias"]

    kernel, places = state["stem.patch.proj.weight"].flatten(1), state["position.space"][0]
    patches = torch.stack(
        [
            F.unfold(clip[None, :, t], PATCH, stride=PATCH)[0].T @ kernel.T
            + state["stem.patch.proj.bias"]
            + places[1:]
            + state["position.time"][0, t]
            for t in range(clip.shape[1])
        ]
    )  # (T, S, D)
    token = state["class_token"][0] + places[:1]  # (1, D)
    for block in range(DEPTH):
        time, space = f"stages.{2 * block}.0", f"stages.{2 * block + 1}.0"
        for s in range(patches.shape[1]):
            said = heard(normed(patches[:, s], f"{time}.norm1"), state, f"{time}.mixer")
            said = said @ state[f"{time}.mixer.out_map.weight"].T + state[f"{time}.mixer.out_map.bias"]
            patches[:, s] = patches[:, s] + said * state[f"{time}.scale1.gamma"]
        told = torch.zeros_like(token)
        for t in range(len(patches)):
            frame = normed(torch.cat((token, patches[t])), f"{space}.norm1")
            said = heard(frame, state, f"{space}.mixer") * state[f"{space}.scale1.gamma"]
            told += said[:1] / len(patches)
            patches[t] = patches[t] + said[1:]
        token = token + told

        def worked(x: Tensor, at: str = space) -> Tensor:
            hidden = normed(x, f"{at}.norm2") @ state[f"{at}.mlp.fc1.weight"].T + state[f"{at}.mlp.fc1.bias"]
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            out = hidden @ state[f"{at}.mlp.fc2.weight"].T + state[f"{at}.mlp.fc2.bias"]
            return x + out * state[f"{at}.scale2.gamma"]

        patches, token = worked(patches), worked(token)
    return normed(token, "norm") @ state["head.weight"].T + state["head.bias"]


def test_divided_attention_is_through_time_then_in_space_then_an_mlp() -> None:
    model = drawn(on_videos(IMAGE, "divided", frames=FRAMES))
    expected = torch.cat([divided_in_plain_words(model, clip) for clip in clips()])
    torch.testing.assert_close(model(clips()), expected)


def test_joint_attention_is_a_vit_on_all_frames_one_below_the_other() -> None:
    video = drawn(on_videos(IMAGE, "joint", frames=FRAMES))
    image = Backbone(replace(IMAGE, image_px=(FRAMES * PX, PX))).double().eval()
    state = video.state_dict()
    space, time = state.pop("position.space"), state.pop("position.time")
    placed = (space[:, 1:].unsqueeze(1) + time).flatten(1, 2)
    state["position.table"] = torch.cat((space[:, :1], placed), dim=1)
    image.load_state_dict({name.replace("stem.patch.", "stem."): tensor for name, tensor in state.items()})
    below = clips().transpose(1, 2).flatten(0, 1).unflatten(0, (2, FRAMES)).transpose(1, 2).flatten(2, 3)
    assert torch.equal(below[0, 1, PX : 2 * PX], clips()[0, 1, 1])
    torch.testing.assert_close(video(clips()), image(below))


@pytest.mark.parametrize("readout", ["class_token", "mean"])
@pytest.mark.parametrize("attention", ATTENTION)
def test_of_one_frame_a_video_model_gives_what_its_image_model_gives(attention: str, readout: str) -> None:
    image = drawn(replace(IMAGE, readout=Part(readout)))
    one = clips(1)
    torch.testing.assert_close(made_of(image, attention, frames=1)(one), image(one[:, :, 0]))


@pytest.mark.parametrize(("attention", "readout"), [("divided", "class_token"), ("divided", "mean"), ("joint", "mean")])
def test_of_a_still_video_it_gives_what_its_image_model_gives(attention: str, readout: str) -> None:
    """Joint attention hears as many copies of every patch as there are frames, but one class token."""
    image = drawn(replace(IMAGE, readout=Part(readout)))
    still = clips(1).expand(-1, -1, FRAMES, -1, -1)
    torch.testing.assert_close(made_of(image, attention)(still), image(still[:, :, 0]))


def test_attention_through_time_begins_as_a_copy_of_that_in_space_and_unheard() -> None:
    image, video = drawn(IMAGE), made_of(drawn(IMAGE), "divided")
    for block in range(DEPTH):
        own, time = image.stages[0][block], video.stages[2 * block][0]
        for part in ("norm1", "scale1"):
            assert all(map(torch.equal, getattr(own, part).parameters(), getattr(time, part).parameters()))
        assert torch.equal(own.mixer.qkv.weight, time.mixer.qkv.weight)
        assert torch.equal(own.mixer.proj.weight, time.mixer.proj.weight)
        assert not time.mixer.out_map.weight.any()
        assert not time.mixer.out_map.bias.any()
    assert not video.position.time.any()
    video(clips()).square().sum().backward()
    assert all(video.stages[2 * block][0].mixer.out_map.weight.grad.any() for block in range(DEPTH))


@pytest.mark.parametrize("attention", ATTENTION)
def test_of_a_distilled_model_the_second_class_token_stays_behind(attention: str) -> None:
    image = drawn(replace(IMAGE, readout=Part("distilled")))
    spec = on_videos(image.spec, attention, frames=FRAMES)
    video, state = Backbone(spec).double(), for_videos(image.state_dict(), image.spec, spec)
    missing, unexpected = video.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["head.weight", "head.bias"], [])
    assert torch.equal(video.class_token, image.class_token[:, :1])
    assert torch.equal(video.position.space[:, 0], image.position.table[:, 0])
    assert torch.equal(video.position.space[:, 1:], image.position.table[:, 2:])


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("readout", ["class_token", "mean"])
def test_the_closed_form_is_what_is_counted(attention: str, readout: str) -> None:
    spec = on_videos(replace(IMAGE, readout=Part(readout)), attention, frames=FRAMES)
    counted = count(lambda: build(spec, device="meta"), (1, *spec.input_shape)).macs
    assert counted == build(spec).macs()  # type: ignore[operator]
    patches, hidden = (PX // PATCH) ** 2, 4 * DIM
    prefix, tokens = int(readout == "class_token"), FRAMES * patches + int(readout == "class_token")

    def attended(groups: int, size: int) -> int:
        return groups * (4 * size * DIM**2 + 2 * size**2 * DIM)

    a_block = attended(1, tokens)
    if attention == "divided":
        through_time = attended(patches, FRAMES) + FRAMES * patches * DIM**2
        a_block = through_time + attended(FRAMES, patches + prefix)
    a_block += 2 * tokens * DIM * hidden
    assert counted == FRAMES * patches * 3 * PATCH**2 * DIM + DEPTH * a_block + DIM * spec.num_classes
