from __future__ import annotations

import json

import pytest

from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.favor import answer_heading, answer_lines, answer_reasons, favor, wanted
from paretovit.report.pick import Condition
from paretovit.store import Store
from paretovit.zoo.catalog import timm_spec

# accuracy on 10,000 images, so an interval of about 0.8 points to each side, and latency in ms, ±1%
MODELS = {
    "best": (0.86, 40.0),
    "good": (0.84, 19.0),
    "less": (0.835, 19.8),
    "fast": (0.80, 8.0),
    "weak": (0.70, 7.0),
    "over": (0.85, 22.0),
}


def row(model: str, indicator: str, value: float | None, *, timing=None, why="", spec="", **conditions) -> Measurement:
    return Measurement(
        model=model,
        indicator=indicator,
        unit="s" if indicator == "latency_s" else "1",
        value=value,
        samples=() if value is None else (value,) * 3,
        conditions=Conditions(spec=spec or model, **conditions),
        origin=Origin(how="measured", timing=timing or {}),
        why=why,
    )


def accuracy(model: str, value: float, **more) -> Measurement:
    return row(model, "top1", value, timing={"interval_95": [value - 0.008, value + 0.008]}, data="pets", **more)


def latency(model: str, ms: float, device: str = "Abacus", **more) -> Measurement:
    return row(model, "latency_s", ms / 1e3, timing={"rounds": 3, **more}, device=device)


@pytest.fixture
def store():
    with Store("sqlite://") as opened:
        for name, (top1, ms) in MODELS.items():
            opened.append([accuracy(name, top1), latency(name, ms)])
        yield opened


def asked(store: Store, *, at_most=(), at_least=(), **more):
    return favor(store, wanted(at_most, at_least), **more)


def labels(answer, positions) -> list[str]:
    return [answer.sheet.labels[at] for at in positions]


def text(answer) -> str:
    return " ".join(" ".join([answer_heading(answer), *answer_reasons(answer)]).split())


def test_ranks_the_optimal_ones_of_those_that_keep_the_bounds(store):
    answer = asked(store, at_most=["latency_s=20ms"], at_least=["top1=80%"])
    assert labels(answer, answer.choice.ranked) == ["good", "fast"]
    assert labels(answer, answer.choice.tied) == ["less"]
    assert "Of 6 models 3 keep latency ≤ 20.0 ms and top-1 accuracy ≥ 80.00%; 2 of them are Pareto-optimal" in text(
        answer
    )


def test_says_whom_each_bound_excludes_and_how_near_the_nearest_are(store):
    said = text(asked(store, at_most=["latency_s=20ms"], at_least=["top1=80%"]))
    assert "Latency ≤ 20.0 ms excludes 2 models, 2 of them by itself; nearest: over (22.0 ±0.2, 10% beyond)" in said
    assert "Top-1 accuracy ≥ 80.00% excludes 1 model, 1 of them by itself; nearest: weak (70.00 ±0.80" in said


def test_says_what_the_next_trade_costs(store):
    answer = asked(store, at_most=["latency_s=20ms"])
    # over is no better than good beyond the noise: 0.85 and 0.84, ±0.008 each
    assert labels(answer, [answer.trade.to]) == ["best"]
    assert "The next trade: 100% beyond the bounds is best, against the first +2.0 points top-1 accuracy" in text(
        answer
    )
    assert "+111% latency" in text(answer)


def test_a_bound_within_the_interval_is_kept_within_the_noise_and_marked(store):
    answer = asked(store, at_most=["latency_s=19.1ms"], at_least=["top1=80%"])
    lines, heads = answer_lines(answer)
    assert heads[0] == "model"
    assert [line[:4] for line in lines] == [
        ["good", "84.00 ±0.80", "", "19.0 ±0.2 ?"],
        ["fast", "80.00 ±0.80 ?", "−4.0 points", "8.00 ±0.08"],
    ]
    assert lines[1][4] == "−58%"
    assert "? the bound lies within the interval" in text(answer)


def test_names_the_nearest_where_nobody_keeps_the_bounds(store):
    answer = asked(store, at_most=["latency_s=5ms"])
    assert "none keeps latency ≤ 5.00 ms" in text(answer)
    assert "The nearest is weak, 40% beyond the bounds." in text(answer)


def test_an_accuracy_ranks_even_if_no_bound_names_it_and_a_cost_counts_where_none_is_named(store):
    for bounds in ({"at_most": ["latency_s=1s"]}, {"at_least": ["top1=0.1"]}):
        answer = asked(store, **bounds)
        assert [h.column.indicator for h in answer.columns] == ["top1", "latency_s"]
        assert labels(answer, answer.choice.ranked)[0] == "best"


def test_what_was_taken_on_a_busy_machine_or_is_missing_claims_nothing_and_is_left_out(store):
    store.append([accuracy("busy", 0.99), latency("busy", 1.0, contended=True), accuracy("half", 0.99)])
    answer = asked(store, at_most=["latency_s=20ms"])
    assert not {"busy", "half"} & set(labels(answer, answer.choice.ranked))
    assert answer.to_json()["unknown"] == ["busy", "half"]
    assert "Left out: 2 models without a number" in text(answer)


def test_mixed_conditions_are_refused_until_one_is_chosen(store):
    store.append([latency("best", 1.0, device="Cray")])
    with pytest.raises(UserError, match=r"must not mix: device \(Abacus, Cray\)"):
        asked(store, at_most=["latency_s=20ms"])
    answer = asked(store, at_most=["latency_s=20ms"], where=[Condition("device", "cray")])
    assert labels(answer, answer.choice.ranked) == ["best"]


def test_weights_have_the_costs_of_their_network():
    network, weights = timm_spec("resnet50", image_px=224), timm_spec("resnet50.a1_in1k", image_px=224)
    with Store("sqlite://") as store:
        store.append(
            [
                accuracy(weights.name, 0.8, spec=weights.key, source="a table"),
                row("resnet50", "latency_s", 0.01, timing={"rounds": 3}, spec=network.key, device="Abacus"),
            ],
            [network, weights],
        )
        answer = asked(store, at_most=["latency_s=20ms"])
        assert labels(answer, answer.choice.ranked) == ["resnet50.a1_in1k"]


def test_the_json_holds_the_whole_answer(store):
    answer = asked(store, at_most=["latency_s=20ms"], at_least=["top1=80%"])
    content = json.loads(json.dumps(answer.to_json()))
    assert [bound["excludes"] for bound in content["bounds"]] == [2, 1]
    assert content["bounds"][0]["max"] == 0.02
    assert content["ranked"][1]["values"] == {"top1": 0.8, "latency_s": 0.008}
    assert content["ranked"][1]["bounds"] == ["holds", "within noise"]
    assert content["next_trade"]["model"] == "best"


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({}, "say at least one bound"),
        ({"at_most": ["latency_s"]}, "is no bound; write it like --max latency_s=20ms"),
        ({"at_most": ["latency=20ms"]}, "did you mean latency_s"),
        ({"at_most": ["latency_s=20GB"]}, "has the unit 'GB'"),
        ({"at_least": ["top1=80"]}, "write top1=80% or 0.8"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(store, bounds, said):
    with pytest.raises(UserError, match=said):
        asked(store, **bounds)
