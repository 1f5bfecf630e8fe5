"""In every block the patch tokens most alike are merged, `r` pairs at a time.

Idea     Tokens with the same keys are heard in the same way, so one of them, counted twice, will do.
Paper    Bolya et al. 2022, "Token Merging: Your ViT But Faster", sec. 3; written from the paper alone.
Shapes   B images, N tokens, H heads, K width per head, D width, P patch tokens, alternately in the sets A (its
         members counted by a, M of them merged) and B (counted by b).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.sequences import Sequence
from paretovit.zoo.tokens import Layout, Tokens


class Tome(Sequence):
    """Merges `r` patch tokens into the tokens they are most alike, at most half of them; no parameters.

    Tokens are taken alternately from the whole sequence, class token included: with one, the first patch is
    in B. Class tokens are in neither set, so they are never merged. Every token of A proposes to the token of
    B whose key, averaged over the heads, is nearest by cosine, and the `r` best proposals are accepted; several
    may go to one token of B. Merged tokens are the mean of the patches they stand for, which `tokens.size`
    counts from here on, so that a mixer that minds sizes hears them as often. Out come the class tokens, the
    tokens of A that are left, then B. With `r=0` the model is the plain ViT.

    Raises `UserError` for a negative `r`.
    """

    family = "token merging"
    where = "between"
    ask = "keys"

    def __init__(self, dim: int, layout: Layout, *, r: int) -> None:
        super().__init__(dim, layout)
        if r < 0:
            raise UserError(f"tome: r is the number of tokens to merge in a block, 0 or more, got {r}")
        self.merged = min(r, layout.patches // 2)

    def after(self) -> Layout:
        return self.layout.without_grid(self.layout.patches - self.merged) if self.merged else self.layout

    def forward(self, tokens: Tokens, answer: Tensor | None) -> Tokens:
        assert answer is not None
        if not self.merged:
            return tokens
        into_Ba, best_Ba = _proposals(answer.mean(1), tokens.prefix)
        order_Ba = best_Ba.argsort(dim=1, descending=True)
        source_BM = order_Ba[:, : self.merged]
        left = order_Ba[:, self.merged :].sort(dim=1).values
        target_BM = into_Ba.gather(1, source_BM)

        # (B, N, 1), and in single precision at least: half precision counts to 256 and no further
        size = torch.ones_like(tokens.x[..., 0]) if tokens.size is None else tokens.size
        size = size.to(torch.promote_types(tokens.x.dtype, torch.float32)).unsqueeze(-1)

        def merge(values: Tensor, reduce: str) -> Tensor:
            return _merge(values, tokens.prefix, left, source_BM, target_BM, reduce)

        merged_size = merge(size, "sum")
        return replace(
            tokens,
            x=(merge(tokens.x * size, "sum") / merged_size).to(tokens.x.dtype),
            grid=None,
            place=None if tokens.place is None else merge(tokens.place * size, "sum") / merged_size,
            size=merged_size.squeeze(-1),
            alive=None if tokens.alive is None else merge(tokens.alive.unsqueeze(-1), "amax").squeeze(-1),
        )

    def macs(self, mixer: Mixer) -> int:
        """The similarities of A and B."""
        if not self.merged:
            return 0
        in_a, in_b = (len(range(self.layout.patches)[part]) for part in _alternate(self.layout.prefix))
        return in_a * in_b * mixer.head_dim


def _alternate(prefix: int) -> tuple[slice, slice]:
    """Which patch tokens are in A and which in B: the even and the odd places of the whole sequence."""
    return slice(prefix % 2, None, 2), slice(1 - prefix % 2, None, 2)


def _proposals(key_BNK: Tensor, prefix: int) -> tuple[Tensor, Tensor]:
    """Of each token of A: which token of B it is most alike, and how much, both (B, a)."""
    of_a, of_b = _alternate(prefix)
    unit_BPK = torch.nn.functional.normalize(key_BNK[:, prefix:], dim=-1)
    alike, into = (unit_BPK[:, of_a] @ unit_BPK[:, of_b].mT).max(dim=2)
    return into, alike


def _merge(values: Tensor, prefix: int, left: Tensor, source: Tensor, target: Tensor, reduce: str) -> Tensor:
    """The prefix, the tokens `left` of A, and B after its tokens `target` have taken in the tokens `source` of A."""
    of_a, of_b = _alternate(prefix)
    patches = values[:, prefix:]
    a, b = patches[:, of_a], patches[:, of_b]

    def wide(index: Tensor) -> Tensor:
        return index.unsqueeze(-1).expand(-1, -1, values.shape[-1])

    taken = a.gather(1, wide(source))
    if reduce == "sum":
        b = b.scatter_add(1, wide(target), taken)  # the general form is unknown to several runtimes
    else:
        b = b.scatter_reduce(1, wide(target), taken, reduce, include_self=True)
    return torch.cat((values[:, :prefix], a.gather(1, wide(left)), b), dim=1)
