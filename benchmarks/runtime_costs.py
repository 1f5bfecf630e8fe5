"""What every architecture on the skeleton costs on every runtime of this machine's CPU, by every indicator.

    python benchmarks/runtime_costs.py results/runtime_costs.jsonl
    paretovit store import results/runtime_costs.jsonl --store rows.sqlite
    paretovit report --store rows.sqlite --out report

Four blocks of width 64 at patch 4 and 32 px, one thread. A model that a runtime cannot take is a row that names the
operator; accuracies are in another file (`zoo_digits.py`). What the file has already is not measured again, and a
process that is killed goes on where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rows import carry_out

from paretovit import resolve
from paretovit.cost.folders import RUNTIMES
from paretovit.cost.measure import Care, usual_indicators
from paretovit.zoo.catalog import ARCHITECTURES


def main(out: Path) -> None:
    specs = [resolve(f"{name}_pico_patch4_32") for name in ARCHITECTURES]
    here = [name for name in RUNTIMES.names() if "cpu" in RUNTIMES[name].devices and not RUNTIMES[name].missing()]
    care = Care(rounds=5, sittings=1, group=12)
    carry_out(specs, out, indicators=usual_indicators(), batch_size=8, care=care, runtimes=here, threads=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
