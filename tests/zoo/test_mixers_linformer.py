from __future__ import annotations

from typing import Any

import pytest
import torch
from linformer.linformer import LinformerSelfAttention

from paretovit.cost.counting import count_module
from paretovit.errors import UserError
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.mixers.linformer import Linformer
from paretovit.zoo.rotation import Rotation
from paretovit.zoo.tokens import Layout, Tokens

LAYOUT = Layout.of_grid((4, 5), prefix=1)
VIX: dict[str, Any] = {"sharing": "keys_as_values", "head_dim": 32, "qkv_bias": False}  # Jeevan and Sethi 2022


def some_tokens(dim: int = 32, dtype: torch.dtype = torch.float64) -> Tokens:
    torch.manual_seed(3)
    return Tokens(torch.randn(2, 21, dim, dtype=dtype), (4, 5), prefix=1)


def turned(mixer: Linformer) -> Linformer:
    mixer.rotation = Rotation(mixer.head_dim, mixer.layout, axes=1, base=10_000.0).double()
    return mixer


# widths at which tokens are weighted first (8 of 21 places, 4 heads), and at which they are mapped first (1 head)
@pytest.mark.parametrize("key_heads", [1, 4])
@pytest.mark.parametrize("sharing", ["headwise", "keys_as_values"])
def test_agrees_with_the_package_linformer(key_heads: int, sharing: Any) -> None:
    torch.manual_seed(0)
    shared = sharing == "keys_as_values"
    theirs = LinformerSelfAttention(32, 21, k=8, heads=4, one_kv_head=key_heads == 1, share_kv=shared).double()
    mixer = Linformer(32, 4, LAYOUT, length=8, sharing=sharing, key_heads=key_heads, qkv_bias=False).double()
    mixer.q.load_state_dict(theirs.to_q.state_dict())
    mixer.proj.load_state_dict(theirs.to_out.state_dict())
    maps = [theirs.to_k.weight] if shared else [theirs.to_k.weight, theirs.to_v.weight]
    mixer.kv.weight.data = torch.cat(maps).detach()
    places = [theirs.proj_k] if shared else [theirs.proj_k, theirs.proj_v]
    mixer.places.data = torch.stack(list(places)).detach()
    tokens = some_tokens()
    torch.testing.assert_close(mixer(tokens), theirs(tokens.x))


def test_with_a_place_for_every_token_it_is_softmax_attention() -> None:
    torch.manual_seed(0)
    mixer = Linformer(32, 4, LAYOUT, length=21).double()
    mixer.places.data = torch.eye(21, dtype=torch.float64).expand(2, -1, -1).clone()
    plain = Attention(32, 4, LAYOUT).double()
    plain.qkv.weight.data = torch.cat((mixer.q.weight, mixer.kv.weight)).detach()
    plain.qkv.bias.data = torch.cat((mixer.q.bias, mixer.kv.bias)).detach()
    plain.proj.load_state_dict(mixer.proj.state_dict())
    torch.testing.assert_close(mixer(some_tokens()), plain(some_tokens()))
    for module in (mixer, plain):  # and with rotary positions too: values stay as they are
        module.rotation = Rotation(8, LAYOUT, axes=1, base=10_000.0).double()
    torch.testing.assert_close(mixer(some_tokens()), plain(some_tokens()))


@pytest.mark.parametrize("sharing", ["headwise", "key_value", "keys_as_values"])
def test_both_orders_of_weighting_and_mapping_give_the_same(sharing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mixer = Linformer(32, 4, LAYOUT, length=4, sharing=sharing, key_heads=2).double()
    mixed = {}
    for last in (True, False):
        monkeypatch.setattr(mixer, "_maps_last", lambda last=last: last)
        mixed[last] = mixer(some_tokens())
        assert count_module(mixer, some_tokens()).macs == 2 * mixer.macs()  # two images
    torch.testing.assert_close(mixed[True], mixed[False])


def test_takes_the_cheaper_order() -> None:
    n, d, places = 197, 192, 64
    places_first = 2 * n * places * d + 2 * places * d * d
    mapped_first = 2 * n * d * d + 2 * n * places * d
    assert places_first < mapped_first
    assert Linformer(d, 3, Layout(None, n, 0)).macs() == 2 * n * d * d + places_first + 2 * n * places * d
    assert Linformer(d, 3, Layout(None, places, 0)).macs() == 4 * places * d * d + 4 * places * places * d


@pytest.mark.parametrize("sharing", ["headwise", "key_value", "keys_as_values"])
def test_turned_keys_agree_with_the_reference_and_are_counted(sharing: Any) -> None:
    torch.manual_seed(0)
    mixer = turned(Linformer(32, 4, LAYOUT, length=4, sharing=sharing, key_heads=2).double())
    tokens = some_tokens()
    torch.testing.assert_close(mixer(tokens), mixer.reference(tokens))
    assert count_module(mixer, tokens).macs == 2 * mixer.macs()


@pytest.mark.parametrize(("tokens", "macs"), [(1025, 56_678_400), (1024, 56_623_104)])
def test_one_head_of_keys_that_are_the_values_costs_what_vision_xformers_count(tokens: int, macs: int) -> None:
    mixer = Linformer(128, 4, Layout(None, tokens, 0), key_heads=1, **VIX)
    assert mixer.macs() == macs
    assert sum(p.numel() for p in mixer.parameters()) == 36_992 + tokens * 64


@pytest.mark.parametrize(("tokens", "macs"), [(1025, 83_968_000), (1024, 83_886_080)])
def test_turned_keys_are_placed_apart_from_the_values_and_counted_so(tokens: int, macs: int) -> None:
    mixer = Linformer(128, 4, Layout(None, tokens, 0), **VIX)
    assert sum(p.numel() for p in mixer.parameters()) == 49_280 + tokens * 64
    assert turned(mixer).macs() == macs


def test_places_start_uniform_between_the_roots_of_one_over_their_number() -> None:
    torch.manual_seed(0)
    places = Linformer(32, 4, Layout(None, 400, 0), length=16).places
    assert places.shape == (2, 400, 16)
    assert 0.249 < places.max() <= 0.25
    assert -0.25 <= places.min() < -0.249
    assert places.var().item() == pytest.approx(0.25**2 / 3, rel=0.03)


def test_there_are_no_more_places_than_tokens() -> None:
    assert Linformer(32, 4, LAYOUT).length == 21


@pytest.mark.parametrize("options", [{"length": 0}, {"key_heads": 3}, {"key_heads": 0}, {"sharing": "all"}], ids=str)
def test_refuses_options_that_make_no_mixer(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Linformer(32, 4, LAYOUT, **options)
