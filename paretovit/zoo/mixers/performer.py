"""Softmax attention estimated by random features (FAVOR+).

Idea     exp(q . k) is the mean of exp(w . q - |q|^2 / 2) exp(w . k - |k|^2 / 2) over normal w; a few w, kept
         orthogonal so that they do not repeat each other, estimate it, and their products are linear in N.
Paper    Choromanski et al. 2020, "Rethinking Attention with Performers", secs. 2.2 to 2.4; the ReLU kernel is its
         generalised attention.
Differs  A query's own factor cancels where weights are made to sum to 1, so its features are a softmax and need no
         eps; a key's features are scaled by the largest of its image and head, never of the batch.
Shapes   B images, N tokens, D width, H heads, K width per head, F random features.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._kernelized import kernelized, kernelized_macs
from paretovit.zoo.mixers._pieces import by_images
from paretovit.zoo.mixers._random_features import exp_of_difference, key_features, orthogonal_normal
from paretovit.zoo.tokens import Layout, Tokens

RELU_EPS = 1e-3  # keeps the ReLU kernel's weights positive; the paper's code


class Performer(Mixer):
    """Attention by `features` random features per head, drawn when built and shared by the heads.

    `features=None` means K ln K of them, rounded, as the theory asks. The softmax kernel estimates plain
    attention, with an error that falls like 1 / sqrt(features); `eps` keeps its weights from vanishing.
    """

    family = "kernel attention"
    rotates = True
    trials = ({"kernel": "relu"}, {"features": 5, "head_dim": 6})
    projection: Tensor

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        head_dim: int | None = None,
        features: int | None = None,
        kernel: Literal["softmax", "relu"] = "softmax",
        eps: float = 1e-4,
    ) -> None:
        super().__init__(dim, heads, layout)
        if kernel not in ("softmax", "relu"):
            raise UserError(f"performer: kernel must be 'softmax' or 'relu', got {kernel!r}")
        if features is not None and features < 1:
            raise UserError(f"performer: features must be at least 1, got {features}")
        self.head_dim = head_dim_of(dim, heads, head_dim)
        self.features = max(1, round(self.head_dim * math.log(self.head_dim))) if features is None else features
        self.kernel, self.eps = kernel, eps
        inner = heads * self.head_dim
        self.qkv = nn.Linear(dim, 3 * inner)
        self.proj = nn.Linear(inner, dim)
        self.register_buffer("projection", orthogonal_normal(self.features, self.head_dim))

    @torch.no_grad()
    def redraw(self) -> None:
        """Other random features, in place; the paper redraws them now and then while training."""
        self.projection.copy_(orthogonal_normal(self.features, self.head_dim))

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, _ = tokens.x.shape
        # one copy here, or one for each of the products below
        qkv = self.qkv(tokens.x).view(B, N, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4).contiguous()
        q_BHNK, k_BHNK = self.rotated(tokens, *qkv[:2].unbind(0))
        out_BHNK = by_images(self._attend, q_BHNK, k_BHNK, qkv[2], values=self.heads * N * self.features)
        return self.proj(out_BHNK.transpose(1, 2).reshape(B, N, -1))

    def _attend(self, q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor) -> Tensor:
        w_KF = self.projection.T * self.head_dim**-0.25  # q and k each carry the root of attention's scale
        q_BHNF, k_BHNF = q_BHNK @ w_KF, k_BHNK @ w_KF
        if self.kernel == "relu":
            return kernelized(q_BHNF.relu_(), k_BHNF.relu_(), v_BHNK, q_shift=RELU_EPS, k_shift=RELU_EPS)
        q_BHNF = exp_of_difference(q_BHNF, q_BHNF.detach().amax(-1, keepdim=True))
        half_norm_BHN1 = k_BHNK.square().sum(-1, keepdim=True) * (0.5 * self.head_dim**-0.5)
        k_BHNF, _ = key_features(k_BHNF, half_norm_BHN1)
        return kernelized(q_BHNF, k_BHNF, v_BHNK, k_shift=self.eps)

    def reference(self, tokens: Tokens) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens.x).chunk(3, -1))
        q, k = self.rotated(tokens, q, k)
        images = []
        for image in range(len(q)):
            outs = []
            for head in range(self.heads):
                qh, kh = (part[image, head] / self.head_dim**0.25 for part in (q, k))
                q_dots, k_dots = qh @ self.projection.T, kh @ self.projection.T
                if self.kernel == "relu":
                    q_features, k_features = q_dots.clamp(min=0) + RELU_EPS, k_dots.clamp(min=0) + RELU_EPS
                else:
                    q_features = torch.exp(q_dots - (qh**2).sum(1, keepdim=True) / 2)
                    k_features = torch.exp(k_dots - (kh**2).sum(1, keepdim=True) / 2)
                    k_features = k_features / k_features.max() + self.eps
                weights = q_features @ k_features.T
                outs.append(weights @ v[image, head] / weights.sum(1, keepdim=True))
            images.append(torch.cat(outs, dim=-1))
        return self.proj(torch.stack(images))

    def macs(self) -> int:
        n, inner = self.layout.num_tokens, self.heads * self.head_dim
        made = 2 * n * inner * self.features
        return 4 * n * self.dim * inner + made + kernelized_macs(n, self.heads, self.head_dim, self.features)
