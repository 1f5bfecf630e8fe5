"""The file without zeros: what goes in comes out bit for bit, and what was changed is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretovit.errors import UserError
from paretovit.optimize.compressed import COMPRESSED, load_compressed, save_compressed
from paretovit.optimize.packing import pack, unpack
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.build import build
from paretovit.zoo.checkpoint import load_tensors, save_tensors
from paretovit.zoo.patterns import Pattern

PATTERNS = [f"{n}:{m}" for m in (2, 4, 8) for n in range(1, m)]
SPEC = ModelSpec(
    name="small",
    stages=(Stage(depth=1, dim=8, heads=2),),
    image_px=8,
    patch_px=4,
    in_chans=1,
    num_classes=4,
    transforms=(Part.of("sparse", layers=("stages.0.0.mlp.fc1", "stages.0.0.mixer.qkv")),),
)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(PATTERNS),
    st.integers(1, 5),
    st.integers(1, 7),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
    st.integers(0, 2**31),
)
def test_packing_and_unpacking_is_the_identity(text, rows, groups, dtype, seed):
    pattern, random = Pattern.of(text), torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, groups * pattern.group, generator=random)
    mask = pattern.mask(torch.rand(weight.shape, generator=random))
    weight = weight.masked_fill(~mask, 0).to(dtype)
    values, places = pack(weight, mask, pattern)
    again, mask_again = unpack(values, places, pattern)
    assert torch.equal(bits(again), bits(weight))
    assert torch.equal(mask_again, mask)
    assert len(places) == -(-rows * groups * pattern.kept * (pattern.group.bit_length() - 1) // 8)


def test_2_of_4_in_16_bits_is_nine_sixteenths():
    weight = torch.randn(64, 128).half()
    values, places = pack(weight, Pattern(2, 4).mask(weight.abs()), Pattern(2, 4))
    assert (values.nbytes + places.nbytes) * 16 == 9 * weight.nbytes


def test_places_stand_in_the_bits_as_documented():
    mask = torch.tensor([[True, False, False, True, False, True, True, False]])  # 0, 3 and 1, 2
    _, places = pack(torch.arange(8.0)[None], mask, Pattern(2, 4))
    assert places.tolist() == [0 | 3 << 2 | 1 << 4 | 2 << 6]


def test_places_that_are_no_pattern_are_refused():
    values = torch.zeros(1, 4)
    with pytest.raises(UserError, match="twice"):
        unpack(values, torch.tensor([0], dtype=torch.uint8).numpy(), Pattern(2, 4))
    with pytest.raises(UserError, match="not of one weight"):
        unpack(values, torch.zeros(2, dtype=torch.uint8).numpy(), Pattern(2, 4))


def test_a_mask_that_keeps_other_numbers_is_refused():
    with pytest.raises(UserError, match="keeps other than 2"):
        pack(torch.ones(1, 4), torch.ones(1, 4, dtype=torch.bool), Pattern(2, 4))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    model, path = build(SPEC), tmp_path_factory.mktemp("files") / COMPRESSED
    save_compressed(path, SPEC, model)
    return model, path


def test_a_model_comes_back_with_its_masks(saved):
    model, path = saved
    spec, state = load_compressed(path)
    assert (spec, spec.name) == (SPEC, "small")
    expected = model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(bits(state[name]), bits(value)) for name, value in expected.items())
    again = build(spec)
    again.load_state_dict(state)
    image = torch.randn(2, 1, 8, 8)
    assert torch.equal(again.eval()(image), model.eval()(image))


def test_numbers_that_the_dtype_cannot_hold_are_refused(tmp_path):
    model = build(SPEC)
    model.head.bias.data[0] = 1e6
    with pytest.raises(UserError, match=r"head\.bias has numbers beyond float16"):
        save_compressed(tmp_path / COMPRESSED, SPEC, model, dtype=torch.float16)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_file_changed_anywhere_is_refused_or_the_same(saved, tmp_path_factory, data):
    model, path = saved
    content = bytearray(path.read_bytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "longer", "noise"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del content[at:]
    elif kind == "longer":
        content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    else:
        content[at : at + 64] = data.draw(st.binary(min_size=64, max_size=64))
    broken = tmp_path_factory.mktemp("broken") / COMPRESSED
    broken.write_bytes(content)
    try:
        _, state = load_compressed(broken)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017  (both ways are right, wrong weights are not)
    else:
        assert all(torch.equal(bits(state[name]), bits(value)) for name, value in model.state_dict().items())


def test_a_forged_header_with_a_right_checksum_is_no_crash(saved, tmp_path):
    from paretovit.optimize.compressed import _checksum

    tensors, about = load_tensors(saved[1])
    about.pop("checksum")
    weight = "stages.0.0.mlp.fc1.weight"
    for change in (
        {"patterns": {**about["patterns"], weight: "3:4"}},
        {"patterns": {**about["patterns"], "head.weight": "2:4"}},
        {"shapes": {weight: [7, 9]}},
        {"shapes": None},
        {"spec": {"name": "x"}},
        {"format": 99},
    ):
        path = tmp_path / COMPRESSED
        forged = about | change
        save_tensors(path, tensors, forged | {"checksum": _checksum(tensors, forged)})
        try:
            _, state = load_compressed(path)
        except UserError:
            continue
        assert change.keys() == {"patterns"}  # of a weight that is not packed: nothing is read by it
        assert all(torch.equal(bits(state[name]), bits(value)) for name, value in saved[0].state_dict().items())


def test_other_safetensors_are_no_compressed_model(tmp_path):
    save_tensors(tmp_path / COMPRESSED, {"a": torch.ones(2)}, {"name": replace(SPEC).name})
    with pytest.raises(UserError, match="no compressed model"):
        load_compressed(tmp_path / COMPRESSED)
