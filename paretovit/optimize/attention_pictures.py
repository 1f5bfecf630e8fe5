"""Attention maps as pictures: the map itself, and what is attended to over the image.

Shapes   N tokens, P patches.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paretovit.zoo.checkpoint import write_whole

Floats = NDArray[np.float64]
_LEAST_PX = 384  # of a picture's side: a map of few tokens is enlarged
_BRIGHTEST = 0.995  # quantile of the weights that is white; few are far above all others
_WARM = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], float)  # dark to light


def map_picture(weights: Floats) -> Image.Image:
    """A map (N, N) as in Vadakkeveedu 2023, fig. 2.4: a row for each query, brighter where the weight is larger."""
    grey = Image.fromarray(np.uint8(np.round(255 * _shades(weights))))
    return grey.resize(_enlarged(grey.size), Image.Resampling.NEAREST)


def over_image(weights: Floats, image: Image.Image) -> Image.Image:
    """How much each patch, on its grid (rows, columns), is attended to: its colour over the image in grey."""
    size = _enlarged(image.size)
    shades = Image.fromarray(np.uint8(np.round(255 * _shades(weights)))).resize(size, Image.Resampling.BICUBIC)
    level = np.asarray(shades, float) / 255
    colours = np.stack([np.interp(level, np.linspace(0, 1, len(_WARM)), _WARM[:, c]) for c in range(3)], axis=-1)
    grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BICUBIC), float)[..., None]
    return Image.fromarray(np.uint8(np.round(0.35 * grey + 0.65 * colours)))


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG file as a whole. Raises `UserError` if the disk refuses."""
    content = io.BytesIO()
    picture.save(content, format="PNG")
    write_whole(path, content.getvalue())


def _shades(weights: Floats) -> Floats:
    """From 0 to 1, least to brightest; an even map is grey."""
    low, high = weights.min(), np.quantile(weights, _BRIGHTEST)
    if high <= low * (1 + 1e-6):
        return np.full(weights.shape, 0.5)
    shades: Floats = np.clip((weights - low) / (high - low), 0, 1)
    return shades


def _enlarged(size: tuple[int, int]) -> tuple[int, int]:
    """A size in pixels (width, height), made a whole number of times larger until its shorter side is long enough."""
    times = max(1, -(-_LEAST_PX // min(size)))
    return size[0] * times, size[1] * times
