"""One training step of every model of the catalog, on pictures of CIFAR-10 brought to its size.

    python benchmarks/zoo_steps.py --data torch/cifar10 --out results/zoo_steps.jsonl
    python benchmarks/zoo_steps.py --data digits --out /tmp/some.jsonl 'vit_tiny*' resnet50

Four pictures of the training images, the demo's recipe at a rate of 1e-4 from the first step on. A row has the loss on
them after the step, and beside it the loss before; models of clips are shown stills. A model that fails has a row that
says why, and the script then ends with 1. Stopped, it goes on with the models that the file does not have.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from script import script
from torch.nn import functional as F

from paretovit.devices import origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.training.data import Images, open_data
from paretovit.training.loop import Steps
from paretovit.training.recipe import Recipe, named_recipe, with_changes
from paretovit.zoo.catalog import entries, expand, resolve

BATCH = 4
RECIPE = (f"batch_size={BATCH}", f"train_images={BATCH}", "warmup_epochs=0", "lr=1e-4", "epochs=2")
INDICATOR = "loss_after_step"


@dataclass(frozen=True)
class Same:
    """The same few pictures to learn from and to be judged by."""

    train: Images

    @property
    def val(self) -> Images:
        return self.train


def shown(pictures: Images, spec: ModelSpec) -> Images:
    """The pictures as a model takes them; a clip is a still."""
    rows, columns = (spec.image_px, spec.image_px) if isinstance(spec.image_px, int) else spec.image_px
    pixels = F.interpolate(pictures.pixels.float(), (rows, columns), mode="bilinear", antialias=True)
    pixels = pixels.round().clamp(0, 255).byte()
    if spec.frames is not None:
        pixels = pixels.unsqueeze(2).expand(-1, -1, spec.frames, -1, -1).contiguous()
    return replace(pictures, pixels=pixels)


def stepped(name: str, pictures: Images, recipe: Recipe) -> tuple[ModelSpec, Measurement]:
    """A step and the loss after it; a row without a value where there is none, or where it is no number."""
    spec = resolve(name, num_classes=pictures.num_classes, in_chans=pictures.in_chans)
    begun = time.perf_counter()
    conditions, losses, why = Conditions(spec=spec.key), [], ""
    try:
        steps = Steps(spec, Same(shown(pictures, spec)), recipe)
        conditions = steps.conditions
        losses = [steps.step(lambda phase: nullcontext()) for _ in range(2)]
    except (Unmeasurable, UserError, RuntimeError) as error:
        why = str(error).splitlines()[0]
    if not all(map(math.isfinite, losses)):
        why = f"losses {losses}"
    about = {"before": losses[0] if losses else None, "seconds": time.perf_counter() - begun}
    return spec, Measurement(
        model=spec.name,
        indicator=INDICATOR,
        unit="1",
        value=None if why else losses[1],
        conditions=conditions,
        origin=replace(origin("trained"), timing=about),
        why=why,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of the catalog or patterns of them; all unless told")
    parser.add_argument("--data", required=True, help="as for `paretovit train`: torch/cifar10, hfds/PATH, ...")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    images = open_data(options.data, in_chans=3).train
    recipe = with_changes(named_recipe("demo"), RECIPE)
    pictures = images.part(images.strata.argsort(stable=True)[:: len(images) // BATCH][:BATCH])
    with Store("sqlite://") as store:
        if options.out.exists():
            store.import_lines(options.out)
        names = expand(options.models) if options.models else list(entries())
        done = {row.model for row in store.rows(INDICATOR)}
        for name in names:
            if name in done:
                continue
            spec, row = stepped(name, pictures, recipe)
            store.append([row], [spec])
            store.export_lines(options.out)
            before = row.origin.timing["before"]
            said = row.why if row.value is None else f"{before:.3f}, then {row.value:.3f}"
            print(f"{name}: {said}", file=sys.stderr)
            gc.collect()
        rows = [row for row in store.rows(INDICATOR) if row.model in names]
    failed = [row.model for row in rows if row.value is None]
    lower = sum(row.value < row.origin.timing["before"] for row in rows if row.value is not None)
    print(f"{len(rows) - len(failed)} of {len(rows)} models made a step; the loss is then lower in {lower}")
    return 1 if failed else 0


if __name__ == "__main__":
    script(main)
