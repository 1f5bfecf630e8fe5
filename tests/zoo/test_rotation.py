from __future__ import annotations

import pytest
import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.folders import MIXERS
from paretovit.zoo.rotation import Rotation, places
from paretovit.zoo.tokens import Layout, Tokens

GRID = Layout.of_grid((2, 3), prefix=1)


def spec(**changes: object) -> ModelSpec:
    stage = Stage(depth=2, dim=32, heads=2, **{k: v for k, v in changes.items() if k in ("mixer", "sequence")})  # type: ignore[arg-type]
    position = changes.get("position", Part("rotary"))
    return ModelSpec(name="m", stages=(stage,), position=position, image_px=8, patch_px=2, num_classes=5)  # type: ignore[arg-type]


def turned(x: Tensor, layout: Layout, **options: object) -> Tensor:
    rotation = Rotation(x.shape[-1], layout, axes=1, base=100.0, **options).double()  # type: ignore[arg-type]
    return rotation(Tokens(x), x)[0]


def test_a_pair_of_channels_is_a_complex_number_turned_by_its_place() -> None:
    x = torch.randn(1, 1, 7, 4, dtype=torch.float64)
    expected = torch.view_as_complex(x.view(1, 1, 7, 2, 2))
    angle = torch.arange(7.0)[:, None] * torch.tensor([1.0, 0.1])  # 100 ** (-0/4) and 100 ** (-2/4)
    expected = torch.view_as_real(expected * torch.polar(torch.ones(7, 2), angle)).flatten(-2)
    torch.testing.assert_close(turned(x, GRID), expected, rtol=1e-5, atol=1e-6)


def test_products_depend_on_the_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64).expand(2, 1, 1, 7, 8)
    logits = (turned(q, GRID) @ turned(k, GRID).mT)[0, 0]
    for distance in range(-6, 7):
        line = logits.diagonal(distance)
        torch.testing.assert_close(line, line[:1].expand_as(line), rtol=1e-5, atol=1e-6)
    assert (logits[0, 1:] - logits[0, 0]).abs().min() > 1e-3


def test_rows_and_columns_each_turn_their_half_of_the_channels() -> None:
    x = torch.ones(1, 1, 7, 8)
    out = Rotation(8, GRID, axes=2, base=100.0)(Tokens(x), x)[0][0, 0]
    torch.testing.assert_close(out[0], x[0, 0, 0])  # the class token lies at 0, 0
    row_0, row_1 = out[1:4], out[4:7]
    torch.testing.assert_close(row_0[:, 4:], row_1[:, 4:])  # the same columns
    torch.testing.assert_close(row_1[:, :4], row_1[:1, :4].expand(3, -1))  # the same row
    assert (row_0[0, :4] - row_1[0, :4]).abs().max() > 0.1


def test_empty_rows_in_front_have_places_on_one_axis() -> None:
    assert places(GRID, 1, front=2).flatten().tolist() == list(range(9))
    assert places(GRID, 2, front=2).tolist() == [[0, 0]] * 3 + [[r, c] for r in range(2) for c in range(3)]


@pytest.mark.parametrize("axes", [1, 2])
def test_tokens_that_moved_are_turned_by_the_places_they_carry(axes: int) -> None:
    x = torch.randn(2, 3, 7, 8)
    fixed = Rotation(8, GRID, axes=axes, base=100.0)
    loose = Rotation(8, GRID.without_grid(6), axes=axes, base=100.0)
    place = places(GRID, axes).float().expand(2, -1, -1)
    torch.testing.assert_close(loose(Tokens(x, place=place), x)[0], fixed(Tokens(x), x)[0])
    kept = torch.tensor([[0, 2, 4]] * 2)
    few = Tokens(torch.zeros(2, 7, 1), place=place, prefix=1).keep(kept - 1 + 1)
    rows = torch.cat((torch.zeros(2, 1, dtype=torch.long), kept + 1), 1)
    wanted = fixed(Tokens(x), x)[0][:, :, rows[0]]
    torch.testing.assert_close(loose(few, x[:, :, rows[0]])[0], wanted)


@pytest.mark.parametrize("name", [n for n in MIXERS.names() if MIXERS.fact(n, "rotates", False)])
@pytest.mark.parametrize("axes", [1, 2])
def test_every_mixer_with_keys_agrees_with_its_reference_and_heeds_the_places(name: str, axes: int) -> None:
    prefix = int(MIXERS.fact(name, "takes_prefix", True))
    layout = Layout.of_grid((6, 5), prefix)
    torch.manual_seed(0)
    for options in ({}, *MIXERS.fact(name, "trials", ())):
        mixer = MIXERS[name](32, 4, layout, **options).double().eval()
        if not mixer.rotates or mixer.head_dim % (2 * axes):
            continue
        for parameter in mixer.parameters():  # a gain that starts at 0 would hide everything
            with torch.no_grad():
                parameter.add_(0.3 * torch.randn_like(parameter))
        tokens = Tokens(torch.randn(2, layout.num_tokens, 32, dtype=torch.float64), layout.grid, prefix)
        with torch.no_grad():
            plain = mixer(tokens)
            mixer.rotation = Rotation(mixer.head_dim, layout, axes=axes, base=100.0, front=mixer.front).double()
            out = mixer(tokens)
            torch.testing.assert_close(out, mixer.reference(tokens), rtol=1e-6, atol=1e-9)
        assert (out - plain).abs().max() > 1e-4, options


@pytest.mark.parametrize(
    "sequence", [Part.of("evit", keep=0.5), Part.of("tome", r=3), Part.of("token_learner", tokens=4)]
)
def test_places_go_on_through_methods_that_move_tokens(sequence: Part) -> None:
    model = build(spec(sequence=Part.of(sequence.name, **dict(sequence.options), blocks=(0,)))).eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, 8, 8)).isfinite().all()


def test_a_model_with_keep_rate_one_is_the_model_without_the_method() -> None:
    torch.manual_seed(0)
    plain = build(spec()).eval()
    kept = build(spec(sequence=Part.of("evit", keep=1.0))).eval()
    kept.load_state_dict(plain.state_dict())
    image = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(kept(image), plain(image))


def test_a_mixer_without_keys_refuses_rotary_positions_and_names_those_that_have_them() -> None:
    with pytest.raises(UserError, match=r"Fnet.*mixers that have: attention"):
        build(spec(mixer=Part("fnet")))


@pytest.mark.parametrize("options", [{"axes": 3}, {"axes": 0}])
def test_other_numbers_of_axes_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match="axes must be 1"):
        build(spec(position=Part.of("rotary", **options)))


def test_a_head_that_does_not_split_into_pairs_is_refused() -> None:
    with pytest.raises(UserError, match="a head of width 6 does not divide by 4"):
        Rotation(6, GRID, axes=2, base=10.0)


def test_names_ask_for_rotary_positions_and_a_convolutional_stem() -> None:
    found = resolve("hybrid_performer_rope_tiny_patch16_224")
    assert (found.stem, found.position) == (Part("conv"), Part.of("rotary", axes=2))
    assert resolve("performer_tiny_patch16_224").position == Part("learned")
    assert build(found, device="meta").macs() > 0
