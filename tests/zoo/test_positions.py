from __future__ import annotations

import math

import torch

from paretovit.zoo.positions.absent import Absent
from paretovit.zoo.positions.learned import Learned
from paretovit.zoo.positions.sin_cos import SinCos
from paretovit.zoo.tokens import Layout

LAYOUT = Layout.of_grid((2, 3), prefix=1)


def test_learned_places_are_added_to_every_token() -> None:
    position = Learned(4, LAYOUT)
    assert position.table.shape == (1, 7, 4)
    torch.testing.assert_close(position(torch.ones(2, 7, 4)) - 1, position.table.expand(2, -1, -1))


def test_learned_places_may_leave_out_the_class_token() -> None:
    position = Learned(4, LAYOUT, prefix=False)
    assert position.table.shape == (1, 6, 4)
    out = position(torch.zeros(2, 7, 4))
    assert not out[:, 0].any()
    torch.testing.assert_close(out[:, 1:], position.table.expand(2, -1, -1))


def test_sines_and_cosines_are_of_the_column_then_of_the_row() -> None:
    out = SinCos(8, LAYOUT)(torch.zeros(1, 7, 8))[0]
    assert not out[0].any()  # the class token
    slow = 10_000**-0.5
    row, column = 1, 2
    expected = [f(at * omega) for at in (column, row) for f in (math.sin, math.cos) for omega in (1, slow)]
    torch.testing.assert_close(out[1 + row * 3 + column], torch.tensor(expected))


def test_absent_adds_nothing() -> None:
    x = torch.randn(1, 7, 4)
    assert Absent(4, LAYOUT)(x) is x
