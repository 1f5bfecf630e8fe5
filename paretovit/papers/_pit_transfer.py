"""Appendix A of "An Investigation on Hardware-Aware Vision Transformer Scaling": what scaling a plain ViT has found,
carried over to PiT.

The appendix has three steps: take the scaled DeiT of the size of the PiT at hand; give the PiT those factors of it that
both have; scale the remaining ones until the PiT costs what it did. It does not say which are kept where that does not
come out. This reading gives all three models of table 8: the image is that of the scaled DeiT; the layers grow as the
DeiT's did, every stage rounded down, or stay; the heads are free; and of all these the PiT is taken whose
multiply-accumulates are nearest in ratio to those it had before.
"""

from __future__ import annotations

import math
from itertools import count

from paretovit.zoo.architectures import deit_scaled, pit_scaled
from paretovit.zoo.build import build


def transferred(variant: pit_scaled.Factors, goal: deit_scaled.Factors, *, layers: int = 12) -> pit_scaled.Factors:
    """The PiT with the scaling that led from a DeiT of so many `layers` to `goal`, at the cost it had."""
    wanted = macs(variant)
    first, second, third = (n * goal.layers // layers for n in variant.layers)
    candidates = []
    for depths in ((first, second, third), variant.layers):
        for heads in count(1):
            made = variant._replace(image_px=goal.image_px, layers=depths, heads=heads)
            off = math.log(macs(made) / wanted)
            candidates.append((abs(off), made))
            if off > 0:  # more heads only cost more
                break
    return min(candidates)[1]


def macs(factors: pit_scaled.Factors) -> int:
    """Multiply-accumulates of one image, by the closed forms of the parts."""
    module = build(pit_scaled.pit("pit", factors), device="meta")
    total: int = module.macs()  # type: ignore[operator]
    return total
