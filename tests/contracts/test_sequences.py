"""What every token-sequence method promises, whatever it does to the sequence.

Each is tried as the catalog uses it, or with its defaults where no model of the catalog has it, and with the options
that its class offers for trial; with a class token and without, unless it refuses one of the two; by itself and in a
model.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from paretovit.cost.counting import count, count_module
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.catalog import family
from paretovit.zoo.folders import MIXERS, SEQUENCES
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.sequences import Sequence, Turn
from paretovit.zoo.skeletons import ARCHITECTURES, Scale
from paretovit.zoo.taxonomy import FAMILIES
from paretovit.zoo.tokens import Layout, Tokens

IMAGES, GRID, DIM, HEADS = 3, (6, 5), 32, 4  # swapped sides show


def parts() -> list[Part]:
    slots = [architecture.slots(Scale(rows=5, columns=5, depth=12)) for architecture in ARCHITECTURES.values()]
    used = {slot["sequence"] for slot in slots if "sequence" in slot}
    default = {Part(name) for name in SEQUENCES.names() if name not in {part.name for part in used}}
    trials = {Part.of(name, **trial) for name in SEQUENCES.names() for trial in SEQUENCES[name].trials}
    return sorted(used | default | trials, key=str)


def make(part: Part, prefix: int) -> Sequence:
    """The method in the first of the two blocks of a stage that have it."""
    torch.manual_seed(0)
    options = {name: value for name, value in part.options if name != "blocks"}
    kind, layout = SEQUENCES[part.name], Layout.of_grid(GRID, prefix)
    turn = (Turn(0, 2, layout),) if kind.counts else ()
    return kind(DIM, layout, *turn, **options).eval()


def accepted(part: Part) -> list[int]:
    found = []
    for prefix in (1, 0):
        try:
            make(part, prefix)
            found.append(prefix)
        except UserError:
            continue
    return found


@dataclass
class Case:
    """A method, the tokens it is given, and a mixer that can tell what it asks."""

    part: Part
    sequence: Sequence
    mixer: Mixer
    tokens: Tokens

    def run(self, tokens: Tokens) -> Tokens:
        answer = None if self.sequence.ask is None else self.mixer.answer(tokens, self.sequence.ask)[1]
        return self.sequence(tokens, answer)


CASES = [(part, prefix) for part in parts() for prefix in accepted(part)]


@pytest.fixture(params=CASES, ids=[f"{part}-{'class token' if prefix else 'no prefix'}" for part, prefix in CASES])
def case(request: pytest.FixtureRequest) -> Case:
    part, prefix = request.param
    sequence = make(part, prefix)
    able = [n for n in MIXERS.names() if sequence.ask in (None, *MIXERS.fact(n, "answers", ()))]
    mixer = MIXERS["attention" if "attention" in able else able[0]](DIM, HEADS, sequence.layout).eval()
    x_BND = torch.randn(IMAGES, sequence.layout.num_tokens, DIM)
    return Case(part, sequence, mixer, Tokens(x_BND, grid=GRID, prefix=prefix))


def living(tokens: Tokens, image: int) -> Tensor:
    """The tokens of an image that others may hear."""
    return tokens.x[image] if tokens.alive is None else tokens.x[image][tokens.alive[image] > 0.5]


def with_everything(tokens: Tokens) -> Tokens:
    """The tokens with sizes, coordinates and a mask, as a method further down the model may get them."""
    images, count = tokens.x.shape[:2]
    rows, columns = torch.meshgrid(*(torch.arange(float(side)) for side in GRID), indexing="ij")
    place = torch.zeros(images, count, 2)
    place[:, tokens.prefix :] = torch.stack((rows.flatten(), columns.flatten()), dim=-1)
    size = torch.randint(1, 5, (images, count)).float()
    alive = torch.ones(images, count)
    alive[:, -2] = 0
    return Tokens(tokens.x, tokens.grid, tokens.prefix, place, size, alive)


class Alone(nn.Module):
    """Mixer and method as one module from values to values, for the counter."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.sequence, self.mixer, self.like = case.sequence, case.mixer, case.tokens

    def forward(self, x_BND: Tensor) -> Tensor:
        tokens, answer = self.like.with_x(x_BND), None
        if self.sequence.ask is None:
            self.mixer(tokens)
        else:
            _, answer = self.mixer.answer(tokens, self.sequence.ask)
        return self.sequence(tokens, answer).x


@pytest.mark.parametrize("name", SEQUENCES.names())
def test_states_its_family_its_moment_and_what_it_asks(name: str) -> None:
    kind = SEQUENCES[name]
    assert issubclass(kind, Sequence)
    assert kind.family in FAMILIES
    assert SEQUENCES.fact(name, "family") == kind.family, "the catalog reads it from the source: state it as a literal"
    assert set(getattr(kind, "family_by_option", {}).values()) <= set(FAMILIES)
    assert kind.where in ("before", "between", "after")
    assert kind.ask is None or kind.where == "between"


@pytest.mark.parametrize("name", SEQUENCES.names())
def test_takes_class_tokens_or_mean_pooling_or_both(name: str) -> None:
    assert all(accepted(part) for part in parts() if part.name == name)


@pytest.mark.parametrize("name", SEQUENCES.names())
@pytest.mark.parametrize("depth", [1, 2, 3, 12, 24])
def test_its_blocks_lie_in_the_stage(name: str, depth: int) -> None:
    blocks = SEQUENCES[name].blocks(depth)
    assert list(blocks) == sorted(set(blocks))
    assert all(0 <= block < depth for block in blocks)


def test_returns_the_layout_it_announced(case: Case) -> None:
    out, layout = case.run(case.tokens), case.sequence.after()
    images, count, dim = out.x.shape
    assert (images, dim) == (IMAGES, DIM)
    # how many are left may depend on the images
    assert count <= layout.num_tokens if layout.masked else count == layout.num_tokens
    assert (out.grid, out.prefix) == (layout.grid, layout.prefix)


def test_never_mixes_images(case: Case) -> None:
    alone = case.tokens.with_x(case.tokens.x[1:2])
    torch.testing.assert_close(living(case.run(case.tokens), 1), living(case.run(alone), 0))


def test_class_tokens_stay_in_front_untouched(case: Case) -> None:
    prefix = case.tokens.prefix
    torch.testing.assert_close(case.run(case.tokens).x[:, :prefix], case.tokens.x[:, :prefix], rtol=0, atol=0)


def test_shortens_in_training_as_in_inference_or_marks_the_removed(case: Case) -> None:
    case.sequence.train()
    out, layout = case.run(case.tokens), case.sequence.after()
    if layout.masked:
        assert out.alive is not None
        assert out.alive.shape == out.x.shape[:2] == case.tokens.x.shape[:2]
        assert set(out.alive.unique().tolist()) <= {0, 1}
    else:
        assert out.alive is None
        assert out.x.shape[1] == layout.num_tokens


def test_gradients_reach_every_parameter_and_the_tokens(case: Case) -> None:
    case.tokens.x.requires_grad_()
    case.sequence.train()
    case.mixer(case.run(case.tokens)).square().sum().backward()  # what is marked as removed is not heard
    for name, parameter in case.sequence.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert case.tokens.x.grad is not None
    assert case.tokens.x.grad.abs().sum() > 0


def test_macs_are_those_of_its_operators(case: Case) -> None:
    counted = count_module(Alone(case).to("meta"), torch.empty(1, *case.tokens.x.shape[1:], device="meta")).macs
    asked = 0 if case.sequence.ask is None else case.mixer.answer_macs(case.sequence.ask)
    assert case.sequence.macs(case.mixer) + case.mixer.macs() + asked == counted


def test_what_goes_with_a_token_follows_it(case: Case) -> None:
    given = with_everything(case.tokens)
    out = case.run(given)
    count = out.x.shape[1]
    assert out.place is not None
    assert out.place.shape == (IMAGES, count, 2)
    assert out.place.amin() >= 0, "a kept or merged token lies where its patches lay"
    assert (out.place.amax((0, 1)) <= torch.tensor(GRID) - 1 + 1e-5).all()
    assert out.size is None or out.size.shape == (IMAGES, count)
    assert out.alive is None or out.alive.shape == (IMAGES, count)


def test_sizes_lose_no_patch_in_merging_and_gain_none_in_removal(case: Case) -> None:
    given = with_everything(case.tokens)
    out, start = case.run(given), given.prefix
    if out.size is None:
        return  # the tokens that come out no longer stand for patches
    assert given.size is not None
    before, after = given.size[:, start:].sum(1), out.size[:, start:].sum(1)
    kind = family(ModelSpec(name="any", stages=(Stage(depth=1, dim=DIM, heads=HEADS, sequence=case.part),)))
    if kind == "token removal":
        assert (after <= before).all()
    else:
        torch.testing.assert_close(after, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_keeps_the_precision_it_is_given(case: Case, dtype: torch.dtype) -> None:
    case.sequence.to(dtype)
    case.mixer.to(dtype)
    assert case.run(case.tokens.with_x(case.tokens.x.to(dtype))).x.dtype == dtype


def test_a_copy_with_its_state_does_the_same(case: Case) -> None:
    with torch.no_grad():
        for parameter in case.sequence.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
    copy = make(case.part, case.tokens.prefix)
    copy.load_state_dict(case.sequence.state_dict())
    expected = case.run(case.tokens).x
    case.sequence = copy
    torch.testing.assert_close(case.run(case.tokens).x, expected, rtol=0, atol=0)


# In a model: 64 patches, four blocks, weights large enough that tokens differ and choices with them.


def spec_of(part: Part) -> ModelSpec:
    stage = Stage(depth=4, dim=DIM, heads=HEADS, sequence=part)
    readout = Part("class_token" if 1 in accepted(part) else "mean")
    return ModelSpec(name="tiny", stages=(stage,), image_px=32, patch_px=4, num_classes=5, readout=readout)


def model_of(part: Part) -> Backbone:
    torch.manual_seed(0)
    model = Backbone(spec_of(part)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 5)
    return model


IMAGE_B3HW = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
REDUCING = [part for part in parts() if part.name != "keep_all"]
each_part = pytest.mark.parametrize("part", parts(), ids=str)


@each_part
def test_in_a_model_each_image_fares_as_it_does_alone(part: Part) -> None:
    model = model_of(part)
    alone = torch.cat([model(image[None]) for image in IMAGE_B3HW])
    torch.testing.assert_close(model(IMAGE_B3HW), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("part", REDUCING, ids=str)
def test_in_a_model_it_spares_operators_at_inference(part: Part) -> None:
    plain, reduced = model_of(Part("keep_all")), model_of(part)
    assert count_module(reduced, IMAGE_B3HW).macs < 0.95 * count_module(plain, IMAGE_B3HW).macs


@each_part
def test_in_a_model_macs_are_those_of_its_operators(part: Part) -> None:
    spec = spec_of(part)
    assert count(lambda: Backbone(spec), (1, 3, 32, 32)).macs == Backbone(spec).macs()


@each_part
def test_in_a_model_gradients_reach_every_parameter(part: Part) -> None:
    model = model_of(part).train()
    torch.manual_seed(0)
    (model(IMAGE_B3HW).square().sum() + sum(model.aux.values())).backward()
    missed = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missed == []


@each_part
def test_in_a_model_the_state_is_all_there_is(part: Part) -> None:
    model, copy = model_of(part), Backbone(spec_of(part)).eval()
    copy.load_state_dict(model.state_dict())
    torch.testing.assert_close(copy(IMAGE_B3HW), model(IMAGE_B3HW), rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in MIXERS.names() if MIXERS.fact(name, "hears_alive", False)])
def test_a_mixer_that_minds_the_dead_hears_the_living_alone(name: str) -> None:
    torch.manual_seed(0)
    mixer = MIXERS[name](DIM, HEADS, Layout.of_grid(GRID, 1)).eval()
    x, alive = torch.randn(2, 31, DIM), torch.ones(2, 31)
    alive[:, [3, 7, 30]] = 0
    left = alive[0] > 0.5
    heard = mixer(Tokens(x[:, left], prefix=1))
    for given in (alive, alive.clone().requires_grad_()):
        torch.testing.assert_close(mixer(Tokens(x, prefix=1, alive=given))[:, left], heard)
