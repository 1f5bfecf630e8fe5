"""Measures a panel of vision transformers on this machine, trains each, and writes a page about it.

Real data: the 1,797 handwritten digits that come with scikit-learn. Models of every class of the taxonomy, all at
one size that two cores can train in seconds. Safe to interrupt: run again, it goes on.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console

from paretovit import Store, measure, resolve
from paretovit.cost.measure import Care
from paretovit.errors import UserError
from paretovit.report.page import write
from paretovit.report.progress import MeasureProgress
from paretovit.training.data import open_data
from paretovit.training.loop import train
from paretovit.training.progress import progress_bar
from paretovit.training.recipe import DEMO

HERE = Path(__file__).parent
PANEL = (
    "vit_pico_patch2_8",
    "vit_pico_patch4_8",
    "vit_nano_patch2_8",
    "nystromformer_pico_patch2_8",
    "swin_vit_pico_patch2_8",
    "synthesizer_random_pico_patch2_8",
    "performer_pico_patch2_8",
    "linear_transformer_pico_patch2_8",
    "cvt_vit_pico_patch2_8",
    "fnet_pico_patch2_8",
    "pool_vit_pico_patch2_8",
    "evit_delete_pico_patch2_8",
    "evit_fuse_pico_patch2_8",
    "tome_pico_patch2_8",
    "token_learner_pico_patch2_8",
    "switch_pico_patch2_8",
)


CARE = Care(rounds=9, visit_s=0.08)  # fewer and shorter visits than by default: the intervals are wider


def main() -> None:
    started, say = time.monotonic(), Console(stderr=True, highlight=False).print
    data = open_data("digits")
    specs = [resolve(name, in_chans=data.val.in_chans, num_classes=data.val.num_classes) for name in PANEL]
    (HERE / "runs").mkdir(exist_ok=True)
    with Store(HERE / "runs" / "demo.sqlite") as store:
        say(f"1/3  measuring {len(specs)} models")
        with MeasureProgress() as progress:
            measure(specs, care=CARE, store=store, progress=progress)
        say(f"2/3  training them on {len(data.train):,} handwritten digits")
        for number, spec in enumerate(specs, 1):
            with progress_bar(f"{number}/{len(specs)} {spec.name}") as watch:
                rows = train(spec, data, DEMO, out=HERE / "runs" / spec.name, progress=watch).rows
            store.append([row for row in rows if not store.has(row.conditions, row.indicator)], [spec])
        say("3/3  writing the page")
        page = write(store, HERE / "report")[0]
    say(f"done in {time.monotonic() - started:.0f} s: open {page}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        print("\nstopped; `make demo` goes on from here", file=sys.stderr)
        sys.exit(130)
