from __future__ import annotations

import pytest
import torch
from timm.models.metaformer import SepConv

from paretovit.errors import UserError
from paretovit.zoo.mixers.separable_conv import SeparableConv
from paretovit.zoo.tokens import Layout, Tokens

NAMES = {
    "expand.weight": "pwconv1.weight",
    "scale": "act1.scale",
    "shift": "act1.bias",
    "conv.weight": "dwconv.weight",
    "proj.weight": "pwconv2.weight",
}


@pytest.mark.parametrize("grid", [(8, 12), (3, 2)], ids=str)
def test_agrees_with_timms_metaformer(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours, timms = SeparableConv(16, 1, Layout.of_grid(grid)), SepConv(16)
    torch.nn.init.normal_(ours.scale), torch.nn.init.normal_(ours.shift)
    timms.load_state_dict(
        {NAMES[name]: p[..., None, None] if p.ndim == 2 else p for name, p in ours.named_parameters()}
    )
    x = torch.randn(2, *grid, 16)
    expected = timms(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1, 2)
    torch.testing.assert_close(ours(Tokens(x.flatten(1, 2), grid)), expected)


@pytest.mark.parametrize("options", [{"kernel": 4}, {"expansion": 0.0}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        SeparableConv(16, 1, Layout.of_grid((4, 4)), **options)  # type: ignore[arg-type]
