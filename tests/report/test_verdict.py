from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report.headings import sheet_of
from paretovit.report.verdict import listed, verdict
from paretovit.store import arrange


def row(model, indicator, value, timing=None) -> Measurement:
    device = "Abacus" if indicator == "latency_s" else None
    rounds = {"rounds": 3} if indicator == "latency_s" else {}
    return Measurement(
        model=model,
        indicator=indicator,
        unit="s" if indicator == "latency_s" else "1",
        value=value,
        samples=(value,) * 3,
        conditions=Conditions(spec=model, device=device),
        origin=Origin(how="measured", timing=rounds | (timing or {})),
    )


def said(*models) -> str:
    rows = []
    for name, latency, top1, *timing in models:
        rows += [row(name, "latency_s", latency, *timing), row(name, "top1", top1)]
    return verdict(sheet_of(arrange(rows)))


def test_names_the_front_from_the_fastest_to_the_most_accurate():
    sentence = said(("slow", 3.0, 0.95), ("fast", 1.0, 0.90), ("poor", 2.0, 0.80))
    assert sentence.startswith("On Abacus, 2 of 3 models are Pareto-optimal for top-1 accuracy")
    assert sentence.endswith("latency: fast and slow.")


def test_says_who_cannot_be_told_apart_from_the_front():
    assert said(("fast", 1.0, 0.90), ("near", 1.005, 0.90)).endswith(
        ": fast; near cannot be told apart from them within the noise."
    )


def test_a_model_timed_on_a_busy_machine_is_not_named_as_optimal():
    sentence = said(("fast", 1.0, 0.99, {"contended": True}), ("calm", 2.0, 0.90))
    assert "1 of 2 models is Pareto-optimal" in sentence
    assert ": calm; fast cannot be told apart" in sentence


def test_where_all_were_timed_on_a_busy_machine_says_to_measure_again():
    busy = {"contended": True}
    assert said(("a", 1.0, 0.9, busy), ("b", 2.0, 0.95, busy)).endswith("claims nothing: measure again.")


def test_without_an_accuracy_says_what_to_do():
    assert "none with an accuracy yet" in verdict(sheet_of(arrange([row("a", "latency_s", 1.0)])))


def test_without_a_cost_says_what_to_do():
    assert "none with a cost yet" in verdict(sheet_of(arrange([row("a", "top1", 0.5)])))


def test_without_a_model_that_has_both_says_so():
    rows = [row("a", "top1", 0.5), row("b", "latency_s", 1.0), row("c", "latency_s", 2.0)]
    assert verdict(sheet_of(arrange(rows))).startswith("No model has both")


def test_lists_read_like_sentences():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefghij")) == "a, b, c, d, e, f, g, h and 2 more"
