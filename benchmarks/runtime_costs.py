"""What every architecture on the skeleton costs on every runtime of this machine's CPU, by every indicator.

    python benchmarks/runtime_costs.py --artifacts FOLDER --export-only
    python benchmarks/runtime_costs.py --artifacts FOLDER --out results/runtime_costs.jsonl
    paretovit store import results/runtime_costs.jsonl --store rows.sqlite
    paretovit report --store rows.sqlite --out report

Four blocks of width 64 at patch 4 and 32 px, one thread, batches of 4 where an indicator wants one. The runtimes are
those that are installed, or those named: LiteRT wants an environment of its own. Exports take longer than what is
measured, and no quiet machine; so they come first. `--without cold_start_s compile_s` leaves out what takes fresh
processes, and a later call without it takes only those. A model that a runtime cannot take is a row that names the
operator. What the file has already is not measured again, and a process that is killed goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rows import carry_out
from script import script

from paretovit import resolve
from paretovit.cost.folders import RUNTIMES
from paretovit.cost.measure import Care, usual_indicators
from paretovit.zoo.skeletons import ARCHITECTURES

BATCH = 4


def main() -> None:
    here = [name for name in RUNTIMES.names() if "cpu" in RUNTIMES[name].devices and not RUNTIMES[name].missing()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/runtime_costs.jsonl"))
    parser.add_argument("--artifacts", type=Path, default=None, help="folder where exported files are kept")
    parser.add_argument("--export-only", action="store_true", help="fill --artifacts and measure nothing yet")
    parser.add_argument("--runtimes", nargs="+", default=here)
    parser.add_argument("--models", nargs="+", default=[f"{name}_pico_patch4_32" for name in ARCHITECTURES])
    parser.add_argument("--without", nargs="+", default=[], help="indicators that are left for another time")
    options = parser.parse_args()
    care = Care(rounds=5, sittings=1, group=12)
    carry_out(
        [resolve(name) for name in options.models],
        options.out,
        indicators=[name for name in usual_indicators() if name not in options.without],
        batch_size=BATCH,
        max_batch=BATCH,
        care=care,
        runtimes=options.runtimes,
        threads=1,
        artifacts=options.artifacts,
        export_only=options.export_only,
    )


if __name__ == "__main__":
    script(main)
