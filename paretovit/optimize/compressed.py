"""A sparse model in a file: of masked weights what is kept, and where in its group it was.

The file is in the format of safetensors, so anybody can read it. A masked weight (O, I) in a pattern of N of M is two
tensors: `NAME.values` (O, I N / M), the kept weights in their order, and `NAME.indices`, the stream of bits that
`packing.py` tells of. Whatever else the model has is there as it is. For 2:4 in 16 bits that is 9/16 of the dense
weight.

The header holds the spec, and a SHA-256 over all that matters: a file that was changed anywhere is refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretovit.errors import UserError
from paretovit.optimize.packing import pack, unpack
from paretovit.spec import ModelSpec, from_json, to_json
from paretovit.zoo.checkpoint import load_tensors, save_tensors
from paretovit.zoo.masked import Masked
from paretovit.zoo.patterns import Pattern

COMPRESSED = "compressed.safetensors"
_VALUES, _INDICES, _MASK = ".values", ".indices", ".weight_mask"
_FORMAT = 1


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
