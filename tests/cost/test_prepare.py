"""Sessions as a user makes them."""

from __future__ import annotations

import pytest
import torch

from paretovit import prepare, resolve
from paretovit.errors import Unmeasurable, UserError


def test_a_session_gives_the_logits_of_a_batch():
    session = prepare(resolve("vit_pico_patch4_8", num_classes=7), batch_size=3, threads=1)
    assert session().shape == (3, 7)


def test_a_session_runs_in_the_data_type_asked_for():
    assert prepare("vit_pico_patch4_8", dtype="bfloat16", threads=1)().dtype == torch.bfloat16


def test_an_unknown_runtime_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean torch_eager"):
        prepare("vit_pico_patch4_8", runtime="torch_egaer")


def test_a_runtime_that_cannot_train_says_so(monkeypatch):
    monkeypatch.setattr("paretovit.cost.runtimes.torch_eager.TorchEager.trains", False)
    with pytest.raises(Unmeasurable, match="does not train"):
        prepare("vit_pico_patch4_8", training=True, threads=1)
