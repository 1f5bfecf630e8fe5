"""Dehghani et al. 2021: no single cost indicator is sufficient.

Figures 1 (Universal and Switch Transformers on text) and 5 (models of others) print no numbers; figure 4 is table 2.
The printed macs lie up to 0.7% above ours, by up to one of the element-wise operations that ours leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

from paretovit.cost.counting import Count
from paretovit.measurement import Measurement
from paretovit.papers import Paper
from paretovit.papers._cells import Cell
from paretovit.papers._counted import counts, judged, with_printed
from paretovit.papers._efficiency_misnomer_tables import PATCHES, SCALED
from paretovit.papers._rows import Timed, timed_cells
from paretovit.spec import ModelSpec, Part
from paretovit.zoo.catalog import resolve

PAPER = "efficiency-misnomer"

_MS_PER_IMAGE = Timed("tpuv3", "images_per_s", per=1e-3, inverse=True)
_NOTES = {
    ("ViT-B/8", "mparams"): "86.58, of which the table cuts the last digit off",
    ("ViT-B/64", "gmacs"): "those of the 3 x 3 patches that fit into 224 px, as in a model for 192 px; the 17 tokens "
    "printed beside them have 1.60 (`vit_base_patch64_256`)",
}
_TOKENS = "224 px hold 3 x 3 patches of 64, and the printed macs are those of 10 tokens; 17 are those of 256 px"
_SHAPES = {
    "D": "with an MLP of 1,536, where 1,024 is printed, patches of 32 px and the 18,291 classes of JFT-300M",
    "W": "with patches of 32 px and the 18,291 classes of JFT-300M, which are not printed",
}


class EfficiencyMisnomer(Paper):
    """The two tables, patch size and depth against width, and what the text says of parameters against macs."""

    title = "Dehghani et al. 2021, The Efficiency Misnomer (ICLR 2022)"
    models = "vit_[dw]*_patch32_224"
    tables: ClassVar[dict[str, str]] = {
        "1": "ViT-Base by patch size",
        "2": "a small ViT scaled in depth (D) and in width (W)",
        "section 2.2": "where parameters and macs part, by our counts",
    }

    def cells(self, table: str, rows: Sequence[Measurement]) -> list[Cell]:
        if table == "section 2.2":
            return list(_statements())
        return list(_patches(rows) if table == "1" else _scaled(rows))


def _patches(rows: Sequence[Measurement]) -> Iterator[Cell]:
    for name, model, tokens, mparams, gmacs, ms in PATCHES:
        spec = resolve(model)
        ours = (spec.square_px // spec.patch_px) ** 2 + 1
        yield judged(with_printed(_cell("1", name, model, "tokens", "1"), tokens), ours, _TOKENS)
        yield from _costs("1", name, model, mparams, gmacs)
        yield from _time("1", name, model, ms, rows)


def _scaled(rows: Sequence[Measurement]) -> Iterator[Cell]:
    for name, mparams, gmacs, ms, top1 in SCALED:
        model = f"vit_{name.lower()}_patch32_224"
        yield from _costs("2", name, model, mparams, gmacs, note=_SHAPES[name[0]])
        yield from _time("2", name, model, ms, rows)
        cell = with_printed(_cell("2", name, model, "top1", "%"), top1)
        yield replace(cell, note="trained on JFT-300M, which is not public")


def _statements() -> Iterator[Cell]:
    """What the text says of models of other sorts than the tables', on our models of those sorts."""
    plain, shared = counts(resolve("vit_small_patch16_224")), counts(resolve("universal_small_patch16_224"))
    few, many = (counts(_switch(experts)) for experts in (4, 16))
    deep, wide = (counts(resolve(f"vit_{name}_patch32_224")) for name in ("d48", "w3072"))
    patches = [counts(resolve(model)) for _, model, *_ in PATCHES]
    told = (
        (
            "sharing parameters over depth: fewer of them, macs the same",
            shared.params < plain.params and _about(shared.macs, plain.macs),
            f"ViT-S: {_ratios(shared, plain)}",
        ),
        (
            "more experts: more parameters, macs the same",
            many.params > few.params and _about(many.macs, few.macs),
            f"Switch-S, 16 experts to 4: {_ratios(many, few)}",
        ),
        (
            "larger patches: fewer macs, more parameters",
            all(a.macs > b.macs and a.params <= b.params for a, b in pairwise(patches[1:])),
            f"ViT-B/64 to ViT-B/16: {_ratios(patches[-1], patches[1])}; but ViT-B/8, with more places to learn, has "
            f"{patches[0].params / patches[1].params - 1:.2%} more parameters than ViT-B/16",
        ),
        (
            "D48 and W3072: more or less similar macs and parameters",
            _about(deep.macs, wide.macs, 0.1) and _about(deep.params, wide.params, 0.1),
            f"D48 to W3072: {_ratios(deep, wide)}; the printed times are as 1.83 to 1",
        ),
    )
    for words, holds, note in told:
        cell = replace(_cell("section 2.2", words, "", "holds", "1"), printed=1.0)
        yield replace(cell, ours=float(holds), verdict="agrees" if holds else "differs", note=note)


def _switch(experts: int) -> ModelSpec:
    """The Switch Transformer on ViT-S with so many experts, each with as many seats in all."""
    spec = resolve("switch_small_patch16_224")
    mlp = Part.of("switch", experts=experts, capacity_factor=1.0)
    return replace(spec, stages=tuple(replace(stage, mlp=mlp) for stage in spec.stages))


def _about(a: int, b: int, share: float = 0.05) -> bool:
    return abs(a - b) <= share * b


def _ratios(a: Count, b: Count) -> str:
    return f"{a.params / b.params:.2f} times the parameters, {a.macs / b.macs:.2f} times the macs"


def _costs(table: str, name: str, model: str, mparams: str, gmacs: str, note: str = "") -> Iterator[Cell]:
    count = counts(resolve(model))
    for kind, unit, printed, ours in (
        ("mparams", "M", mparams, count.params / 1e6),
        ("gmacs", "G", gmacs, count.macs / 1e9),
    ):
        cell = replace(_cell(table, name, model, kind, unit), note=_NOTES.get((name, kind), note))
        yield judged(with_printed(cell, printed), ours)


def _time(table: str, name: str, model: str, printed: str, rows: Sequence[Measurement]) -> list[Cell]:
    cell = with_printed(_cell(table, name, model, "tpu_ms", "ms"), printed)
    return timed_cells(cell, _MS_PER_IMAGE, resolve(model).key, rows)


def _cell(table: str, row: str, model: str, kind: str, unit: str) -> Cell:
    return Cell(paper=PAPER, table=table, row=row, model=model, cell=kind, unit=unit)
