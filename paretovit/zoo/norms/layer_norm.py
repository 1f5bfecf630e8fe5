"""Every token on its own to mean 0 and variance 1, then a gain and a shift per channel (Ba et al. 2016)."""

from __future__ import annotations

from torch import nn

from paretovit.zoo.norms import Norm


class LayerNorm(Norm, nn.LayerNorm):
    """torch's layer norm over the width; `eps` as in timm's ViT, DeiT and DeiT III."""

    def __init__(self, dim: int, *, eps: float = 1e-6) -> None:
        super().__init__(dim, eps=eps)
