"""timm's vision transformers block by block, whatever their blocks are made of: EVA, BEiT, DINOv2, register tokens, ...

Nothing here knows what a model does in front of its blocks and what it gives them beside the tokens (rotary tables,
masks, biases): it is asked once, by hooks, and what it gave is given again.

Shapes   B images, N tokens (`prefix` class or register tokens first), D width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.timm_vit import norm_part
from paretovit.zoo.tokens import Layout, Tokens


def layout_of(model: nn.Module, name: str) -> Layout:
    """Where the tokens lie that go through the blocks of timm's `model`.

    Raises `UserError` for a model that does not tell: one without a list of blocks of attention, or without a grid.
    """
    timms: Any = model
    blocks = getattr(model, "blocks", None)
    listed = isinstance(blocks, nn.ModuleList | nn.Sequential) and len(blocks) > 0
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    known = all(hasattr(model, fact) for fact in ("num_prefix_tokens", "embed_dim", "norm", "forward_head"))
    if not listed or not grid or not known:
        raise UserError(
            f"{name} is a {type(model).__name__}, which has no list of blocks that one sequence of tokens goes "
            "through; give a ViT, DeiT, EVA or the like"
        )
    return Layout.of_grid((int(grid[0]), int(grid[1])), int(timms.num_prefix_tokens))


def stage_like(model: nn.Module, spec: ModelSpec) -> ModelSpec:
    """`spec` with one stage beside: blocks of ours as wide as those of timm's `model`, with as many heads and norms
    like theirs. The MLP is the plain one, with as many weights as theirs: of a gated one with 8/3 D hidden, 4 D. The
    read-out is the class token, or the mean for all that hears the patches itself.

    Raises `UserError` for blocks whose mixing is no attention of heads.
    """
    timms: Any = model
    block, dim = timms.blocks[0], int(timms.embed_dim)
    heads = getattr(getattr(block, "attn", None), "num_heads", None)
    if heads is None or not isinstance(getattr(block, "mlp", None), nn.Module):
        raise UserError(f"{spec.name} has blocks of {type(block).__name__}, which are no attention and MLP; give a ViT")
    weights = sum(parameter.numel() for parameter in block.mlp.parameters() if parameter.ndim > 1)
    hidden = round(weights / (2 * dim))
    scaled = getattr(block, "gamma_1", None) is not None or not isinstance(
        getattr(block, "ls1", nn.Identity()), nn.Identity
    )
    stage = Stage(
        depth=len(timms.blocks),
        dim=dim,
        heads=int(heads),
        mlp=Part("mlp") if hidden == 4 * dim else Part.of("mlp", hidden=hidden),
        layer_scale=1e-5 if scaled else None,
    )
    pool = getattr(model, "global_pool", "token")
    return ModelSpec(
        name=spec.name,
        stages=(stage,),
        readout=Part("class_token" if timms.num_prefix_tokens and pool == "token" else "mean"),
        whole=spec.whole,
        norm=norm_part(block.norm1),
        image_px=spec.image_px,
        patch_px=spec.patch_px,
        in_chans=spec.in_chans,
        num_classes=spec.num_classes,
    )


class BlockByBlock:
    """A timm model to be gone through in stretches of blocks, as `Backbone` is in stages.

    `ends` are the last blocks of the stretches. Raises `UserError` for a model whose tokens or their number change on
    the way, and for one that gives other logits when gone through so.
    """

    def __init__(self, model: nn.Module, spec: ModelSpec, ends: Sequence[int]) -> None:
        timms: Any = model
        self.model, self.layout = timms, layout_of(model, spec.name)
        self.blocks: list[Any] = list(timms.blocks)
        self.stages = [range(first + 1, last + 1) for first, last in zip((-1, *ends[:-1]), ends, strict=True)]
        self.beside: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._ask(spec)

    @torch.no_grad()
    def _ask(self, spec: ModelSpec) -> None:
        """What the blocks are given, noted in a pass of its own in evaluation mode."""
        like: Tensor = next(self.model.parameters())
        images = torch.zeros(2, *spec.input_shape, dtype=like.dtype, device=like.device)
        if not like.is_meta:
            images.normal_(generator=torch.Generator(like.device).manual_seed(0))
        wanted = (self.layout.num_tokens, self.model.embed_dim)
        shapes: list[tuple[int, ...]] = []

        def note(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            shapes.append(tuple(args[0].shape[1:]))
            self.beside.append((args[1:], kwargs))

        was_training = self.model.training
        self.model.eval()
        try:
            with ExitStack() as stack:
                for block in self.blocks:
                    stack.callback(block.register_forward_pre_hook(note, with_kwargs=True).remove)
                whole = self.model(images[:1])
            if shapes != [wanted] * len(self.blocks):
                raise UserError(
                    f"{spec.name} does not take {wanted[0]} tokens of width {wanted[1]} through all of its blocks "
                    "once; give a ViT, DeiT, EVA or the like"
                )
            again = self.read(self.through(self.enter(images)))[:1]
        finally:
            self.model.train(was_training)
        if again.shape != whole.shape or not (
            like.is_meta or torch.allclose(again, whole, rtol=1e-3, atol=1e-4 * float(whole.abs().max()))
        ):
            raise UserError(f"{spec.name} does more than its blocks, a norm and a head: the logits differ; give a ViT")

    def enter(self, images: Tensor) -> Tokens:
        """The tokens of images (B, C, H, W) in front of the first block."""

        def stop(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Entered(args[0])

        handle = self.blocks[0].register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.model(images)
        except _Entered as found:
            return Tokens(found.x_BND, self.layout.grid, self.layout.prefix)
        finally:
            handle.remove()
        raise AssertionError("the model did not come to its first block")

    def through(self, tokens: Tokens, first: int = 0, last: int | None = None) -> Tokens:
        """The tokens behind stretch `last`, the model's last one by default, of those in front of stretch `first`."""
        x_BND = tokens.x
        for stretch in self.stages[first : None if last is None else last + 1]:
            for at in stretch:
                args, kwargs = self.beside[at]
                x_BND = self.blocks[at](x_BND, *args, **kwargs)
        return tokens.with_x(x_BND)

    def read(self, tokens: Tokens) -> Tensor:
        """Logits (B, K) from the tokens behind the last block."""
        logits: Tensor = self.model.forward_head(self.model.norm(tokens.x))
        return logits


class _Entered(Exception):
    """Carries the tokens (B, N, D) in front of the first block out of a forward pass, which ends there."""

    def __init__(self, x_BND: Tensor) -> None:
        super().__init__()
        self.x_BND = x_BND
