"""The paper's claims on made-up runs of ours."""

from __future__ import annotations

import pytest

from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.papers import claim_sheets, claims
from paretovit.training.rows import HELD_OUT


def runs(model: str, *values: float, patch: int = 4, image: int = 32, **stated) -> list[Measurement]:
    stated = {"data": "hfds/cifar10", "split": "test", "recipe": "vix_honest"} | stated
    name = f"vix_{model}_patch{patch}_{image}"
    return [
        Measurement(
            model=name,
            indicator="top1",
            unit="1",
            value=value,
            conditions=Conditions(spec=name, seed=seed, **stated),
            origin=Origin(how="trained"),
        )
        for seed, value in enumerate(values)
    ]


def found(*rows: list[Measurement]) -> dict[tuple[str, str], str]:
    return {(c.first.model, c.second.model): c.verdict for c in claims([row for some in rows for row in some])}


def test_a_convolutional_stem_is_set_beside_the_linear_one_of_its_kind():
    rows = (runs("hybrid_vit", 0.70, 0.71, 0.72), runs("vit", 0.50, 0.51, 0.52), runs("hybrid_fnet", 0.3, 0.31))
    assert found(*rows) == {("hybrid_vit", "vit"): "holds"}
    assert found(*rows[1:], runs("hybrid_vit", 0.30, 0.31, 0.32)) == {("hybrid_vit", "vit"): "contradicted"}


def test_rotary_positions_are_set_beside_the_learned_ones_of_their_kind():
    assert found(runs("vip_rope", 0.70, 0.71), runs("vip", 0.50, 0.51)) == {("vip_rope", "vip"): "holds"}
    assert found(runs("vip_rope", 0.70), runs("vip", 0.50, 0.51)) == {("vip_rope", "vip"): "open"}


def test_nystrom_attention_stands_against_the_other_linear_ones_and_a_tie_is_no_defeat():
    verdicts = found(runs("vin", 0.50, 0.51, 0.52), runs("vip", 0.501, 0.511, 0.521), runs("vil", 0.8, 0.81, 0.82))
    assert verdicts == {("vin", "vip"): "holds", ("vin", "vil"): "contradicted"}


def test_only_what_was_trained_alike_is_compared():
    hybrid = runs("hybrid_vit", 0.7, 0.71)
    for other in ({"patch": 1}, {"recipe": "vix"}, {"data": "digits"}, {"split": "val"}):
        assert found(hybrid, runs("vit", 0.5, 0.51, **other)) == {}


def test_images_held_out_of_training_count_only_where_the_test_images_were_not_seen():
    held_out = [runs(model, 0.5, 0.51, split=HELD_OUT) for model in ("hybrid_vit", "vit")]
    tested = [runs(model, 0.6, 0.61) for model in ("hybrid_vit", "vit")]
    made = claims([row for some in (*held_out, *tested) for row in some])
    assert [claim.first.values for claim in made] == [(60.0, 61.0)]
    assert len(claims([row for some in held_out for row in some])) == 1


def test_the_papers_own_numbers_stand_beside_and_only_for_its_data():
    rows = [*runs("vil_rope", 0.5, 0.51), *runs("vil", 0.5, 0.51)]
    (claim,) = claims(rows)
    assert (claim.first.printed, claim.second.printed) == (55.88, 57.45)
    assert claim.printed_bears_out is False
    (claim,) = claims([*runs("vil_rope", 0.5, data="digits"), *runs("vil", 0.5, data="digits")])
    assert (claim.first.printed, claim.second.printed) == (None, None)


def test_a_model_of_another_paper_or_without_its_twin_is_no_claim():
    assert claims(runs("vit", 0.5, 0.51)) == []
    assert claims([]) == []


def test_an_unknown_paper_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="hybrid-xformers"):
        claims([], "hybrid-xformer")


def test_the_sheets_show_means_differences_verdicts_and_what_is_printed_within_100_columns():
    rows = [row for model, by in (("hybrid_vit", 0.2), ("vit", 0.0), ("vil_rope", 0.1), ("vil", 0.0))
            for row in runs(model, 0.50 + by, 0.51 + by, 0.52 + by)]  # fmt: skip
    first, second = claim_sheets(claims(rows))
    assert first.title == "hybrid-xformers: A convolutional stem is better than a linear embedding of patches"
    # Student's reach of three runs of deviation 1 is 2.48, Welch's 2.27
    sides = ["71.0 ±2.5 ≤72.0", "51.0 ±2.5 ≤52.0"]
    assert first.lines == [["hybrid_vit", "vit", *sides, "3", "+20.0 ±2.3", "holds", "73.9, 56.8"]]
    assert first.notes == "On hfds/cifar10, test, 32 px in patches of 4; vix_honest"
    assert second.lines[0][-1] == "55.9, 57.5 !"
    assert max(map(len, second.notes.splitlines())) <= 100
