"""Memory of token mixers at 4,097 tokens, against softmax attention that keeps its weights and against the fused one.

    python benchmarks/bm_mixer_memory.py > results/bm_mixer_memory.jsonl

The most bytes that live at once beyond weights and input, traced in torch's CPU allocator, while a layer is called
(forward) and while it is called and gradients go back (training); two images of 4,096 patches, 128 wide with 4 heads.
`grows` is the exponent by which the layer's multiply-accumulates grow from 1,024 to 4,096 patches: up to 1.15 it is
called linear. `of_unfused` and `of_fused` are shares of what softmax attention takes. The last line names the largest
shares among the linear ones.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from bm_mixers import built, own
from paired import emit, environment
from script import script

from paretovit.cost.torch_sessions import most_live_bytes
from paretovit.devices import num_threads
from paretovit.zoo.folders import MIXERS
from paretovit.zoo.mixers import Mixer

SIZE = 2, 4097, 128, 4
LINEAR = 1.15
CASES: tuple[tuple[str, dict[str, Any]], ...] = (("performer", {"kernel": "relu"}), ("nystromformer", {"conv": 33}))


def layer(name: str, options: dict[str, Any], tokens: int) -> Mixer:
    _, _, dim, heads = SIZE
    return built(name, options, tokens, dim, heads, int(MIXERS.fact(name, "takes_prefix", True)))


def live(name: str, options: dict[str, Any]) -> dict[str, int]:
    """Bytes of a forward call and of a training step."""
    batch, tokens, dim, _ = SIZE
    x = torch.randn(batch, tokens, dim)
    steps = {"forward": False, "training": True}
    return {kind: most_live_bytes(own(layer(name, options, tokens), x, train)) for kind, train in steps.items()}


def grows(name: str, options: dict[str, Any]) -> float:
    """The exponent of its multiply-accumulates from a quarter of the patches on."""
    tokens = SIZE[1]
    few, many = (layer(name, options, n).macs() for n in ((tokens - 1) // 4 + 1, tokens))
    return math.log(many / few) / math.log(4) if few else 0.0


def main() -> None:
    torch.set_num_threads(num_threads())
    environment("python benchmarks/bm_mixer_memory.py")
    unfused, fused = live("attention", {"fused": False}), live("attention", {})
    emit({"mixer": "attention", "fused": False, "bytes": unfused})
    emit({"mixer": "attention", "fused": True, "bytes": fused})
    worst: dict[str, tuple[float, str]] = {}
    plain = [(name, {}) for name in MIXERS.names() if not MIXERS.fact(name, "takes_time", False)]
    for name, options in (*plain, *CASES):
        if name == "attention":
            continue
        power, found = grows(name, options), live(name, options)
        shares = {kind: found[kind] / unfused[kind] for kind in found}
        emit(
            {
                "mixer": name,
                **options,
                "grows": round(power, 3),
                "bytes": found,
                "of_unfused": {kind: round(share, 4) for kind, share in shares.items()},
                "of_fused": {kind: round(found[kind] / fused[kind], 3) for kind in found},
            }
        )
        for kind, share in shares.items():
            if power <= LINEAR:
                worst[kind] = max(worst.get(kind, (0.0, "")), (round(share, 4), name))
    emit({"largest shares of unfused among the linear": worst})


if __name__ == "__main__":
    script(main)
