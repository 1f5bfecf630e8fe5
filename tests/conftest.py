"""What several tests share."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch

from paretovit.measurement import Conditions, Measurement, Origin, median
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.store import Store

ROUNDS, REPEATS = 15, 3


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Twelve made-up models by twelve indicators, timed ones in rounds with a drifting anchor, and a breakdown of each.
    `switch_mini` has no training peak and says why; `fnet_mini` was timed on a busy machine. All tests share it: read
    only."""
    with Store(tmp_path_factory.mktemp("store") / "sample.sqlite") as store:
        specs = _specs()
        store.append([row for spec in specs for row in _rows(spec)], specs)
        yield store


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _specs() -> list[ModelSpec]:
    changed = {
        "vit_mini": {},
        "vit_double": {"depth": 8},
        "nystromformer_mini": {"mixer": Part("nystromformer")},
        "shifted_window_mini": {"mixer": Part("shifted_window")},
        "synthesizer_random_mini": {"mixer": Part("synthesizer_random")},
        "performer_mini": {"mixer": Part("performer")},
        "conv_attention_mini": {"mixer": Part("conv_attention")},
        "fnet_mini": {"mixer": Part("fnet")},
        "evit_mini": {"sequence": Part("evit")},
        "tome_mini": {"sequence": Part("tome")},
        "token_learner_mini": {"sequence": Part("token_learner")},
        "switch_mini": {"mlp": Part("switch")},
    }
    plain = {"depth": 4, "dim": 64, "heads": 2}
    return [
        ModelSpec(name=name, stages=(Stage(**(plain | slots)),), image_px=8, patch_px=1, num_classes=10)
        for name, slots in changed.items()
    ]


def _rows(spec: ModelSpec) -> list[Measurement]:
    chance = random.Random(spec.name)
    weight = chance.uniform(0.5, 2.0)
    device = {"device": "Abacus 9000, 2 cores", "dtype": "float32", "runtime": "torch_eager", "threads": 2}
    taught = {"data": "digits", "split": "val", "recipe": "demo", "seed": 0}
    contended = spec.name == "fnet_mini"

    def row(indicator: str, unit: str, samples: list[float], timing: dict | None = None, why: str = "", **conditions):
        how = {"params": "counted", "macs": "counted", "top1": "trained"}.get(indicator, "measured")
        return Measurement(
            model=spec.name,
            indicator=indicator,
            unit=unit,
            value=None if why else median(samples),
            samples=() if why else tuple(samples),
            conditions=Conditions(spec=spec.key, **conditions),
            origin=Origin(
                how=how,
                time="2025-11-21T10:00:00+00:00",
                commit="0123abc",
                versions={"python": "3.11.7", "torch": "2.14.1"},
                machine={"processor": "Abacus 9000", "cores": 2},
                timing=timing or {},
            ),
            why=why,
        )

    def timed(indicator: str, unit: str, value: float, batch_size: int | str, **facts):
        drift = [1 + 0.05 * chance.random() for _ in range(ROUNDS)]
        samples = [value * d * chance.gauss(1, 0.01) for d in drift for _ in range(REPEATS)]
        timing = {"rounds": ROUNDS, "anchor_rounds": drift, "contended": contended, **facts}
        return row(indicator, unit, samples, timing, batch_size=batch_size, **device)

    latency = 0.004 * weight * chance.uniform(0.7, 1.5)
    fastest = 2.5 / latency
    curve = [[b, fastest * (1 - 0.6 / b) * (0.9 if b > 16 else 1)] for b in (1, 2, 4, 8, 16, 32)]
    top1 = 0.90 + 0.08 * chance.random() * weight / 2
    learning = {
        "curve": [[epoch, top1 * (1 - 0.5**epoch)] for epoch in (1, 2, 3)],
        "spent": {"images_seen": [1437, 2874, 4311], "train_time_s": [13 * weight, 27 * weight, 40 * weight]},
    }
    oversize = "ran out of memory at batch 32" if spec.name == "switch_mini" else ""
    return [
        row("params", "1", [round(2e5 * weight * chance.uniform(0.8, 1.2))]),
        row("macs", "1", [round(1.3e7 * weight)]),
        row("activations", "1", [round(4e5 * weight * chance.uniform(0.8, 1.2))]),
        row("bytes_moved", "B", [round(6e6 * weight * chance.uniform(0.8, 1.2))]),
        timed("latency_s", "s", latency, 1),
        timed("images_per_s", "1/s", fastest, "best", curve=curve, best_batch_size=16),
        timed("train_step_s", "s", 12 * latency, 32),
        row("peak_bytes_infer", "B", [round(3e6 * weight)], batch_size=32, **device),
        row("peak_bytes_train", "B", [round(4e7 * weight)], why=oversize, batch_size=32, **device),
        row("top1", "1", [top1], {"images": 360, "interval_95": [top1 - 0.011, top1 + 0.009], **learning}, **taught),
        row("top5", "1", [0.99 + 0.01 * chance.random()], {"images": 360}, **taught),
        row("train_time_s", "s", [40 * weight], batch_size=32, **(taught | {"split": "train"}), **device),
        *(row("time_share", "1", [s], part=f"group {g}", batch_size=1, **device) for g, s in _SHARES["time"].items()),
        *(row("macs_share", "1", [s], part=f"group {g}") for g, s in _SHARES["macs"].items()),
        *(row("train_time_share", "1", [s], part=p, batch_size=32, **device) for p, s in _SHARES["training"].items()),
    ]


_SHARES = {
    "time": {"linear": 0.6, "norm": 0.1, "element-wise": 0.3},
    "macs": {"linear": 0.9, "fused attention": 0.1},
    "training": {
        "forward linear": 0.2,
        "forward outside operators": 0.1,
        "backward linear": 0.4,
        "backward norm": 0.1,
        "optimizer element-wise": 0.1,
        "other outside operators": 0.1,
        "layer norm": 0.8,
        "layer (no layer)": 0.2,
    },
}
