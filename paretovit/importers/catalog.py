"""Top-1 accuracies that the catalog has of its models: each as its authors print it.

Recipes differ from model to model: images, epochs, teachers. What is read off them together is what a user gets who
takes the released weights, and not whose architecture learns best. Each row names the table or repository that prints
it.
"""

from __future__ import annotations

from pathlib import Path

from paretovit.importers import Importer, Published
from paretovit.measurement import Conditions, Measurement, Origin, wilson
from paretovit.zoo.catalog import entries

_IMAGES = 50_000  # of the validation set


class Catalog(Importer):
    """`top1` on ImageNet-1k of every model in the catalog that has one, with its Wilson interval. There is no file."""

    title = "the catalog's models"
    needs_path = False

    def read(self, path: Path) -> Published:
        rows, specs = [], []
        for entry in entries().values():
            if (percent := entry.published.top1) is None:
                continue
            facts = {
                "images": _IMAGES,
                "interval_95": list(wilson(round(percent / 100 * _IMAGES), _IMAGES)),
                "printed by": entry.published.source,
                "paper": entry.paper,
            }
            conditions = Conditions(spec=entry.spec.key, data="ImageNet-1k", split="val", source="the models' authors")
            made = Origin(how="published", timing=facts)
            row = Measurement(
                model=entry.name, indicator="top1", unit="1", value=percent / 100, conditions=conditions, origin=made
            )
            rows.append(row)
            specs.append(entry.spec)
        return rows, specs
