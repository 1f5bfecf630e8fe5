"""Output elements of matrix products and convolutions of one image (Dollár et al. 2021)."""

from __future__ import annotations

from paretovit.cost.indicators import Static


class Activations(Static):
    """Output elements of matrix products and convolutions of one image (Dollár et al. 2021)."""

    title = "activations"
    unit = "1"
    field = "activations"
