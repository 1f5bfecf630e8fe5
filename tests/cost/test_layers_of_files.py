"""Which layers the operators of a file belong to that a converter has rearranged."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from paretovit.cost.folders import RUNTIMES
from paretovit.cost.groups import layer_of_scopes, spread_layers
from paretovit.cost.profile import count_parts, profile
from paretovit.zoo.catalog import resolve

TELLING = ("onnxruntime", "openvino")


@pytest.fixture(params=TELLING)
def runtime(request) -> str:
    if missing := RUNTIMES[request.param].missing():
        pytest.skip(missing)
    return request.param


def test_what_a_converter_puts_in_between_belongs_to_what_it_takes_from():
    own = {"reorder": None, "conv": "stem", "back": None, "cast": None, "norm": "norm1", "alone": None}
    takes_from = {"reorder": ["image"], "conv": ["reorder"], "back": ["conv"], "cast": ["back"], "norm": ["cast"]}
    assert spread_layers(own, takes_from | {"alone": []}) == {
        "reorder": "stem", "conv": "stem", "back": "stem", "cast": "stem", "norm": "norm1", "alone": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("modules", "layer"),
    [
        (["", "stages.0.3", "stages.0.3.mixer", "stages.0.3.mixer.qkv"], "stages.0.3.mixer"),
        (["", "stages.0.0@2", "stages.0.0@2.mlp"], "stages.0.0"),
        (["", "stages.0.0", "stages.0.0.mlp@1"], "stages.0.0.mlp"),
        ([""], ""),
    ],
)
def test_the_innermost_module_says_the_layer_however_often_it_is_called(modules, layer):
    assert layer_of_scopes(modules) == layer


@pytest.mark.parametrize("model", ["vit_pico_patch4_32", "universal_pico_patch4_32"])
def test_every_layer_with_products_takes_time(runtime, model):
    spec = resolve(model)
    rows = [row for row in profile([spec], runtime=runtime, threads=1, calls=2) if row.indicator == "time_share"]
    by_layer = [row for row in rows if not row.conditions.part.startswith("group ")]
    shares = {row.conditions.part.removeprefix("layer").strip(): row for row in by_layer}
    working = {layer for (_, layer), (macs, _) in count_parts(spec).items() if macs}
    assert working <= set(shares)
    assert all(shares[layer].value > 0 for layer in working)
    for call in range(2):
        assert sum(row.samples[call] for row in shares.values()) == pytest.approx(1)


class Two(nn.Module):
    """A block of large products, and one that hardly works."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Sequential(nn.Linear(64, 2048), nn.GELU(), nn.Linear(2048, 64))
        self.small = nn.Linear(64, 8)
        self.norm = nn.LayerNorm(64)

    def forward(self, image: Tensor) -> Tensor:
        tokens = image.flatten(1, 2)
        return self.small(self.norm(tokens + self.large(tokens))).mean(1)


def test_time_goes_to_the_layer_that_takes_it(runtime):
    torch.manual_seed(0)
    session = RUNTIMES[runtime]().prepare(Two().eval(), torch.randn(1, 8, 32, 64))
    session()
    best: dict[int, tuple[str | None, float]] = {}  # of every operator its fastest time: others use the machine, too
    for _ in range(5):
        for at, op in enumerate(session.profile()):
            layer, seconds = best.get(at, (op.layer, op.seconds))
            best[at] = layer, min(seconds, op.seconds)
    took = Counter()
    for layer, seconds in best.values():
        took[layer] += seconds
    assert None not in took
    assert took["large.0"] + took["large.2"] > 5 * took["small"]
