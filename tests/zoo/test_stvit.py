from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.build import build
from paretovit.zoo.sequences import Turn
from paretovit.zoo.sequences.stvit import Stvit
from paretovit.zoo.tokens import Layout, Tokens

DIM, SIDE = 8, 14
START = Layout.of_grid((SIDE, SIDE))


def turn(index: int, **options: object) -> Stvit:
    torch.manual_seed(0)
    layout = START if index == 0 else Layout.of_grid((6, 6))
    return Stvit(DIM, layout, Turn(index, 2, START), heads=2, **options)  # type: ignore[arg-type]


def image_tokens() -> Tokens:
    x = torch.randn(2, SIDE * SIDE, DIM, generator=torch.Generator().manual_seed(1))
    return Tokens(x, grid=(SIDE, SIDE))


def test_keys_are_the_overlapping_windows_of_the_paper() -> None:
    x = image_tokens().x
    maps = x.mT.unflatten(2, (SIDE, SIDE))
    unfolded = F.unfold(maps, kernel_size=10, stride=4).view(2, DIM, 100, 4).permute(0, 3, 2, 1)
    assert torch.equal(x[:, turn(0).keys], unfolded)


def test_pooled_tokens_are_the_largest_of_the_parts_of_each_window() -> None:
    """With attention that adds nothing but what it pools, tokens come out as windows of 7 pooled to 3 x 3 each."""
    sequence, tokens = turn(0), image_tokens()
    seen = []
    sequence.gather.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    sequence(tokens, None)
    maps = tokens.x.mT.unflatten(2, (SIDE, SIDE))
    expected = [
        F.adaptive_max_pool2d(maps[:, :, r : r + 7, c : c + 7], 3).flatten(2).mT for r in (0, 7) for c in (0, 7)
    ]
    torch.testing.assert_close(seen[0].unflatten(0, (2, 4)), torch.stack(expected, dim=1))


def test_semantic_tokens_lie_on_a_grid_in_the_order_of_their_windows() -> None:
    sequence, tokens = turn(0, layer_scale=0.5), image_tokens()
    made = []
    sequence.gather.register_forward_hook(lambda module, inputs, out: made.append(out.unflatten(0, (2, 4))))
    sequence.spread.register_forward_hook(lambda module, inputs, out: made.append(inputs[0].unflatten(1, (6, 6))))
    out = sequence(tokens, None)
    assert out.grid == (6, 6)
    windows, grid = made
    for window, (r, c) in enumerate([(0, 0), (0, 3), (3, 0), (3, 3)]):
        assert torch.equal(grid[:, r : r + 3, c : c + 3].flatten(1, 2), windows[:, window])


def test_the_tokens_come_back_and_have_heard_the_semantic_ones() -> None:
    make, back, tokens = turn(0), turn(1, layer_scale=0.5), image_tokens()
    made = make(tokens, None)
    out = back(made, None)
    assert (out.grid, out.aside) == ((SIDE, SIDE), None)
    other = back(made.with_x(made.x + 1e3 * torch.randn_like(made.x)), None)
    assert (other.x - out.x).abs().amax((0, 2)).min() > 1e-6


def test_blocks_whose_scale_is_zero_give_the_tokens_back_as_they_were() -> None:
    make, back, tokens = turn(0), turn(1, layer_scale=0.0), image_tokens()
    assert torch.equal(back(make(tokens, None), None).x, tokens.x)


def test_in_a_model_blocks_before_and_behind_see_all_tokens() -> None:
    stages = (
        Stage(depth=1, dim=DIM, heads=2),
        Stage(depth=3, dim=DIM, heads=2, sequence=Part.of("stvit", heads=2)),
        Stage(depth=1, dim=DIM, heads=2),
    )
    spec = ModelSpec(name="any", stages=stages, readout=Part("mean"), image_px=28, patch_px=2, num_classes=3)
    seen: list[int] = []
    model = build(spec)
    for blocks in model.stages:  # type: ignore[union-attr]
        for block in blocks:
            block.mixer.register_forward_hook(lambda module, inputs, out: seen.append(out.shape[1]))
    assert model(torch.randn(2, 3, 28, 28)).shape == (2, 3)
    assert seen == [196, 36, 36, 36, 196]


def test_checkpointing_gives_the_same_gradients() -> None:
    stage = Stage(depth=2, dim=DIM, heads=2, sequence=Part.of("stvit", heads=2, window=3, reach=4))
    spec = ModelSpec(name="any", stages=(stage,), readout=Part("mean"), image_px=12, patch_px=2, num_classes=3)
    torch.manual_seed(0)
    model, image = build(spec).double().train(), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    gradients = []
    for enable in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(enable)  # type: ignore[operator]
        model(image).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    ("start", "count", "options", "message"),
    [
        (START, 1, {}, "at least two blocks"),
        (Layout.of_grid((4, 4), prefix=1), 2, {}, "read-out 'mean'"),
        (Layout(None, 16, 0), 2, {}, "on a grid"),
        (START, 2, {"reach": 3}, "reach at least 7"),
    ],
)
def test_refuses_what_it_cannot_work_on(start: Layout, count: int, options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Stvit(DIM, start, Turn(0, count, start), heads=2, **options)  # type: ignore[arg-type]
