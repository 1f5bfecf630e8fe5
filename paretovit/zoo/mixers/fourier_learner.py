"""Performer's attention with a learned bias for each offset between two tokens, at a cost linear in tokens.

Idea     A bias f(r_i - r_j) is a sum of waves of the offset, and a wave of an offset is a product of waves of the two
         places. Appended to query and key, these make q . k + f(r_i - r_j) a product of longer vectors, which random
         features estimate as before. Learned is how strong each wave is, as a function of its frequency.
Paper    Choromanski et al. 2023, "Learning a Fourier Transform for Linear Relative Positional Encodings in
         Transformers", with a mixture of Gaussians; the features are those of "Rethinking Attention with Performers"
         (2020).
Differs  Of the mixture's Fourier transform the real part is used, so that waves are pairs of cosine and sine. Class
         tokens have no place: nothing is added to what is said to them or by them.
Shapes   B images, N tokens, D width, H heads, K width per head, S waves, T Gaussians, F random features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of, rows_and_columns
from paretovit.zoo.mixers._kernelized import kernelized, kernelized_macs
from paretovit.zoo.mixers._pieces import by_images
from paretovit.zoo.mixers._random_features import exp_of_difference, key_features, orthogonal_normal
from paretovit.zoo.tokens import Layout, Tokens

FAINTEST = 1e-12  # strength of a wave below which its root has no gradient


class FourierLearner(Mixer):
    """Estimates softmax(q . k / sqrt(K) + f(r_i - r_j)) v with `features` random features per head.

    f is a mean over `waves` frequencies, drawn when built from a normal distribution of deviation `spread` in turns
    per token. A wave's strength is the mixture of `gaussians` Gaussians of the head over that distribution's density:
    f(z) tends to sum_t w_t s_t^2 exp(-2 pi^2 (s_t spread)^2 |z|^2) cos(2 pi m_t spread . z), with weights w, widths s
    and centres m. `features=None` means K ln K, rounded; `eps` keeps the weights from vanishing.
    """

    family = "kernel attention"
    needs_grid = True
    rotates = True
    trials = ({"features": 5, "waves": 3, "gaussians": 2, "eps": 1e-3},)
    projection: Tensor
    frequency: Tensor
    turned: Tensor

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        features: int | None = None,
        waves: int = 16,
        gaussians: int = 8,
        spread: float = 0.1,
        eps: float = 1e-4,
    ) -> None:
        super().__init__(dim, heads, layout)
        if min(waves, gaussians, 1 if features is None else features) < 1:
            raise UserError("fourier_learner: features, waves and gaussians must be at least 1")
        if spread <= 0:
            raise UserError(f"fourier_learner: spread must be positive, got {spread}")
        rows, columns = rows_and_columns(layout)
        self.head_dim = head_dim_of(dim, heads, None)
        self.features = max(1, round(self.head_dim * math.log(self.head_dim))) if features is None else features
        self.waves, self.eps = waves, eps
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.weight = nn.Parameter(torch.full((heads, gaussians), 1 / gaussians))
        self.log_width = nn.Parameter(torch.zeros(heads, gaussians))
        self.centre = nn.Parameter(torch.randn(heads, gaussians, 2))

        frequency_S2 = torch.randn(waves, 2)  # in units of `spread`
        place_N2 = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        angle_NS = 2 * torch.pi * spread * (place_N2.unsqueeze(1) * frequency_S2).sum(-1)
        nowhere = torch.zeros(layout.prefix, 2 * waves)
        self.register_buffer("frequency", frequency_S2)
        self.register_buffer("turned", torch.cat((nowhere, torch.cat((angle_NS.cos(), angle_NS.sin()), dim=1))))
        self.register_buffer("projection", orthogonal_normal(self.features, self.head_dim + 2 * waves))

    @torch.no_grad()
    def redraw(self) -> None:
        """Other random features, in place; waves stay as they are, as their strengths are learned."""
        self.projection.copy_(orthogonal_normal(*self.projection.shape))

    def strengths(self) -> Tensor:
        """How strong each wave is in each head, (H, S): the mixture over the density that waves were drawn from."""
        off_HST2 = self.frequency.unsqueeze(1) - self.centre.unsqueeze(1)
        width_H1T = self.log_width.exp().unsqueeze(1)
        rarity_S1 = self.frequency.square().sum(-1, keepdim=True) / 2
        log_HST = rarity_S1 - off_HST2.square().sum(-1) / (2 * width_H1T.square())
        return (self.weight.unsqueeze(1) * log_HST.exp()).sum(-1)

    def _biases(self) -> tuple[Tensor, Tensor]:
        """What the waves of its place add to a query's and to a key's products with the random directions, (H, N, F).

        The square of the waves' length is taken off a key here; a query's own cancels.
        """
        strength_HS = self.strengths()
        root_HS = strength_HS.abs().clamp(min=FAINTEST).sqrt() * self.waves**-0.5
        q_HNW = self.turned * root_HS.repeat(1, 2).unsqueeze(1)
        k_HNW = q_HNW * strength_HS.sign().repeat(1, 2).unsqueeze(1)
        w_WF = self.projection[:, self.head_dim :].T
        half_norm_HN1 = k_HNW.square().sum(-1, keepdim=True) / 2
        return q_HNW @ w_WF, k_HNW @ w_WF - half_norm_HN1

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        # one copy here, or one for each of the products below
        qkv = self.qkv(tokens.x).view(B, N, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4).contiguous()
        q_BHNK, k_BHNK = self.rotated(tokens, *qkv[:2].unbind(0))
        q_bias_HNF, k_bias_HNF = (bias.to(q_BHNK.dtype) for bias in self._biases())
        w_KF = self.projection[:, : self.head_dim].T * self.head_dim**-0.25

        def attend(q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor) -> Tensor:
            q_BHNF, k_BHNF = (q_BHNK @ w_KF).add_(q_bias_HNF), (k_BHNK @ w_KF).add_(k_bias_HNF)
            q_BHNF = exp_of_difference(q_BHNF, q_BHNF.detach().amax(-1, keepdim=True))
            half_norm_BHN1 = k_BHNK.square().sum(-1, keepdim=True) * (0.5 * self.head_dim**-0.5)
            k_BHNF, _ = key_features(k_BHNF, half_norm_BHN1)
            return kernelized(q_BHNF, k_BHNF, v_BHNK, k_shift=self.eps)

        out_BHNK = by_images(attend, q_BHNK, k_BHNK, qkv[2], values=self.heads * N * self.features)
        return self.proj(out_BHNK.transpose(1, 2).reshape(B, N, D))

    def reference(self, tokens: Tokens) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens.x).chunk(3, -1))
        q, k = (part / self.head_dim**0.25 for part in self.rotated(tokens, q, k))
        strength = torch.zeros(self.heads, self.waves).to(q)
        for head in range(self.heads):
            for s, xi in enumerate(self.frequency):
                density = torch.exp(-(xi**2).sum() / 2)
                for w, log_width, centre in zip(
                    self.weight[head], self.log_width[head], self.centre[head], strict=True
                ):
                    strength[head, s] += w * torch.exp(-((xi - centre) ** 2).sum() / 2 / log_width.exp() ** 2) / density
        images = []
        for image in range(len(q)):
            outs = []
            for head in range(self.heads):
                waves = self.turned * (strength[head].abs() / self.waves).sqrt().repeat(2)
                longer_q = torch.cat((q[image, head], waves), dim=1)
                longer_k = torch.cat((k[image, head], waves * strength[head].sign().repeat(2)), dim=1)
                q_features = torch.exp(longer_q @ self.projection.T - (longer_q**2).sum(1, keepdim=True) / 2)
                k_features = torch.exp(longer_k @ self.projection.T - (longer_k**2).sum(1, keepdim=True) / 2)
                weights = q_features @ (k_features / k_features.max() + self.eps).T
                outs.append(weights @ v[image, head] / weights.sum(1, keepdim=True))
            images.append(torch.cat(outs, dim=-1))
        return self.proj(torch.stack(images))

    def macs(self) -> int:
        n, d = self.layout.num_tokens, self.dim
        made = 2 * n * d * self.features + 2 * n * self.heads * 2 * self.waves * self.features
        return 4 * n * d * d + made + kernelized_macs(n, self.heads, self.head_dim, self.features)
