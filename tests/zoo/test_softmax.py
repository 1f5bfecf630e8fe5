"""Softmax attention by single products, which is taken where torch does not fuse it, against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paretovit.zoo.mixers import _softmax
from paretovit.zoo.mixers._softmax import attend, attend_by_products


def parts(*lead: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*lead, n, 6, dtype=dtype, requires_grad=True) for n in (5, 7, 7)]


def results(out: Tensor, *leaves: Tensor) -> list[Tensor]:
    """The output and the gradients of its weighted sum."""
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [out, *torch.autograd.grad((out * weights).sum(), leaves, retain_graph=True)]


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 1, 1, 7), (2, 3, 5, 7)], ids=str)
def test_a_bias_that_learns_gives_the_same_with_the_same_gradients(
    shape: tuple[int, ...], scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(
        _softmax, "attend_by_products", lambda *args, **kw: calls.append(1) or attend_by_products(*args, **kw)
    )
    q, k, v = parts(2, 3)
    bias = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    deaf = torch.zeros(5, 7, dtype=torch.bool)
    deaf[1, :6] = deaf[3, 2] = True
    masked = bias.expand(*shape[:2], 5, 7).masked_fill(deaf, float("-inf"))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=masked.expand(2, 3, -1, -1), scale=scale)
    mine = attend(q, k, v, bias=masked, scale=scale)
    assert calls
    for found, true in zip(results(mine, q, k, v, bias), results(expected, q, k, v, bias), strict=True):
        torch.testing.assert_close(found, true)


def test_a_bias_of_each_window_is_broadcast_over_the_images() -> None:
    q, k, v = parts(2, 4, 3)
    bias = torch.randn(4, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    found = results(attend_by_products(q, k, v, bias), q, k, v, bias)
    each = [F.scaled_dot_product_attention(q[i], k[i], v[i], attn_mask=bias) for i in range(2)]
    for mine, true in zip(found, results(torch.stack(each), q, k, v, bias), strict=True):
        torch.testing.assert_close(mine, true)


def test_a_fixed_bias_stays_with_the_fused_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_softmax, "attend_by_products", lambda *args, **kw: pytest.fail("written out"))
    q, k, v = parts(2, 3)
    bias = torch.randn(1, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    attend(q, k, v, bias=bias.detach())
    with torch.no_grad():
        attend(q, k, v, bias=bias)


def test_half_precision_is_weighed_in_single() -> None:
    q, k, v = parts(2, 3, dtype=torch.bfloat16)
    bias = torch.randn(1, 3, 5, 7, dtype=torch.bfloat16, requires_grad=True)
    out = attend(q, k, v, bias=bias)
    expected = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=bias.float())
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected.bfloat16())
