"""Warm-up, repeats and the search for the best batch size, on a scripted clock."""

from __future__ import annotations

import pytest
import torch

from paretovit.cost.runtimes import Session
from paretovit.cost.subject import Setting, Subject
from paretovit.errors import Unmeasurable
from paretovit.zoo.catalog import resolve


class Scripted(Session):
    """Each call takes the next of `seconds`; the last one goes on for ever."""

    def __init__(self, now: list[float], seconds: list[float]) -> None:
        self.now, self.seconds = now, seconds

    def __call__(self) -> None:
        self.now[0] += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]

    def synchronize(self) -> None: ...

    def peak_bytes(self) -> int:
        return 0


def subject_of(monkeypatch, session_for, **setting) -> Subject:
    now = [0.0]
    subject = Subject(resolve("vit_pico_patch2_8"), Setting(**setting), clock=lambda: now[0])
    made = {}

    def session(batch_size, *, training=False):
        if batch_size not in made:
            seconds = session_for(batch_size)
            made[batch_size] = Scripted(now, seconds)
        return made[batch_size]

    monkeypatch.setattr(subject, "session", session)
    return subject


def test_warm_up_calls_are_not_samples(monkeypatch):
    subject = subject_of(monkeypatch, lambda batch: [9.0, 5.0, 1.0, 0.5, 0.5, 0.5, 0.5], visit_s=2.0)
    subject.repeats = subject.warm_up(1, most_s=60.0)
    assert subject.repeats == 4  # visits of 2 s, calls of 0.5 s
    assert subject.seconds(1) == pytest.approx([0.5] * 4)


def test_warm_up_goes_on_until_calls_are_steady(monkeypatch):
    unsteady = [1.0, 0.8, 1.0, 0.8, 1.0, 0.8, 1.0, 0.8, 1.0]
    subject = subject_of(monkeypatch, lambda batch: [9.0, *unsteady, 0.5, 0.5, 0.5, 0.1], visit_s=2.0)
    subject.repeats = subject.warm_up(1, most_s=60.0)
    assert subject.seconds(1) == pytest.approx([0.1] * 4), "the three calls of 0.5 s in a row end the warm-up"


def test_warm_up_ends_on_a_machine_that_never_steadies(monkeypatch):
    subject = subject_of(monkeypatch, lambda batch: [1.0, 0.5] * 100)
    subject.warm_up(1, most_s=10.0)
    assert subject.clock() < 13.0


@pytest.mark.parametrize(("call_s", "repeats"), [(1e-6, 100), (100.0, 3)])
def test_a_visit_has_three_to_a_hundred_calls(monkeypatch, call_s, repeats):
    subject = subject_of(monkeypatch, lambda batch: [call_s])
    assert subject.warm_up(1, least_s=1e-5, most_s=1e9) == repeats


def test_the_best_batch_size_is_where_most_images_are_done(monkeypatch):
    # images per second: 10, 20, 40, 32, 16
    seconds = {1: 0.1, 2: 0.1, 4: 0.1, 8: 0.25, 16: 1.0}
    subject = subject_of(monkeypatch, lambda batch: [seconds[batch]])
    best, curve = subject.find_best_batch_size()
    assert best == subject.best_batch_size == 4
    assert [size for size, _ in curve] == [1, 2, 4, 8, 16], "two sizes in a row must be worse before it ends"
    assert [rate for _, rate in curve] == pytest.approx([10, 20, 40, 32, 16])


def test_the_search_ends_at_the_largest_batch_asked_for(monkeypatch):
    subject = subject_of(monkeypatch, lambda batch: [0.1], max_batch=8)
    assert subject.find_best_batch_size()[0] == 8


def test_the_search_ends_where_memory_ends(monkeypatch):
    def session(batch):
        if batch > 2:
            raise torch.OutOfMemoryError("no more")
        return [0.1]

    assert subject_of(monkeypatch, session).find_best_batch_size()[0] == 2


def test_a_model_too_large_for_one_image_has_no_throughput(monkeypatch):
    def session(batch):
        raise MemoryError

    with pytest.raises(Unmeasurable, match="not even one image"):
        subject_of(monkeypatch, session).find_best_batch_size()


def test_calls_before_a_visit_are_not_samples(monkeypatch):
    subject = subject_of(monkeypatch, lambda batch: [9.0, 0.5])
    subject.repeats = 2
    subject.wake(1)
    assert subject.seconds(1) == pytest.approx([0.5, 0.5])


def test_a_first_call_which_may_compile_is_no_warm_up(monkeypatch):
    subject = subject_of(monkeypatch, lambda batch: [9.0, 1.0], visit_s=3.0)
    subject.repeats = subject.warm_up(1, most_s=60.0)
    assert subject.called_s == pytest.approx(5.0)
    subject.seconds(1)
    assert subject.called_s == pytest.approx(8.0)


def test_a_disturbed_first_look_does_not_decide_the_best_batch_size(monkeypatch):
    # batch 4 is disturbed when it is first looked at (22 images per second against 24), and is the better of the two
    looks = {1: [0.1], 2: [2 / 24], 4: [4 / 22] * 4 + [4 / 26], 8: [8.0], 16: [16.0]}
    subject = subject_of(monkeypatch, lambda batch: list(looks[batch]))
    assert subject.find_best_batch_size()[0] == 4
