from __future__ import annotations

import pytest
import torch
from timm.models.focalnet import FocalModulation

from paretovit.errors import UserError
from paretovit.zoo.mixers.focal import Focal
from paretovit.zoo.tokens import Layout, Tokens


@pytest.mark.parametrize(("levels", "window"), [(2, 3), (3, 3), (1, 7)])
@pytest.mark.parametrize("grid", [(8, 12), (3, 2)], ids=str)
def test_agrees_with_timms_focalnet(grid: tuple[int, int], levels: int, window: int) -> None:
    torch.manual_seed(0)
    ours = Focal(16, 1, Layout.of_grid(grid), levels=levels, window=window)
    timms = FocalModulation(16, window, levels)
    theirs = {}
    for name, parameter in ours.named_parameters():
        inner = ".0.weight" if "convs" in name else ".weight"
        theirs[name.replace("convs.", "focal_layers.").replace(".weight", inner)] = parameter
    timms.load_state_dict(theirs)
    x = torch.randn(2, *grid, 16)
    expected = timms(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1, 2)
    torch.testing.assert_close(ours(Tokens(x.flatten(1, 2), grid)), expected)


@pytest.mark.parametrize("options", [{"levels": 0}, {"window": 4}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Focal(16, 1, Layout.of_grid((4, 4)), **options)
