"""Attention whose weights a token works out from itself alone, without a look at the others.

Idea     A small MLP tells from a token how much it wants to hear of each place. That is softmax attention to keys
         that are learned, one for each place, and the same for every image.
Paper    Tay et al. 2020, "Synthesizer: Rethinking Self-Attention in Transformer Models", sec. 3.1, eqs. 2 and 3
         (dense) and eq. 6 (factorized dense).
Differs  The second layer has no bias: it would be as many more logits that look at no token.
Shapes   B images, N tokens, D width, H heads, K width per head, S times T the factors of the places.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer, head_dim_of
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.tokens import Layout, Tokens


class SynthesizerDense(Mixer):
    """Values mixed by softmax(W2 relu(W1 x)): the first layer is shared by the heads, the second is theirs.

    With `factor` = S the second layer gives S + T numbers for each token, T = ceil(N / S), and the logit of place
    (s, t) is the product of the s-th and the t-th; places beyond N are dropped.
    """

    family = "fixed attention"
    trials = ({"factor": 4},)

    def __init__(self, dim: int, heads: int, layout: Layout, *, factor: int | None = None) -> None:
        super().__init__(dim, heads, layout)
        n = layout.num_tokens
        if factor is not None and not 1 <= factor <= n:
            raise UserError(f"synthesizer_dense: factor must lie between 1 and the {n} tokens, got {factor}")
        self.head_dim = head_dim_of(dim, heads, None)
        self.factors = None if factor is None else (factor, -(-n // factor))
        self.hidden_v = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        rows = n if self.factors is None else sum(self.factors)
        self.places = nn.Parameter(torch.empty(heads, rows, self.head_dim))
        nn.init.uniform_(self.places, -(self.head_dim**-0.5), self.head_dim**-0.5)  # as a linear layer's weights

    def forward(self, tokens: Tokens) -> Tensor:
        B, N, D = tokens.x.shape
        hidden_v = self.hidden_v(tokens.x).view(B, N, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        hidden_BHNK, v_BHNK = hidden_v[0].relu(), hidden_v[1]
        if self.factors is None:
            places_BHNK = self.places.to(v_BHNK.dtype).expand(B, -1, -1, -1)
            out_BHNK = attend(hidden_BHNK, places_BHNK, v_BHNK, scale=1.0)
        else:
            s, t = (hidden_BHNK @ self.places.mT).split(self.factors, dim=-1)
            logits_BHNN = (s.unsqueeze(-1) * t.unsqueeze(-2)).flatten(-2)[..., :N]
            out_BHNK = logits_BHNN.softmax(-1) @ v_BHNK
        return self.proj(out_BHNK.transpose(1, 2).reshape(B, N, D))

    def reference(self, tokens: Tokens) -> Tensor:
        hidden, values = self.hidden_v(tokens.x).chunk(2, dim=-1)
        outs = []
        for head in range(self.heads):
            at = slice(head * self.head_dim, (head + 1) * self.head_dim)
            logits = hidden[..., at].clamp(min=0) @ self.places[head].T
            if self.factors is not None:
                first, second = self.factors
                places = range(tokens.x.shape[1])
                logits = torch.stack([logits[..., n // second] * logits[..., first + n % second] for n in places], -1)
            weights = logits.exp() / logits.exp().sum(-1, keepdim=True)
            outs.append(weights @ values[..., at])
        return self.proj(torch.cat(outs, dim=-1))

    def macs(self) -> int:
        n, d = self.layout.num_tokens, self.dim
        return 3 * n * d * d + n * self.places.shape[1] * d + n * n * d
