"""Every token has its own depth: it adds up halting scores from block to block, and leaves when they reach 1.

Idea     Most patches have said what they have to say after a few blocks, and one channel of a token can tell.
Paper    Yin et al. 2022, "A-ViT: Adaptive Tokens for Efficient Vision Transformer", after Graves 2016,
         "Adaptive Computation Time"; written from the paper alone.
Differs  The weighted sum over depth is taken of every token, not of the class token alone, so that any read-out can
         follow. Halted tokens are not set to zero: nobody sees them. Tokens that have halted count nothing in the
         mean halting scores.
Shapes   B images, N tokens still in the sequence, D width, L blocks.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.zoo.sequences import Sequence, Turn
from paretovit.zoo.tokens import Halting, Layout, Tokens


class Avit(Sequence):
    """After each block a token's halting score is sigmoid(`gamma` * first channel + `beta`); no parameters.

    A token halts when its scores add up to 1 - `eps`, and in the last of the blocks in any case. The stage returns
    all its tokens, each the sum of the values it had, weighted by their scores; what is missing to 1 weighs the last.
    With scores near 0 the model is the plain ViT.

    In training mode halted tokens stay, marked in `tokens.alive`, and two losses are put into `tokens.aux`:
    `avit_ponder`, the mean over the tokens of the number of blocks and the remainder of the last, and
    `avit_distribution`, the Kullback-Leibler divergence of the mean scores over depth from a normal distribution of
    deviation 1 about the block at the share `centre` of the depth (the 8th of 12).

    Otherwise they leave: the sequence is as long as in the image of the batch that has most tokens left, in others
    masked. Where a length cannot depend on values (tensors without them, a compiled or exported model) all are
    masked: the same logits, and the work of the plain ViT. That is also what `macs` says, being the most it can be.

    `gamma` and `beta` are the paper's; its released code has 10 and -30 for tiny, 10 and -75 for small, and starts
    from a trained DeiT. Raises `UserError` for an `eps` or a `centre` outside 0 to 1.
    """

    family = "token removal"
    where = "after"
    counts = True
    trials = ({"beta": 0.0},)

    def __init__(
        self,
        dim: int,
        layout: Layout,
        turn: Turn,
        *,
        gamma: float = 5.0,
        beta: float = -10.0,
        eps: float = 0.01,
        centre: float = 2 / 3,
    ) -> None:
        super().__init__(dim, layout)
        if not 0 < eps < 1 or not 0 <= centre <= 1:
            raise UserError(f"avit: eps and centre are shares between 0 and 1, got {eps=}, {centre=}")
        self.turn, self.gamma, self.beta, self.eps, self.centre = turn, gamma, beta, eps, centre

    def after(self) -> Layout:
        return self.turn.start if self.turn.last else replace(self.layout, grid=None, masked=True)

    def forward(self, tokens: Tokens, answer: Tensor | None) -> Tokens:
        x_BND, before = tokens.x, tokens.halting
        if before is None:
            zeros_BN = torch.zeros_like(x_BND[..., 0], dtype=torch.promote_types(x_BND.dtype, torch.float32))
            before = Halting(tokens.with_x(torch.zeros_like(x_BND)), zeros_BN)
        running_BN = before.score < 1 - self.eps
        if self.turn.last:
            score_BN = torch.ones_like(before.score)
        else:
            score_BN = (self.gamma * x_BND[..., 0].to(before.score.dtype) + self.beta).sigmoid()
        score_BN = score_BN * running_BN
        stops_BN = running_BN & (before.score + score_BN >= 1 - self.eps)
        rest_BN = (1 - before.score) * stops_BN
        weight_BN = torch.where(stops_BN, rest_BN, score_BN).to(x_BND.dtype)
        out, means = _added(before, weight_BN.unsqueeze(-1) * x_BND), before.means
        if self.training:
            means = (*means, score_BN.mean())
            tokens.add_loss("avit_ponder", (running_BN + rest_BN).mean())
            if self.turn.last:
                tokens.add_loss("avit_distribution", self._divergence(torch.stack(means)))
        if self.turn.last:
            return replace(out, aux=tokens.aux)

        alive_BN = (running_BN & ~stops_BN).to(x_BND.dtype)
        alive_BN = alive_BN if tokens.alive is None else alive_BN * tokens.alive
        halting = Halting(out, before.score + score_BN, before.home, means)
        tokens = replace(tokens, grid=None, alive=alive_BN, halting=halting)
        return _heard(tokens if self.training or not _has_values(x_BND) else _shortened(tokens))

    def _divergence(self, means_L: Tensor) -> Tensor:
        share_L = means_L / means_L.sum()
        depth_L = torch.arange(1, len(means_L) + 1, device=means_L.device)
        wanted_L = (-(depth_L - self.centre * len(means_L)).square() / 2).to(means_L.dtype).log_softmax(0)
        return (share_L * (share_L.clamp(min=1e-12).log() - wanted_L)).sum()


def _added(halting: Halting, x_BND: Tensor) -> Tokens:
    """The tokens that will leave, with these values added to those still in the sequence."""
    out, home = halting.out, halting.home
    if home is None:
        return out.with_x(out.x + x_BND)
    return out.with_x(out.x.scatter_add(1, home.unsqueeze(-1).expand_as(x_BND), x_BND))


def _has_values(x: Tensor) -> bool:
    """Whether numbers can be read from a tensor now: not while compiling or exporting, nor from a fake one."""
    return type(x) is Tensor and not (x.is_meta or torch.compiler.is_compiling() or torch.jit._trace.is_tracing())


def _shortened(tokens: Tokens) -> Tokens:
    """Without the patch tokens that are dead in every image, as near as one length for all images allows."""
    assert tokens.alive is not None
    patches_BP = tokens.alive[:, tokens.prefix :] > 0.5
    count_B = patches_BP.sum(1)
    whole_B = (tokens.alive[:, : tokens.prefix] > 0.5).all(1)
    most, fewest, whole = torch.stack((count_B.amax(), count_B.amin(), whole_B.all())).tolist()  # one wait, not three
    most = max(most, 1)
    if most < patches_BP.shape[1]:
        order_BP = patches_BP.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        tokens = tokens.keep(order_BP[:, :most].sort(dim=1).values)
    return replace(tokens, alive=None) if whole and fewest == most else tokens


def _heard(tokens: Tokens) -> Tokens:
    """In an image with nothing left alive the first token is: attention to nothing is no number."""
    if tokens.alive is None:
        return tokens
    lonely_B1 = 1 - tokens.alive.amax(1, keepdim=True)
    return replace(tokens, alive=torch.cat((tokens.alive[:, :1] + lonely_B1, tokens.alive[:, 1:]), dim=1))
