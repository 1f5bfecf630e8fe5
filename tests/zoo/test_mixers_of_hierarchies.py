"""What is peculiar to the mixers of HiViT, EfficientMod, SLAB and STViT; what all promise stands in the contracts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.mixers.block_grid import BlockGrid
from paretovit.zoo.mixers.efficient_modulation import EfficientModulation
from paretovit.zoo.mixers.local_global import LocalGlobal
from paretovit.zoo.mixers.relative_attention import RelativeAttention
from paretovit.zoo.mixers.shifted_window import ShiftedWindow
from paretovit.zoo.mixers.simplified_linear_attention import SimplifiedLinearAttention
from paretovit.zoo.tokens import Layout, Tokens

DIM, HEADS, GRID = 32, 4, (6, 5)
LAYOUT = Layout.of_grid(GRID)
TOKENS = Tokens(torch.randn(2, 30, DIM, generator=torch.Generator().manual_seed(0)), grid=GRID)


def with_weights_of(mixer: Mixer, other: nn.Module) -> Mixer:
    missing = mixer.load_state_dict(other.state_dict(), strict=False)
    assert not missing.unexpected_keys
    return mixer


def test_relative_attention_is_swins_with_one_window() -> None:
    swin = ShiftedWindow(DIM, HEADS, LAYOUT, window=6)
    torch.testing.assert_close(with_weights_of(RelativeAttention(DIM, HEADS, LAYOUT), swin)(TOKENS), swin(TOKENS))


def test_without_a_bias_relative_attention_is_attention() -> None:
    plain = Attention(DIM, HEADS, LAYOUT)
    mixer = with_weights_of(RelativeAttention(DIM, HEADS, LAYOUT), plain)
    nn.init.zeros_(mixer.get_parameter("bias_table"))
    torch.testing.assert_close(mixer(TOKENS), plain(TOKENS))


def test_odd_blocks_of_local_global_are_attention() -> None:
    plain = Attention(DIM, HEADS, LAYOUT)
    mixer = with_weights_of(LocalGlobal(DIM, HEADS, LAYOUT, window=2, block=1), plain)
    torch.testing.assert_close(mixer(TOKENS), plain(TOKENS))


def test_even_blocks_of_local_global_are_window_attention_without_a_bias() -> None:
    windows = BlockGrid(DIM, HEADS, LAYOUT, window=2, partition="block")
    nn.init.zeros_(windows.bias_table)
    state = {name: value for name, value in windows.state_dict().items() if name != "bias_table"}
    mixer = LocalGlobal(DIM, HEADS, LAYOUT, window=2, block=0)
    mixer.load_state_dict(state)
    torch.testing.assert_close(mixer(TOKENS), windows(TOKENS))


def test_only_odd_blocks_of_modulation_widen() -> None:
    def params(block: int) -> int:
        mixer = EfficientModulation(DIM, HEADS, LAYOUT, ratio=6, kernel=7, block=block)
        return sum(p.numel() for p in mixer.parameters())

    context = 2 * (DIM * DIM + DIM) + 49 * DIM + DIM
    assert params(0) == context + 2 * (DIM * DIM + DIM)
    assert params(1) == context + 6 * DIM * DIM + 6 * DIM + 6 * DIM * DIM + DIM


def test_a_token_is_modulated_by_what_lies_within_the_kernel_and_nothing_else() -> None:
    mixer = EfficientModulation(DIM, HEADS, LAYOUT, kernel=3, block=1)
    changed = TOKENS.x.clone()
    changed[:, 12] += 1  # row 2, column 2
    moved = (mixer(TOKENS.with_x(changed)) - mixer(TOKENS)).abs().amax((0, 2)) > 1e-7
    assert moved.nonzero().flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]


def test_simplified_linear_attention_without_its_convolution_is_a_weighted_mean() -> None:
    mixer = SimplifiedLinearAttention(DIM, HEADS, LAYOUT)
    with torch.no_grad():
        mixer.conv.weight.zero_()
        mixer.conv.bias.zero_()
        mixer.qkv.weight[2 * DIM :] = 0
        mixer.qkv.bias[2 * DIM :] = torch.arange(float(DIM))  # every value is the same, and so is their mean
        mixer.qkv.bias[: 2 * DIM] = 1.0
    expected = mixer.proj(torch.arange(float(DIM)))
    torch.testing.assert_close(mixer(TOKENS), expected.expand(2, 30, DIM), rtol=1e-4, atol=1e-4)


def test_the_convolution_of_values_is_the_same_for_all_heads() -> None:
    mixer = SimplifiedLinearAttention(DIM, HEADS, LAYOUT)
    assert mixer.conv.weight.shape == (DIM // HEADS, 1, 5, 5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SimplifiedLinearAttention, {"kernel": 4}),
        (EfficientModulation, {"kernel": 4}),
        (EfficientModulation, {"ratio": 0}),
        (RelativeAttention, {}),
    ],
)
def test_options_that_make_no_mixer_are_refused_in_one_line(kind: type[Mixer], options: dict[str, int]) -> None:
    layout = LAYOUT if options else Layout.of_grid((2, 3, 5))
    with pytest.raises(UserError) as caught:
        kind(DIM, HEADS, layout, **options)  # type: ignore[call-arg]
    assert "\n" not in str(caught.value)
