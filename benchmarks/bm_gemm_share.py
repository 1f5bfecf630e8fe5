"""What share of this machine's matrix-product rate each token mixer reaches: the worst are those worth improving.

    python benchmarks/bm_gemm_share.py results/bm_gemm_share.jsonl

Forward of two images of 1,024 patches, and a class token where the mixer takes one, 128 wide with 4 heads: two to
four minutes for all. The rows are of the mixer of a model's only block, so that `paretovit store import` puts them
beside other rows and the report shows them. A product of 1024 x 1024 matrices is timed in turn with every mixer, so a
drift of the machine hits both; a sample is one round's (multiply-accumulates of the mixer in a second) / (those of the
product). Mixers of few multiply-accumulates, such as pooling, move bytes and not products: their share is low whatever
is done, so the last words name the worst of those that make at least a product of the tokens with a square matrix.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from bm_mixers import own
from paired import seconds_in_turn, spread
from script import script

from paretovit import Store
from paretovit.devices import Busy, device_name, num_threads, origin
from paretovit.measurement import Conditions, Measurement
from paretovit.report.growth import GEMM_SHARE, MIXER
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.build import build
from paretovit.zoo.folders import MIXERS
from paretovit.zoo.mixers import Mixer

BATCH, SIDE, DIM, HEADS = 2, 32, 128, 4
PRODUCT, ROUNDS, LEAST_S, WORST, BUSY = 1024, 9, 0.02, 3, 0.08


def spec_of(name: str) -> ModelSpec:
    """A model of one block with the mixer, all of whose options are the usual ones."""
    prefix = MIXERS.fact(name, "takes_prefix", True)
    return ModelSpec(
        name=name,
        stages=(Stage(depth=1, dim=DIM, heads=HEADS, mixer=Part(name)),),
        readout=Part("class_token" if prefix else "mean"),
        image_px=4 * SIDE,
        patch_px=4,
        num_classes=10,
    )


def measured(spec: ModelSpec, product: tuple[torch.Tensor, torch.Tensor]) -> Measurement:
    mixer = next(module for module in build(spec).modules() if isinstance(module, Mixer))
    x = torch.randn(BATCH, SIDE**2 + 1, DIM)  # `own` leaves the first token out where the mixer takes none
    sides = {"mixer": own(mixer, x, train=False), "product": lambda: torch.mm(*product)}
    busy = Busy()
    took = seconds_in_turn(sides, rounds=ROUNDS, least_s=LEAST_S)
    share_busy = busy.share(sum(map(sum, took.values())))
    macs = BATCH * mixer.macs()
    shares = [macs / m / (PRODUCT**3 / p) for m, p in zip(took["mixer"], took["product"], strict=True)]
    return Measurement(
        model=spec.name,
        indicator=GEMM_SHARE,
        unit="1",
        value=spread(shares)["median"],
        samples=tuple(shares),
        conditions=Conditions(
            spec=spec.key,
            device=device_name(),
            runtime="torch_eager",
            dtype="float32",
            batch_size=BATCH,
            threads=torch.get_num_threads(),
            part=MIXER,
        ),
        origin=origin(
            "measured",
            rounds=ROUNDS,
            macs=macs,
            seconds=spread(took["mixer"]),
            product_seconds=spread(took["product"]),
            busy=share_busy,
            contended=share_busy > BUSY,
        ),
    )


def main(out: Path) -> None:
    torch.set_num_threads(num_threads())
    torch.manual_seed(1)
    product = torch.randn(PRODUCT, PRODUCT), torch.randn(PRODUCT, PRODUCT)
    found: dict[str, float] = {}
    with Store(str(out.with_suffix(".sqlite"))) as store:
        for name in MIXERS.names():
            if MIXERS.fact(name, "takes_time", False) and MIXERS.fact(name, "needs_grid", False):
                continue  # of videos
            spec = spec_of(name)
            row = measured(spec, product)
            store.append([row], [spec])
            print(f"{name:32} {row.value:.3f}  busy {row.origin.timing['busy']:.2f}", file=sys.stderr, flush=True)
            if row.origin.timing["macs"] >= BATCH * SIDE**2 * DIM**2:
                found[name] = row.value or 0.0
        store.export_lines(out)
    worst = sorted(found, key=found.__getitem__)[:WORST]
    print(f"lowest shares: {', '.join(f'{name} {found[name]:.3f}' for name in worst)}", file=sys.stderr)


if __name__ == "__main__":
    script(lambda: main(Path(sys.argv[1])))
