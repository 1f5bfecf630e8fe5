from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from paretovit.zoo.mixers import _pieces, fourier_learner, performer
from paretovit.zoo.mixers._kernelized import kernelized
from paretovit.zoo.mixers._pieces import by_images
from paretovit.zoo.mixers.fourier_learner import FourierLearner
from paretovit.zoo.mixers.performer import Performer
from paretovit.zoo.tokens import Layout, Tokens

LAYOUT = Layout.of_grid((3, 4), prefix=1)


class Watched:
    """An attention that notes how many images it is given at once."""

    def __init__(self) -> None:
        self.images: list[int] = []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.images.append(len(q))
        return (q @ k.mT).softmax(-1) @ v


@pytest.mark.parametrize(
    ("batch", "at_once", "images"),
    [(7, 100, [7]), (7, 70, [7]), (7, 69, [4, 3]), (7, 30, [3, 3, 1]), (7, 10, [1] * 7), (3, 1, [1] * 3), (1, 1, [1])],
)
def test_images_come_in_even_pieces_that_are_small_enough(
    monkeypatch: pytest.MonkeyPatch, batch: int, at_once: int, images: list[int]
) -> None:
    monkeypatch.setattr(_pieces, "AT_ONCE", at_once)
    torch.manual_seed(0)
    q, k, v = torch.randn(3, batch, 2, 5, 4, dtype=torch.float64)
    whole, in_pieces = Watched(), Watched()
    with torch.no_grad():
        torch.testing.assert_close(by_images(in_pieces, q, k, v, values=10), whole(q, k, v))
    assert in_pieces.images == images


def test_with_gradients_and_for_a_compiler_all_images_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pieces, "AT_ONCE", 1)
    q, k, v = torch.randn(3, 4, 2, 5, 4)
    attend = Watched()
    by_images(attend, q, k, v, values=10)
    with torch.no_grad():
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        by_images(attend, q, k, v, values=10)
    assert attend.images == [4, 4]


@pytest.mark.parametrize(
    ("module", "build"),
    [
        (performer, lambda: Performer(16, 2, LAYOUT)),
        (performer, lambda: Performer(16, 2, LAYOUT, kernel="relu")),
        (fourier_learner, lambda: FourierLearner(16, 2, LAYOUT)),
    ],
    ids=["performer", "relu", "fourier_learner"],
)
def test_a_mixer_says_the_same_in_pieces(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, build: Callable[[], Performer | FourierLearner]
) -> None:
    torch.manual_seed(0)
    mixer = build().double()
    tokens = Tokens(torch.randn(5, 13, 16, dtype=torch.float64), (3, 4), prefix=1)
    images: list[int] = []

    def watched(q: Tensor, *rest: Tensor, **how: float) -> Tensor:
        images.append(len(q))
        return kernelized(q, *rest, **how)

    monkeypatch.setattr(module, "kernelized", watched)
    monkeypatch.setattr(_pieces, "AT_ONCE", 2 * 2 * 13 * mixer.features)  # of two images
    with torch.no_grad():
        in_pieces = mixer(tokens)
    torch.testing.assert_close(in_pieces, mixer(tokens))
    assert images == [2, 2, 1, 5]
