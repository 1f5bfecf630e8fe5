"""The attention maps of a model, layer by layer, taken from the very queries and keys that its attention is given.

Fused attention never makes its map. So each call of torch's fused operator is watched, and the map is worked out beside
it: rotary positions, normed queries, biases and token sizes are in what the operator is given, whoever wrote the model.

Shapes   B images, N tokens, H heads, K width per head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from paretovit.errors import UserError
from paretovit.zoo.backbone import Backbone, Block
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.tokens import Grid, Tokens
from paretovit.zoo.wholes.timm_replaced import PassedBy

_SWITCHES = ("fused_attn", "fused")  # of timm's attention, and of ours


@dataclass(frozen=True)
class AttentionMap:
    """What layer `layer`, counted from 0, attends to: weights (B, H, N, N), of each query its row, which sums to 1.

    prefix   class or register tokens in front of the patches
    grid     rows and columns of the patches; None where tokens were removed or merged
    """

    layer: int
    weights: Tensor
    prefix: int
    grid: Grid | None


@torch.no_grad()
def attention_maps(module: nn.Module, images: Tensor, see: Callable[[AttentionMap], None]) -> Tensor:
    """The logits of images (B, C, H, W); `see` is given the map of each layer in turn, so that one at a time needs
    memory. The module is put into evaluation mode.

    Raises `UserError` for a model without a list of blocks, and for a layer whose mixing is no softmax attention of
    all its tokens to all of them: it has no such map.
    """
    watch = _Watch(module, see)
    with ExitStack() as stack:
        for block in _blocks(module):
            stack.callback(block.register_forward_pre_hook(watch.enter).remove)
            stack.callback(block.register_forward_hook(watch.leave).remove)
        stack.enter_context(_fused(module))
        stack.enter_context(watch)
        logits: Tensor = module.eval()(images)
    return logits


def _blocks(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, Backbone):
        return [part for part in module.stages.modules() if isinstance(part, Block)]
    blocks = getattr(module, "blocks", None)
    if not isinstance(blocks, nn.ModuleList | nn.Sequential) or not hasattr(module, "patch_embed"):
        raise UserError(
            f"{type(module).__name__} has no list of blocks through which one sequence of tokens goes; give a ViT, "
            "DeiT, EVA, or a model on the skeleton"
        )
    layers: list[nn.Module] = []
    for block in blocks:  # stages of ours among them are looked into
        ours = [part for part in block.modules() if isinstance(part, Block)]
        layers += [] if isinstance(block, PassedBy) else ours or [block]
    return layers


class _Watch(TorchFunctionMode):
    """Stands beside a forward pass: knows in which block it is, and sees every call of the fused operator."""

    def __init__(self, module: nn.Module, see: Callable[[AttentionMap], None]) -> None:
        super().__init__()
        self.module, self.see = module, see
        self.layer, self.tokens, self.maps = -1, 0, list[Tensor]()
        self.lie: tuple[int, Grid | None] = (0, None)

    def enter(self, block: nn.Module, arguments: tuple[Any, ...]) -> None:
        tokens = arguments[0]
        self.layer, self.maps = self.layer + 1, []
        if isinstance(tokens, Tokens):
            self.tokens, self.lie = tokens.x.shape[1], (tokens.prefix, tokens.grid)
            return
        self.tokens = tokens.shape[1] if tokens.ndim == 3 else 0
        prefix = int(getattr(self.module, "num_prefix_tokens", 0))
        rows, columns = getattr(self.module.patch_embed, "grid_size", None) or (0, 0)
        self.lie = prefix, ((rows, columns) if prefix + rows * columns == self.tokens else None)

    def leave(self, block: nn.Module, arguments: tuple[Any, ...], out: Any) -> None:
        mixer = getattr(block, "mixer", None) or getattr(block, "attn", None) or block
        if len(self.maps) != 1 or (isinstance(mixer, Mixer) and not mixer.attends):
            raise UserError(
                f"layer {self.layer} mixes its tokens by {type(mixer).__name__}, which is no softmax attention of all "
                "tokens to all tokens, so there is no map; choose layers or a model of plain attention"
            )
        self.see(AttentionMap(self.layer, self.maps[0], *self.lie))

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            found = _weights(*args, **kwargs)
            if found.shape[-2:] == (self.tokens, self.tokens):
                self.maps.append(found)
        return func(*args, **kwargs)


def _weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale q k^T + mask), (B, H, N, M), in float32, of what the operator takes."""
    q, k = query.float(), key.float()
    if enable_gqa:
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3)
    logits = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        logits = logits.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        logits = logits + attn_mask
    return logits.softmax(-1)


@contextmanager
def _fused(module: nn.Module) -> Iterator[None]:
    """All attention by the fused operator, which can be watched; each as it was, afterwards."""
    changed = [
        (part, name)
        for part in module.modules()
        for name in _SWITCHES
        if getattr(part, name, None) is False and (name != "fused" or hasattr(part, "head_dim"))
    ]
    for part, name in changed:
        setattr(part, name, True)
    try:
        yield
    finally:
        for part, name in changed:
            setattr(part, name, False)
