"""A sparse model in a file: of masked weights what is kept, and where in its group it was.

The file is in the format of safetensors, so anybody can read it. A masked weight (O, I) in a pattern of N of M is two
tensors: `NAME.values` (O, I N / M), the kept weights in their order, and `NAME.indices`, a stream of bits: for every
group of M, group by group, N places of log2(M) bits each, ascending, the first in the lowest bits. Whatever else the
model has is there as it is. For 2:4 in 16 bits that is 9/16 of the dense weight.

The header holds the spec, and a SHA-256 over all that matters: a file that was changed anywhere is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, from_json, to_json
from paretovit.zoo.checkpoint import load_tensors, save_tensors
from paretovit.zoo.masked import Masked
from paretovit.zoo.patterns import Pattern

COMPRESSED = "compressed.safetensors"
_VALUES, _INDICES, _MASK = ".values", ".indices", ".weight_mask"
_FORMAT = 1

Bytes = NDArray[np.uint8]


def pack(weight_OI: Tensor, mask_OI: Tensor, pattern: Pattern) -> tuple[Tensor, Bytes]:
    """The kept weights (O, I N / M) and the bits of their places. `mask_OI` keeps exactly N in every group."""
    bits = np.packbits(mask_OI.cpu().numpy().reshape(-1), bitorder="little")
    masks = _from_bytes(bits, pattern.group, mask_OI.numel() // pattern.group)
    codes = _codes(pattern)[masks]
    if (codes < 0).any():
        raise UserError(f"a mask keeps other than {pattern.kept} of some {pattern.group} weights; make it anew")
    values = weight_OI.detach()[mask_OI].view(len(weight_OI), -1)
    return values, _to_bytes(codes, _code_bits(pattern))


def unpack(values: Tensor, places: Bytes, pattern: Pattern) -> tuple[Tensor, Tensor]:
    """The weight (O, I) with zeros, and its mask. Raises `UserError` for places that no `pack` writes."""
    rows, width = values.shape[0], values.shape[1] // pattern.kept * pattern.group
    groups, size = rows * width // pattern.group, _code_bits(pattern)
    if width * pattern.kept != values.shape[1] * pattern.group or len(places) != math.ceil(groups * size / 8):
        raise UserError("indices and values are not of one weight")
    codes = _from_bytes(places, size, groups)
    bits = _masks(pattern)[codes]
    if (bits == 0).any():
        raise UserError("indices name a place twice")
    mask = torch.from_numpy(np.unpackbits(bits[:, None], axis=1, count=pattern.group, bitorder="little"))
    mask_OI = mask.view(torch.bool).view(rows, width)
    weight = torch.zeros(rows, width, dtype=values.dtype)
    return weight.masked_scatter_(mask_OI, values), mask_OI


def save_compressed(path: Path, spec: ModelSpec, model: nn.Module, *, dtype: torch.dtype | None = None) -> None:
    """Write the model with its masked layers packed, its floating-point numbers as `dtype`, or as they are.

    Raises `UserError` if the disk refuses, and for numbers that `dtype` cannot hold.
    """
    masked = {name: module for name, module in model.named_modules() if isinstance(module, Masked)}
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        layer, _, last = name.rpartition(".")
        if name.endswith(_MASK) and layer in masked:
            continue
        stored = _as(tensor, dtype, name)
        if last == "weight" and layer in masked:
            module = masked[layer]
            mask = module.weight_mask.flatten(1)
            values, places = pack(stored.flatten(1), mask, module.pattern)
            tensors |= {name + _VALUES: values, name + _INDICES: torch.from_numpy(places)}
        else:
            tensors[name] = stored
    about: dict[str, Any] = {
        "format": _FORMAT,
        "spec": {**to_json(spec), "name": spec.name},
        "key": spec.key,
        "patterns": {f"{name}.weight": str(module.pattern) for name, module in masked.items()},
        "shapes": {f"{name}.weight": list(module.weight.shape) for name, module in masked.items()},
    }
    save_tensors(path, tensors, {**about, "checksum": _checksum(tensors, about)})


def load_compressed(path: Path) -> tuple[ModelSpec, dict[str, Tensor]]:
    """The spec, and a state dict, masks among it, for the module built from it.

    Raises `UserError` for a file that is damaged, cut off, changed, or no compressed model.
    """
    tensors, about = load_tensors(path)
    try:
        stated = about.pop("checksum")
        if about["format"] != _FORMAT:
            raise UserError(f"{path} was written by a newer paretovit; upgrade: pip install -U paretovit")
        if _checksum(tensors, about) != stated:
            raise UserError(f"{path} is damaged: its checksum is not that of its contents; restore it from a copy")
        spec = from_json(about["spec"])
        state: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            weight = name.removesuffix(_VALUES)
            if weight in about["patterns"] and name != weight:
                pattern, places = Pattern.of(about["patterns"][weight]), tensors[weight + _INDICES].numpy()
                dense, mask = unpack(tensor, places, pattern)
                shape = about["shapes"][weight]
                state[weight] = dense.view(shape)
                state[weight.removesuffix(".weight") + _MASK] = mask.view(shape)
            elif name.removesuffix(_INDICES) not in about["patterns"] or not name.endswith(_INDICES):
                state[name] = tensor
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{path} is no compressed model of paretovit ({reason}); restore it from a copy") from error
    return spec, state


def _as(tensor: Tensor, dtype: torch.dtype | None, name: str) -> Tensor:
    if dtype is None or not tensor.is_floating_point():
        return tensor.cpu()
    cast = tensor.to(dtype).cpu()
    if bool((cast.isinf() & ~tensor.cpu().isinf()).any()):
        raise UserError(
            f"{name} has numbers beyond {str(dtype).removeprefix('torch.')}; take --dtype bfloat16 or float32"
        )
    return cast


def _checksum(tensors: dict[str, Tensor], about: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _code_bits(pattern: Pattern) -> int:
    return pattern.kept * (pattern.group.bit_length() - 1)


@cache
def _codes(pattern: Pattern) -> NDArray[np.int32]:
    """For each mask of a group, the places of its bits one behind the other; -1 if it keeps more or fewer than N."""
    place_bits = pattern.group.bit_length() - 1
    codes = np.full(2**pattern.group, -1, dtype=np.int32)
    for mask in range(len(codes)):
        places = [place for place in range(pattern.group) if mask >> place & 1]
        if len(places) == pattern.kept:
            codes[mask] = sum(place << (place_bits * at) for at, place in enumerate(places))
    return codes


@cache
def _masks(pattern: Pattern) -> Bytes:
    """For each code the mask it came from; 0 for what is no code."""
    masks = np.zeros(2 ** _code_bits(pattern), dtype=np.uint8)
    codes = _codes(pattern)
    (known,) = np.nonzero(codes >= 0)
    masks[codes[known]] = known
    return masks


def _to_bytes(codes: NDArray[np.int32], size: int) -> Bytes:
    """Numbers of `size` bits each, one behind the other, the last byte filled up with zeros."""
    if 8 % size == 0:
        together = 8 // size
        padded = np.zeros((math.ceil(len(codes) / together), together), dtype=np.uint8)
        padded.reshape(-1)[: len(codes)] = codes
        stream = padded[:, 0].copy()
        for at in range(1, together):
            stream |= padded[:, at] << np.uint8(size * at)
        return stream
    bits = codes[:, None] >> np.arange(size, dtype=np.int32) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little")


def _from_bytes(stream: Bytes, size: int, count: int) -> NDArray[np.int32]:
    if 8 % size == 0:
        codes = np.empty((len(stream), 8 // size), dtype=np.int32)
        for at in range(8 // size):
            codes[:, at] = stream >> np.uint8(size * at) & np.uint8(2**size - 1)
        return codes.reshape(-1)[:count]
    bits = np.unpackbits(stream, count=count * size, bitorder="little").reshape(count, size)
    return (bits.astype(np.int32) << np.arange(size, dtype=np.int32)).sum(axis=1, dtype=np.int32)
