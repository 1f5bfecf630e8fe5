"""The column "Size (MB)": neither a file nor memory of a GPU, but the total that torchsummary 1.5.1 estimates.

It is the bytes of one image, of all trained numbers stored as the weight or bias of a layer, and twice (forward and
gradient) those of every output that the tool sees, in units of 2^20. It sees what each call of a module object
returns, the model itself and plain containers left out. So a wrapper is counted on top of its parts, dropout at rate
0 counts, and what functions return (products, a functional softmax, concatenation) does not count.

Shapes   n = 1024 patches, N = 1025 tokens with the class token, D = 128 width, M = 256 hidden width of the MLP,
         h = 4 heads of d = 32, I = h d, k = 64 of Linformer.
"""

from __future__ import annotations

import re
from math import ceil

from paretovit.papers._hybrid_xformers_tables import Row

n, N = 1024, 1025
D, M = 128, 256
h, d, I = 4, 32, 128  # noqa: E741
k = 64
LANDMARKS = 64  # of Nyström attention, which pads the tokens to a multiple of them


def size_mb(row: Row, params: int) -> float:
    """What the tool prints, rounded as it does; `params` are the weights and biases of layers."""
    return round((4 * 3 * row.image_px**2 + 8 * recorded_elements(row) + 4 * params) / 2**20, 2)


def recorded_elements(row: Row) -> int:
    """Elements of all outputs that the tool sees for one image."""
    hybrid, name = row.name.startswith("Hybrid "), row.name.removeprefix("Hybrid ")
    stem = n * (32 + 64 + D) + n * D if hybrid else 3 * row.patch_px**2 * n + n * D
    if name == "MLP Mixer":
        return stem + 56 * n * D + n * D + D + row.num_classes
    family, x = ("Vi", "FNet") if name == "FNet" else _letters(name)
    rest = {"Vi": _vix, "LeVi": _levix, "CC": _ccx, "Cv": _cvx, "Pi": _pix}[family](x, row)
    return rest + (stem if family in ("Vi", "Pi") else 0) + (3 * n if family == "Pi" and not hybrid else 0)


def _vix(x: str, row: Row) -> int:
    """Dropout after the embedding, four blocks, the stack of them, the head's norm and linear map, rotary angles."""
    blocks = 4 * (_mix(x, N, D, rope=row.rope) + _mlp(N, D))
    angles = (_padded(N) if x == "N" else N) * d if row.rope else 0
    return N * D + blocks + N * D + 2 * D + row.num_classes + angles


def _mix(x: str, N: int, D: int, *, rope: bool = False) -> int:
    """Norm, mixer and wrappers of a block of ViX and PiX."""
    return {
        "T": 5 * N * D + 3 * N * I + h * N * N,
        "P": 5 * N * D + 4 * N * I,
        "L": 4 * N * D + N * I + (N * I if rope else N * d) + h * N * k,
        "N": 3 * N * D + _padded(N) * (4 * I + 2 * D),
        "FNet": 3 * N * D,
    }[x]


def _mlp(N: int, D: int) -> int:
    return 5 * N * D + 3 * N * M


def _levix(x: str, row: Row) -> int:
    mix = {"T": 11 * n * D + h * n * n, "P": 9 * n * D, "L": 5 * n * D + n * d + h * n * k, "N": 9 * n * D}[x]
    return n * (32 + 64 + D) + 4 * (mix + 3 * n * M + 3 * n * D) + n * D + 2 * D + row.num_classes


def _ccx(x: str, row: Row) -> int:
    """The MLP is 512 wide; of attention dropout only CCT's is a module, and so is its map seen."""
    mix = {"T": 6 * n * D + h * n * n, "P": 7 * n * D, "L": 3 * n * D + n * d + h * n * k, "N": 7 * n * D}[x]
    tokenizer, pooling = n * (6 * 64 + 3 * D), n
    blocks = 4 * (mix + 7 * n * D + 2 * n * 512)
    return tokenizer + 3 * n * D + blocks + n * D + pooling + 2 * row.num_classes


def _cvx(x: str, row: Row) -> int:
    """CvT folds the heads into the batch, which the tool leaves out: its map counts once, not h times."""
    mix = {"T": 19 * n * D + n * n, "P": 9 * n * D, "L": 5 * n * D + n * d + h * n * k, "N": 9 * n * D}[x]
    return 9 * n * D + 4 * (2 * n * D + mix + 5 * n * D + 3 * n * M) + 2 * D + row.num_classes


def _pix(x: str, row: Row) -> int:
    """Two blocks at N tokens of width D, down-sampling, two blocks at 257 tokens of width 2 D."""
    few, wide = 257, 2 * D
    first = N * D + 2 * (_mix(x, N, D) + _mlp(N, D)) + N * D
    pooling = wide + 3 * 256 * wide + few * wide
    return first + pooling + 2 * (_mix(x, few, wide) + _mlp(few, wide)) + few * wide + wide + row.num_classes


def _padded(tokens: int) -> int:
    return LANDMARKS * ceil(tokens / LANDMARKS)


def _letters(name: str) -> tuple[str, str]:
    """ "LeViP" -> "LeVi" and "P"."""
    match = re.fullmatch(r"(Vi|LeVi|CC|Cv|Pi)([TPLN])", name)
    assert match is not None, name
    return match[1], match[2]
