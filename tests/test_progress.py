"""What long work says where nobody sees a bar."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from paretovit import progress
from paretovit.progress import Bar


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_file_gets_a_line_a_minute(clock: Clock):
    said = io.StringIO()
    with Bar("training [vit]", console=Console(file=said, width=40)) as bar:
        for done in range(1, 200):
            clock.now += 1
            bar.update(done, 240, "loss 1.5")
    lines = said.getvalue().splitlines()
    assert lines == [
        "training [vit]: 60 of 240, about 3 min left; loss 1.5",
        "training [vit]: 120 of 240, about 2 min left; loss 1.5",
        "training [vit]: 180 of 240, about 1 min left; loss 1.5",
    ]


def test_a_terminal_gets_a_bar_and_no_lines(clock: Clock):
    said = io.StringIO()
    with Bar("measuring", drawn_alone=False, console=Console(file=said, force_terminal=True, width=80)) as bar:
        clock.now += 61
        bar.update(30, 240, "latency")
        assert "measuring" in said.getvalue()
        assert "latency" in said.getvalue()
    assert "min left" not in said.getvalue()
