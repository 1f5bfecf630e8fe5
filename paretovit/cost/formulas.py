"""Closed formulas for the costs of plain vision transformers, thousands of configurations at once.

The model is our backbone's plain ViT: patch embedding by convolution, learned positions, pre-norm blocks with fused
attention and a two-layer MLP with GELU, read-out of the class token (normed alone) or of the mean of the patches,
linear head. What the numbers mean is defined in `rules.py`; a test holds each formula equal to the operator counter.

Letters  n patches, N tokens (n, and the class token), D width, H heads, M hidden width of the MLP, C channels of
         the image, P pixels of a patch, K classes.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretovit.errors import UserError

Ints = NDArray[np.int64]
FLOAT32_BYTES = 4


def vit_counts(
    *,
    depth: ArrayLike,
    heads: ArrayLike,
    head_dim: ArrayLike,
    mlp_ratio: ArrayLike,
    image_px: ArrayLike,
    patch_px: ArrayLike,
    num_classes: ArrayLike = 1000,
    in_chans: ArrayLike = 3,
    class_token: bool = True,
) -> dict[str, Ints]:
    """params, macs, elementwise_ops, activations and bytes_moved (float32) of one image, an array of each.

    Arguments are numbers or arrays that broadcast against each other; the width is `heads` x `head_dim`. Without
    class token the mean of the patches is read out. Raises `UserError` for sizes below 1 and for an image that
    its patch does not divide.
    """
    hidden_per_width = np.asarray(mlp_ratio, dtype=np.float64)
    sizes = [np.asarray(size, dtype=np.int64) for size in (depth, heads, head_dim, image_px, patch_px)]
    ends = [np.asarray(size, dtype=np.int64) for size in (num_classes, in_chans)]
    *arrays, ratio = np.broadcast_arrays(*sizes, *ends, hidden_per_width)
    L, H, head, image, P, K, C = arrays
    D = H * head
    M = np.rint(D * ratio).astype(np.int64)
    if any((array < 1).any() for array in (L, D, M, image, P, C)) or (K < 0).any():
        raise UserError("every size of a ViT must be at least 1 (num_classes at least 0)")
    if (image % P).any():
        worst = np.argmax(image % P > 0)
        raise UserError(
            f"image size {image.flat[worst]} is not divisible by the patch size {P.flat[worst]}; "
            f"drop such pairs or choose other sizes"
        )
    n = (image // P) ** 2
    N = n + class_token
    weights = 4 * D * D + 2 * D * M  # of the matrices of a block: queries, keys, values, projection; MLP
    biases = 5 * D + M

    params = C * P**2 * D + D + N * D + class_token * D + L * (weights + biases + 4 * D) + 2 * D + D * K + K
    macs = n * C * P**2 * D + L * (N * weights + 2 * N**2 * D) + D * K
    activations = n * D + L * (N * (biases + D) + H * N**2) + K

    # Bias of every matrix and convolution; positions; two norms, attention over H N^2 scores, two residual sums and
    # GELU per block; the mean of the patches; a norm of the one vector that is read out.
    block = N * biases + 2 * (7 * N * D + 2 * N) + 6 * H * N**2 + 2 * N * D + N * M
    elementwise = n * D + N * D + L * block + (not class_token) * N * D + (7 * D + 2) + K

    # Elements that every operator reads and writes. A linear map: its input, weights, bias and output.
    stem = C * image**2 + C * P**2 * D + D + n * D + class_token * ((D + n * D) + N * D) + 3 * N * D
    norms = 2 * (2 * N * D + 2 * D)
    attention = 3 * N * D + N * D
    linears = weights + biases + N * (D + 3 * D) + N * (D + D) + N * (D + M) + N * (M + D)
    block = norms + attention + linears + 2 * 3 * N * D + 2 * N * M
    read_out = (not class_token) * (N * D + D) + (2 * D + 2 * D)
    head_moves = np.where(K > 0, D + D * K + 2 * K, 0)
    moved = FLOAT32_BYTES * (stem + L * block + read_out + head_moves)

    return {
        "params": params,
        "macs": macs,
        "elementwise_ops": elementwise,
        "activations": activations,
        "bytes_moved": moved,
    }


def figure8_grid() -> dict[str, Ints]:
    """The 2,700 configurations of "Hardware-aware ViT scaling", Figure 8: the arguments of `vit_counts`.

    Depth, heads, width per head, MLP ratio, image and patch size, every combination, the last varying fastest.
    """
    axes = {
        "depth": (3, 6, 12, 18, 24),
        "heads": (2, 3, 6, 8, 12),
        "head_dim": (32, 64, 96),
        "mlp_ratio": (2, 4, 8),
        "image_px": (128, 160, 224, 320),
        "patch_px": (8, 16, 32),
    }
    columns = np.array(list(itertools.product(*axes.values())), dtype=np.int64).T
    return dict(zip(axes, columns, strict=True))
