"""The thesis's claims on replaced layers, on rows made up such that each verdict is known.

Parents of three seeds differ by 10 points, so only what is compared seed by seed can be told.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretovit import cli
from paretovit.analysis.claims import Claim
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.optimize.distil import Distil
from paretovit.optimize.replacement import Plan
from paretovit.papers import claims, claims_page
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.store import Store
from paretovit.training.replacing import cut_name, told

PAPER, PARENT = "vit-optimization-strategies", "vit_6x64_patch4_32"
RECIPE, AUGMENTED = "demo, epochs=5", "demo, epochs=5, dropout=0.1, mixup=0.2"
HOW = "demo, epochs=5, from demo, epochs=10 at 32 px"
PARENTS = (60.0, 70.0, 80.0)  # in percent, one for each seed
NOISE, MORE, MOST = ((-x, 0.0, x) for x in (0.2, 0.4, 3.0))  # of 0.2 the 95% interval is 0.5 to each side


def row(
    model: str, recipe: str, seed: int, percent: float, split: str = "test", loss: float | None = None
) -> Measurement:
    return Measurement(
        model=model,
        indicator="top1",
        unit="1",
        value=percent / 100,
        conditions=Conditions(spec=model, data="cifar10", split=split, recipe=recipe, seed=seed),
        origin=Origin(how="trained", timing={} if loss is None else {"distillation_loss": loss}),
    )


def label(seed: int) -> str:
    return f"{HOW} (0000000{seed})"


def child(
    plan: Plan,
    by: float,
    distil: Distil | None = None,
    recipe: str = RECIPE,
    loss: float = 0.01,
    noise: tuple[float, ...] = NOISE,
) -> list[Measurement]:
    """Rows of three seeds, `by` above their parents."""
    made = []
    for seed, parent in enumerate(PARENTS):
        begun = told(PARENT, label(seed), f"abcdef0{seed}", str(plan), str(distil or Distil()))
        percent = parent + by + noise[seed]
        made.append(row(f"{PARENT}_child", f"{recipe}, from {begun}", seed, percent, loss=loss))
    return made


def whole(model: str = PARENT, by: float = 0.0) -> list[Measurement]:
    return [row(model, label(seed), seed, parent + by) for seed, parent in enumerate(PARENTS)]


def at(layers: tuple[int, int], mixer: str, **options: Any) -> Plan:
    return Plan(layers=(layers,), mixer=Part(mixer), **options)


EARLY, LATE, END = (0, 1), (3, 4), (4, 5)
SELF = at((3, 3), "attention", class_tokens="among")
ROWS = [
    *whole(),
    *child(at(EARLY, "focal"), -8),
    *child(at(EARLY, "pooling"), -4.9),
    *child(at(EARLY, "identity"), -8),
    *child(at(LATE, "focal"), 0),
    *child(at(LATE, "pooling"), -0.5),
    *child(at(LATE, "identity"), -6),
    *child(at(LATE, "focal"), -3, Distil(loss="mse")),
    *child(at(LATE, "focal"), 0.2, Distil(loss="ce"), noise=MORE),
    *child(at(LATE, "focal"), -4, Distil(loss="mmd")),
    *child(at(LATE, "focal"), -4, Distil(alpha=1.0), loss=0.001),
    *child(at(LATE, "pooling"), -60, Distil(alpha=1.0), loss=0.001),
    *child(at(LATE, "focal"), 0.5, Distil(alpha=0.0), loss=0.05),
    *child(at(LATE, "pooling"), -9, Distil(alpha=0.0), loss=0.001),
    *child(at(LATE, "focal", class_tokens="mixed"), -2),
    *child(at(END, "focal", class_tokens="mixed"), -3),
    *whole(cut_name(PARENT, *END), -20),
    *child(at(LATE, "focal", embed=True), 1.5),
    *child(at(EARLY, "focal", embed=True), -8.2, noise=MOST),
    *child(at(LATE, "focal"), -2.5, recipe=AUGMENTED),
    *child(SELF, -30, Distil(alpha=1.0, loss="mse", random=1.0)),
    *child(SELF, -7, Distil(alpha=1.0, loss="mse", random=1.0, start=0.5)),
    *child(SELF, 0, Distil(alpha=1.0, loss="mse", random=1.0, start=1.0)),
]  # fmt: skip


@pytest.fixture(scope="module")
def made() -> dict[tuple[str, str, str], Claim]:
    found = claims(ROWS, PAPER)
    assert {claim.where for claim in found} == {f"cifar10, test; {PARENT}: {HOW}; its children: {RECIPE}"}
    by_pair = {(claim.says.split(" (")[0], claim.first.model, claim.second.model): claim for claim in found}
    assert len(by_pair) == len(found)
    assert all(claim.paired and len(claim.first.values) == 3 for claim in found)
    return by_pair


def said(made: dict[tuple[str, str, str], Claim], begins: str) -> dict[tuple[str, str], str]:
    return {(first, second): claim.said for (says, first, second), claim in made.items() if says.startswith(begins)}


def test_late_layers_are_set_beside_early_ones_of_the_same_mixer(made):
    assert said(made, "Replacing early") == {
        ("focal 3-4", "focal 0-1"): "holds",
        ("pooling 3-4", "pooling 0-1"): "holds",
        ("identity 3-4", "identity 0-1"): "holds",
    } | {("focal 3-4 behind a convolution", "focal 0-1 behind a convolution"): "holds"}


def test_each_mixer_is_set_beside_the_mean_of_all_and_identity_beside_that_of_the_others(made):
    alike = said(made, "Mixers differ little")
    assert alike["pooling 0-1", "mean of 3 mixers 0-1"] == "contradicted"  # 2.07 above
    assert alike["focal 0-1", "mean of 3 mixers 0-1"] == "holds"
    assert alike["pooling 3-4", "mean of 3 mixers 3-4"] == "holds"  # 1.67 above
    assert alike["identity 3-4", "mean of 3 mixers 3-4"] == "contradicted"
    assert len(alike) == 6
    strong = said(made, "Identity")
    assert strong == {
        ("identity 0-1", "mean of 2 others 0-1"): "holds",  # 1.55 below
        ("identity 3-4", "mean of 2 others 3-4"): "contradicted",
    }


def test_losses_are_compared_as_the_thesis_orders_them(made):
    assert said(made, "Distilling by cross-entropy or MMD is better") == {
        ("focal 3-4, ce", "focal 3-4, mse"): "holds",
        ("focal 3-4, mmd", "focal 3-4, mse"): "contradicted",
    }
    assert said(made, "Distilling by cross-entropy or MMD is no worse") == {
        ("focal 3-4, ce", "focal 3-4, mean_mse"): "holds (tie)",
        ("focal 3-4, mmd", "focal 3-4, mean_mse"): "contradicted",
    }
    assert said(made, "Distilling by MeanMSE") == {("focal 3-4, mean_mse", "focal 3-4, mse"): "holds"}


def test_distillation_alone_and_labels_alone_are_set_beside_both(made):
    assert set(said(made, "Distillation alone is worse").values()) == {"holds"}
    half = f"half of {PARENT}"
    assert said(made, "Distillation alone leaves") == {
        (half, "focal 3-4, distillation alone"): "contradicted",
        (half, "pooling 3-4, distillation alone"): "holds",
    }
    assert said(made, "Labels alone reach") == {
        ("focal 3-4, labels alone", "focal 3-4, both"): "holds",
        ("pooling 3-4, labels alone", "pooling 3-4, both"): "contradicted",
    }
    far = {first: claim for (says, first, _), claim in made.items() if says.startswith("Labels alone leave")}
    assert far["focal 3-4, labels alone: loss"].first.mean == pytest.approx(500)
    assert far["pooling 3-4, labels alone: loss"].first.mean == pytest.approx(10)
    assert [claim.second.mean for claim in far.values()] == pytest.approx([100, 100])


def test_a_class_mixer_is_judged_in_front_of_attention_and_at_the_very_end(made):
    mixed, end = "focal 3-4, class token mixed in", "focal 4-5, class token mixed in"
    assert said(made, "A class mixer hurts") == {("focal 3-4", mixed): "holds"}
    assert said(made, "A class mixer helps") == {(end, f"{PARENT}_without_4-5"): "holds"}
    assert said(made, "Attention behind") == {("focal 3-4", end): "holds"}


def test_a_convolution_in_front_and_augmentation_are_set_beside_the_same_without(made):
    assert said(made, "A patch-embedding") == {
        ("focal 3-4 behind a convolution", "focal 3-4"): "holds",
        ("focal 0-1 behind a convolution", "focal 0-1"): "open",
    }
    assert said(made, "MixUp") == {("focal 3-4, augmented", "focal 3-4"): "contradicted"}


def test_a_layer_taught_by_itself_is_set_beside_its_parent(made):
    name = "attention 3, class token among"
    assert said(made, "A layer taught by itself from at least halfway") == {
        (f"{name}, begun 0.5", PARENT): "contradicted",
        (f"{name}, begun 1", PARENT): "holds",
    }
    assert said(made, "A layer taught by itself from new") == {(PARENT, f"{name}, begun new"): "holds"}


def test_seeds_that_one_side_lacks_and_images_held_out_are_left_out():
    late, early = child(at(LATE, "focal"), 0), child(at(EARLY, "focal"), -5)
    (claim,) = claims([*late, *early[1:]], PAPER)
    assert claim.first.values == pytest.approx((70.0, 80.2))
    held = [replace(one, conditions=replace(one.conditions, split="held out of train")) for one in (*late, *early)]
    assert claims(held, PAPER) == []


def timed(model: str, seconds: tuple[float, ...], macs: float, **facts: Any) -> list[Measurement]:
    timing = {"rounds": len(seconds), "anchor_rounds": [0.010] * len(seconds), **facts}
    conditions = Conditions(
        spec=model, device="Abacus", runtime="torch_eager", dtype="float32", batch_size=1, threads=2
    )
    latency = Measurement(
        model=model, indicator="latency_s", unit="s", value=seconds[0], samples=seconds, conditions=conditions,
        origin=Origin(how="measured", timing=timing),
    )  # fmt: skip
    counted = Measurement(
        model=model,
        indicator="macs",
        unit="1",
        value=macs,
        conditions=Conditions(spec=model),
        origin=Origin(how="counted"),
    )
    return [latency, counted]


def test_latency_is_compared_with_multiply_adds_as_shares_of_the_parents():
    rows = [
        *timed(PARENT, (0.0100, 0.0102, 0.0098), 1e9),
        *timed(f"{PARENT}_pooling_3-4", (0.0071, 0.0072, 0.0069), 0.7e9),
        *timed(f"{PARENT}_identity_3-4", (0.0099, 0.0100, 0.0098), 0.7e9),
        *timed(f"{PARENT}_focal_3-4", (0.0071, 0.0072, 0.0069), 0.7e9, contended=True),
        *timed(f"{PARENT}_focal_3-4_2of4", (0.0071, 0.0072, 0.0069), 0.7e9),
        *timed(f"{PARENT}_pooling_3-4_mixed", (0.0071, 0.0072, 0.0069), 0.7e9),
    ]
    found = {claim.first.model: claim for claim in claims(rows, PAPER)}
    assert {name: claim.said for name, claim in found.items()} == {
        "pooling_3-4: latency": "holds",
        "pooling_3-4_mixed: latency": "holds",
        "identity_3-4: latency": "contradicted",
    }
    assert len({claim.where for claim in found.values()}) == 1  # one parent of all
    first = found["pooling_3-4: latency"]
    assert first.first.values == pytest.approx((71, 100 * 72 / 102, 100 * 69 / 98))
    assert first.second.values == pytest.approx((70, 70, 70))
    assert (first.repeats, first.where) == (
        "rounds",
        f"Abacus, torch_eager, float32, batch 1, 2 threads; shares of {PARENT}, in percent",
    )


def test_the_claims_are_a_page_that_says_plainly_what_holds():
    page = claims_page(PAPER, ROWS, "paretovit reproduce it")
    assert page.startswith("# Vadakkeveedu 2023")
    assert "`paretovit reproduce it`" in page
    lines = page.splitlines()
    summary = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1] for line in lines if line.count("|") == 4}
    assert summary["Replacing early layers hurts more than replacing late ones (figures 3.8 and 3.9)"] == "holds"
    assert [said for says, said in summary.items() if says.startswith("Mixers")] == ["holds in 3, does not in 3 of 6"]
    assert "| focal 3-4, ce | focal 3-4, mse | 70.2 ±25.8 ≤80.6 | 67.0 ±25.3 ≤77.2 | 3 | +3.2 ±0.5 | holds |" in lines
    assert all(len(set(block)) == 1 for block in tables(lines))


def tables(lines: list[str]) -> list[list[int]]:
    """Of every table the number of bars in each line."""
    found: list[list[int]] = [[]]
    for line in lines:
        if line.startswith("|"):
            found[-1].append(line.count("|"))
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


def test_the_page_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.chdir(tmp_path)
    stage = Stage(depth=1, dim=8, heads=1)
    with Store("sqlite://") as store:
        rows = [replace(one, conditions=replace(one.conditions, spec="")) for one in ROWS]
        store.append(rows, [ModelSpec(name="unused", stages=(stage,), image_px=8, patch_px=4)])
        store.export_lines(Path("rows.jsonl"))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["paretovit", "reproduce", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    code, out, err = run(PAPER, "--results", "rows.jsonl", "--markdown")
    assert (code, err) == (0, "")
    assert (
        out.splitlines()[2] == f"Made by `paretovit reproduce {PAPER} --results rows.jsonl --markdown` from rows alone."
    )
    Path("empty.jsonl").write_text("")
    for words, message in (
        (["--markdown"], "name it"),
        ([PAPER, "--markdown", "--json"], "without --table and --json"),
        (["vit-optimisation", "--markdown"], "did you mean vit-optimization-strategies"),
        ([PAPER, "--markdown", "--results", "empty.jsonl"], "hold no models"),
    ):
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert message in err
    code, out, _ = run(PAPER, "--results", "rows.jsonl", "--json")
    assert code == 0
    assert json.loads(out)
