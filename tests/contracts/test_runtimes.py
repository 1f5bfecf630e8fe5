"""What every file in cost/runtimes promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paretovit.cost.folders import RUNTIMES
from paretovit.cost.runtimes import Runtime


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, image):
        tokens = self.norm(self.conv(image).flatten(2).mT)
        attended = torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.head(attended.mean(1))


@pytest.fixture(params=RUNTIMES.names())
def runtime(request) -> type[Runtime]:
    runtime = RUNTIMES[request.param]
    if runtime.missing():
        pytest.skip(runtime.missing())
    return runtime


@pytest.fixture
def batch():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_says_in_one_line_what_is_missing_or_nothing():
    for name in RUNTIMES.names():
        said = RUNTIMES[name].missing()
        assert isinstance(said, str)
        assert "\n" not in said


def test_gives_the_output_of_the_model_itself(runtime, batch):
    model = Model().eval()
    with torch.no_grad():
        expected = model(batch)
    session = runtime().prepare(model, batch)
    torch.testing.assert_close(torch.as_tensor(session()), expected, rtol=1e-4, atol=1e-4)


def test_a_training_step_changes_every_weight(runtime, batch):
    if not runtime.trains:
        pytest.skip("it does not train")
    model = Model()
    before = {name: value.clone() for name, value in model.named_parameters()}
    runtime().prepare_training(model, batch)()
    assert all(not torch.equal(before[name], value) for name, value in model.named_parameters())


def test_training_peaks_above_inference_and_inference_above_its_weights(runtime, batch):
    model = Model()
    weights = sum(4 * p.numel() for p in model.parameters())
    inference = runtime().prepare(model, batch).peak_bytes()
    assert weights + batch.nbytes < inference
    if runtime.trains:
        assert runtime().prepare_training(model, batch).peak_bytes() > max(inference, 4 * weights)
