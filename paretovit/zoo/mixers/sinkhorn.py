"""Attention inside blocks of consecutive tokens, and to one other block that the model learns to bring there.

Idea     A small network scores which block should stand beside which; alternately norming rows and columns of the
         scores makes them nearly a permutation, through which gradients still flow. A query then hears its own block
         and the one sorted to it, instead of all.
Paper    Tay et al. 2020, "Sparse Sinkhorn Attention"; as an encoder, so without the causal part.
Differs  Scores are not rectified: a score that is cut to zero learns nothing. Rows are normed last, so that every
         sorted token is a mean. What is known of a block is the mean of its tokens, not their sum. Gumbel noise is
         drawn only where `noise` asks for it.
Shapes   B images, N tokens, D width, H heads, K width per head, M blocks, C tokens in a block, S = M x C slots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._segments import segment_means
from paretovit.zoo.mixers._softmax import attend_among_few
from paretovit.zoo.tokens import Layout, Tokens


class Sinkhorn(Mixer):
    """Softmax attention of every token to its own block and to a mixture of blocks, nearly a single one.

    Where `blocks` do not divide the tokens, the first blocks are one token shorter than the last; a slot that a
    short block leaves empty is not heard, and after sorting it is heard as far as a long block was sorted there.
    With one block it is plain attention. `iterations` norms of rows and columns at `temperature` make the sorting
    matrix; in training `noise` times Gumbel noise is added to the scores (1 in the paper).
    """

    family = "sparse attention"
    rotates = True
    trials = ({"blocks": 1}, {"blocks": 4, "iterations": 2}, {"blocks": 31})
    into: Tensor | None
    back: Tensor | None
    unheard: Tensor

    def __init__(
        self,
        dim: int,
        heads: int,
        layout: Layout,
        *,
        blocks: int = 7,
        iterations: int = 8,
        temperature: float = 0.75,
        noise: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, layout)
        if blocks < 1 or iterations < 1:
            raise UserError(f"sinkhorn: needs a block and an iteration, got {blocks=}, {iterations=}")
        if temperature <= 0 or noise < 0:
            raise UserError(f"sinkhorn: temperature must be above 0 and noise not below, got {temperature=}, {noise=}")
        self.head_dim = head_dim_of(dim, heads, None)
        self.blocks = min(blocks, layout.num_tokens)
        self.iterations, self.temperature, self.noise = iterations, temperature, noise
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.scores = None
        if self.blocks > 1:
            # what is added to a whole column, norming takes off again: the last map has no bias
            last = nn.Linear(dim, heads * self.blocks, bias=False)
            self.scores = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), last)

        short, num_long = divmod(layout.num_tokens, self.blocks)
        self.block = short + (num_long > 0)
        self.short = self.blocks - num_long if num_long else 0  # blocks that leave their last slot empty
        into, back = (None, None) if not self.short else block_slots(layout.num_tokens, self.blocks)
        self.register_buffer("into", into, persistent=False)
        self.register_buffer("back", back, persistent=False)
        unheard = torch.zeros(self.blocks, self.block)
        unheard[: self.short, -1] = float("-inf")
        self.register_buffer("unheard", unheard, persistent=False)

    def forward(self, tokens: Tokens) -> Tensor:
        B, _, D = tokens.x.shape
        H, K, M, C = self.heads, self.head_dim, self.blocks, self.block
        x_BSD = tokens.x if self.into is None else tokens.x.index_select(1, self.into)
        q_BHSK, k_BHSK, v_BHSK = (part.transpose(1, 2) for part in self.qkv(x_BSD).view(B, M * C, 3, H, K).unbind(2))
        q_BHSK, k_BHSK = self.rotated(tokens, q_BHSK, k_BHSK, index=self.into)
        sort_BHMM, bias = None, None
        if self.scores is not None:
            log_BHMM = self._log_sort(tokens.x)
            sort_BHMM = log_BHMM.exp().to(k_BHSK.dtype)
            if self.short:
                bias = self._bias(log_BHMM).flatten(0, 1).unsqueeze(2).to(k_BHSK.dtype)
        heard_k, heard_v = (self._heard(part, sort_BHMM) for part in (k_BHSK, v_BHSK))
        # blocks go in the place of heads: the output lies there as (.., slot, block, width)
        out = attend_among_few(q_BHSK.reshape(B * H, M, C, K), heard_k, heard_v, bias)
        # copied in any case; a reshape would become a view in an export, where attention lays its output out otherwise
        out_BMCHK = out.view(B, H, M, C, K).permute(0, 2, 3, 1, 4).clone(memory_format=torch.contiguous_format)
        out_BSD = out_BMCHK.view(B, M * C, D)
        return self.proj(out_BSD if self.back is None else out_BSD.index_select(1, self.back))

    def _heard(self, x_BHSK: Tensor, sort_BHMM: Tensor | None) -> Tensor:
        """Keys or values by blocks, those sorted to each behind its own, (B H, M, 2 C, K); without sorting its own."""
        B, H, _, K = x_BHSK.shape
        blocks_BHMX = x_BHSK.contiguous().view(B, H, self.blocks, self.block * K)  # X = C K, a block as one row
        if sort_BHMM is not None:
            # a block's own come by a product as well, with 1 and 0: it takes less time than joining two tensors
            own = torch.eye(self.blocks, dtype=sort_BHMM.dtype, device=sort_BHMM.device).expand_as(sort_BHMM)
            blocks_BHMX = torch.stack((own, sort_BHMM), dim=3).flatten(2, 3) @ blocks_BHMX
        return blocks_BHMX.view(B * H, self.blocks, -1, K)

    def _log_sort(self, x_BND: Tensor) -> Tensor:
        """Logarithm of the sorting matrices (B, H, M, M), in single precision at least."""
        assert self.scores is not None
        B = len(x_BND)
        means_BMD = segment_means(x_BND.unsqueeze(1), self.blocks).squeeze(1)
        scores = self.scores(means_BMD).view(B, self.blocks, self.heads, self.blocks)
        scores_BHMM = scores.transpose(1, 2).to(torch.promote_types(scores.dtype, torch.float32))
        if self.training and self.noise:
            scores_BHMM = scores_BHMM - self.noise * torch.empty_like(scores_BHMM).exponential_().log()
        return log_sinkhorn(scores_BHMM / self.temperature, self.iterations)

    def _bias(self, log_BHMM: Tensor) -> Tensor:
        """What is added to the logits of each key, (B, H, M, 2 C): empty slots at home, and what was sorted in.

        The share of long blocks in a last slot weighs it as its logarithm does a logit. It is no way for gradients:
        attention is fused only with a bias that needs none.
        """
        B, H, M, _ = log_BHMM.shape
        share_BHM1 = log_BHMM.detach()[..., self.short :].logsumexp(-1, keepdim=True)
        home = self.unheard.to(share_BHM1.dtype).expand(B, H, M, -1)
        return torch.cat((home, share_BHM1.new_zeros(B, H, M, self.block - 1), share_BHM1), dim=-1)

    def reference(self, tokens: Tokens) -> Tensor:
        B, N, _ = tokens.x.shape
        short, num_long = divmod(N, self.blocks)
        lengths = [short + (m >= self.blocks - num_long) for m in range(self.blocks)]
        starts = [sum(lengths[:m]) for m in range(self.blocks)]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens.x).chunk(3, -1))
        q, k = self.rotated(tokens, q, k)
        out = torch.zeros_like(q)
        for image in range(B):
            if self.scores is not None:
                means = torch.stack([part.mean(0) for part in tokens.x[image].split(lengths)])
                scores = self.scores(means).view(self.blocks, self.heads, self.blocks)
            for head in range(self.heads):
                qh, kh, vh = q[image, head], k[image, head], v[image, head]
                if self.scores is None:
                    out[image, head] = (qh @ kh.T / self.head_dim**0.5).softmax(-1) @ vh
                    continue
                sort = torch.exp(scores[:, head] / self.temperature)
                for _ in range(self.iterations):
                    sort = sort / sort.sum(0, keepdim=True)
                    sort = sort / sort.sum(1, keepdim=True)
                for m, (start, length) in enumerate(zip(starts, lengths, strict=True)):
                    keys = [(torch.ones(()), kh[i], vh[i]) for i in range(start, start + length)]
                    for slot in range(max(lengths)):
                        # a block too short for the slot lends its last token
                        lent = [s + min(slot, n - 1) for s, n in zip(starts, lengths, strict=True)]
                        weight = sort[m][[slot < length for length in lengths]].sum()
                        keys.append((weight, sort[m] @ kh[lent], sort[m] @ vh[lent]))
                    for i in range(start, start + length):
                        weights = [w * torch.exp(qh[i] @ key / self.head_dim**0.5) for w, key, _ in keys]
                        heard = sum(w * value for w, (_, _, value) in zip(weights, keys, strict=True))
                        out[image, head, i] = heard / sum(weights)
        return self.proj(out.transpose(1, 2).flatten(2))

    def macs(self) -> int:
        n, d, m, slots = self.layout.num_tokens, self.dim, self.blocks, self.blocks * self.block
        linear = 3 * slots * d * d + n * d * d
        if m == 1:
            return linear + 2 * n * n * d
        sorting = m * d * d + m * d * self.heads * m + 4 * m * slots * d  # keys and values, own and sorted
        return linear + sorting + 2 * slots * 2 * self.block * d


def log_sinkhorn(scores: Tensor, iterations: int) -> Tensor:
    """Logarithm of the doubly stochastic matrix near exp(scores) (.., M, M), columns and rows normed in turn.

    Rows sum to 1, columns nearly: the more iterations the nearer.
    """
    for _ in range(iterations):
        scores = scores.log_softmax(-2).log_softmax(-1)
    return scores


def block_slots(num_tokens: int, blocks: int) -> tuple[Tensor, Tensor]:
    """The token in each slot of blocks that do not divide the tokens, (S,), and the slot of each token, (N,).

    The first blocks are one token shorter than the last; theirs stands in their last slot once more.
    """
    with torch.device("cpu"):  # worked out even where the model is built on "meta"
        short, num_long = divmod(num_tokens, blocks)
        lengths = torch.full((blocks,), short)
        lengths[blocks - num_long :] += 1
        starts = lengths.cumsum(0) - lengths
        slot = torch.arange(short + 1)
        into = (starts.unsqueeze(1) + slot.minimum(lengths.unsqueeze(1) - 1)).flatten()
        back = (slot < lengths.unsqueeze(1)).flatten().nonzero().squeeze(1)
    device = torch.get_default_device()
    return into.to(device), back.to(device)
