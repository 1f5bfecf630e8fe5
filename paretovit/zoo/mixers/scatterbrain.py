"""Softmax attention estimated by random features, and exact where queries and keys agree most.

Idea     Random features are good at the many small weights of attention and bad at the few large ones. Hashing finds
         those: queries and keys with a large product fall into the same cluster, where the estimate is replaced by
         the weight itself.
Paper    Chen et al. 2021, "Scatterbrain: Unifying Sparse and Low-rank Attention Approximation"; the features are those
         of Choromanski et al. 2020, "Rethinking Attention with Performers"; clusters of one size by hashing as in Daras
         et al. 2020, "SMYRF: Efficient Attention using Asymmetric Clustering", which the authors' code uses.
Differs  One round of hashing. Clusters are of one size but for the last.
Shapes   B images, N tokens, D width, H heads, K width per head, F random features, C clusters, M tokens in one,
         P = C M places in clusters, G = B H C.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._random_features import exp_of_difference, key_features, orthogonal_normal
from paretovit.zoo.tokens import Layout, Tokens


class Scatterbrain(Mixer):
    """Weights of attention that are exact within clusters of about `cluster` tokens and estimated between them.

    Every query and every key is in one cluster. With `cluster` >= N this is plain attention. `features=None` means
    K random features: fewer than a Performer's, as they have only the small weights to tell. A token near the border
    of two clusters may change sides with a change as small as the rounding of half precision.
    """

    family = "kernel attention"
    rotates = True
    trials = ({"cluster": 8}, {"cluster": 7, "features": 5})
    projection: Tensor
    direction: Tensor
    absent: Tensor

    def __init__(self, dim: int, heads: int, layout: Layout, *, features: int | None = None, cluster: int = 32) -> None:
        super().__init__(dim, heads, layout)
        if cluster < 1 or (features is not None and features < 1):
            raise UserError(f"scatterbrain: cluster and features must be at least 1, got {cluster} and {features}")
        n = layout.num_tokens
        self.head_dim = head_dim_of(dim, heads, None)
        self.features = self.head_dim if features is None else features
        self.cluster = math.ceil(n / math.ceil(n / cluster))  # as even as they can be
        self.clusters = math.ceil(n / self.cluster)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("projection", orthogonal_normal(self.features, self.head_dim))
        self.register_buffer("direction", torch.randn(self.head_dim + 2))
        absent_P = torch.arange(self.clusters * self.cluster) >= n
        self.register_buffer("absent", absent_P, persistent=False)

    @torch.no_grad()
    def redraw(self) -> None:
        """Other random features and another hash, in place."""
        self.projection.copy_(orthogonal_normal(self.features, self.head_dim))
        self.direction.copy_(torch.randn_like(self.direction))

    @torch.no_grad()
    def _orders(self, q_BHNK: Tensor, k_BHNK: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys by their hash, each (B, H, N): those near each other in order have large products.

        Two more channels give all queries one length, all keys one, and keep the products, so that near means large;
        the hash is the place along a random direction. In half precision too many would share one: it is worked out in
        single precision at least, and without a matrix product, which autocast would take.
        """
        q_BHNK, k_BHNK = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in (q_BHNK, k_BHNK))
        q_BHN, k_BHN = q_BHNK.square().sum(-1), k_BHNK.square().sum(-1)
        reach_BH1 = q_BHN.amax(-1, keepdim=True) + k_BHN.amax(-1, keepdim=True)
        along, q_more, k_more = self.direction.split((self.head_dim, 1, 1))
        q_hash_BHN = (q_BHNK * along).sum(-1) + (reach_BH1 - q_BHN).sqrt() * q_more
        k_hash_BHN = (k_BHNK * along).sum(-1) + (reach_BH1 - k_BHN).sqrt() * k_more
        return q_hash_BHN.argsort(-1), k_hash_BHN.argsort(-1)

    def _in_clusters(self, part_BHNK: Tensor, order_BHN: Tensor) -> Tensor:
        """Rows in order, (B, H, P, K); the last fills places that have no token."""
        missing = len(self.absent) - order_BHN.shape[-1]
        if missing:
            order_BHN = torch.cat((order_BHN, order_BHN[..., -1:].expand(-1, -1, missing)), dim=-1)
        return _rows(part_BHNK, order_BHN)

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        q_BHNK, k_BHNK, v_BHNK = self.qkv(tokens.x).view(B, N, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        q_BHNK, k_BHNK = self.rotated(tokens, q_BHNK, k_BHNK)
        q_order_BHN, k_order_BHN = self._orders(q_BHNK, k_BHNK)
        # sums over keys do not mind their order: all is done in the clusters', and only the output put back
        q_BHPK = self._in_clusters(q_BHNK, q_order_BHN)
        k_BHPK, v_BHPK = self._in_clusters(k_BHNK, k_order_BHN), self._in_clusters(v_BHNK, k_order_BHN)
        out_BHPK = self._attend(q_BHPK, k_BHPK, v_BHPK)
        out_BHNK = _rows(out_BHPK, q_order_BHN.argsort(-1))
        return self.proj(out_BHNK.transpose(1, 2).reshape(B, N, D))

    def _attend(self, q_BHPK: Tensor, k_BHPK: Tensor, v_BHPK: Tensor) -> Tensor:
        """The estimate for all keys, and what it lacks for those of the query's own cluster; (B, H, P, K)."""
        filled = len(self.absent) > self.layout.num_tokens
        w_KF = self.projection.T * self.head_dim**-0.25  # q and k each carry the root of attention's scale
        half = 0.5 * self.head_dim**-0.5
        q_dots_BHPF, k_dots_BHPF = q_BHPK @ w_KF, k_BHPK @ w_KF
        k_half_BHP1 = k_BHPK.square().sum(-1, keepdim=True) * half
        if filled:
            k_half_BHP1 = k_half_BHP1.masked_fill(self.absent.unsqueeze(-1), float("inf"))
        k_BHPF, k_largest_BH11 = key_features(k_dots_BHPF, k_half_BHP1)
        q_largest_BHP1 = q_dots_BHPF.amax(-1, keepdim=True).detach()

        # weights in the features' scale, which differs from query to query: what is common to a row cancels
        scale_BHP1 = q_BHPK.square().sum(-1, keepdim=True) * half - q_largest_BHP1 - k_largest_BH11
        q_GMK, k_GMK, v_GMK, k_GMF, scale_GM1 = (
            part.reshape(-1, self.cluster, part.shape[-1])
            for part in (q_BHPK, k_BHPK, v_BHPK, k_BHPF, scale_BHP1 + math.log(self.features))
        )
        logits_GMM = torch.baddbmm(scale_GM1, q_GMK, k_GMK.mT, alpha=self.head_dim**-0.5)
        if filled:
            absent_CM = self.absent.view(self.clusters, 1, self.cluster)
            logits_GMM = (
                logits_GMM.unflatten(0, (-1, self.clusters)).masked_fill(absent_CM, float("-inf")).flatten(0, 1)
            )
        top_GM1 = logits_GMM.amax(-1, keepdim=True).clamp(min=0).detach()
        # the estimate's queries are made smaller where a weight would be too large for the features' scale
        q_BHPF = exp_of_difference(q_dots_BHPF, q_largest_BHP1 + top_GM1.view_as(q_largest_BHP1))
        lacks_GMM = (logits_GMM - top_GM1).exp() - q_BHPF.view(-1, *k_GMF.shape[1:]) @ k_GMF.mT

        heard = (q_BHPF @ (k_BHPF.mT @ v_BHPK)).view_as(v_GMK)
        total = (q_BHPF @ k_BHPF.sum(-2).unsqueeze(-1)).view_as(top_GM1)
        out_GMK = (heard + lacks_GMM @ v_GMK) / (total + lacks_GMM.sum(-1, keepdim=True))
        return out_GMK.view_as(v_BHPK)

    def reference(self, tokens: Tokens) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens.x).chunk(3, -1))
        q, k = self.rotated(tokens, q, k)
        cluster_of = torch.arange(q.shape[2]) // self.cluster
        images = []
        for image in range(len(q)):
            outs = []
            for head in range(self.heads):
                qh, kh = q[image, head], k[image, head]
                reach = (qh**2).sum(1).max() + (kh**2).sum(1).max()
                zero = torch.zeros(len(qh), 1).to(qh)
                longer_q = torch.cat((qh, (reach - (qh**2).sum(1, keepdim=True)).sqrt(), zero), dim=1)
                longer_k = torch.cat((kh, zero, (reach - (kh**2).sum(1, keepdim=True)).sqrt()), dim=1)
                q_cluster, k_cluster = torch.empty_like(cluster_of), torch.empty_like(cluster_of)
                q_cluster[(longer_q @ self.direction).argsort()] = cluster_of
                k_cluster[(longer_k @ self.direction).argsort()] = cluster_of

                qh, kh = qh / self.head_dim**0.25, kh / self.head_dim**0.25
                q_features = torch.exp(qh @ self.projection.T - (qh**2).sum(1, keepdim=True) / 2)
                k_features = torch.exp(kh @ self.projection.T - (kh**2).sum(1, keepdim=True) / 2)
                estimate = q_features @ k_features.T / self.features
                weights = torch.where(q_cluster[:, None] == k_cluster[None], torch.exp(qh @ kh.T), estimate)
                outs.append(weights @ v[image, head] / weights.sum(1, keepdim=True))
            images.append(torch.cat(outs, dim=-1))
        return self.proj(torch.stack(images))

    def macs(self) -> int:
        n, d, f, h = self.layout.num_tokens, self.dim, self.features, self.heads
        p = self.clusters * self.cluster
        estimated = 2 * p * d * f + 2 * p * d * f + p * f * h
        exact = 2 * p * self.cluster * d + p * self.cluster * f * h
        return 4 * n * d * d + estimated + exact


def _rows(part_BHNK: Tensor, index_BHM: Tensor) -> Tensor:
    return part_BHNK.gather(2, index_BHM.unsqueeze(-1).expand(-1, -1, -1, part_BHNK.shape[-1]))
