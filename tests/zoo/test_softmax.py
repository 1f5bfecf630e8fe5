"""Softmax attention by single products, which is taken where torch does not fuse it, against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paretovit.zoo.mixers import _softmax
from paretovit.zoo.mixers._softmax import attend, attend_among_few, attend_by_products


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


@pytest.mark.parametrize("shape", [None, (4, 3, 5, 7), (1, 4, 3, 5, 7), (5, 4, 3, 5, 7)], ids=str)
def test_few_keys_are_worked_on_in_parts_that_change_no_bit(
    shape: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = parts(5, 4, 3, dtype=torch.float32)
    bias = None if shape is None else torch.randn(shape, requires_grad=True)
    leaves = [q, k, v, *([] if bias is None else [bias])]
    whole = results(attend_among_few(q, k, v, bias), *leaves)
    of_images = []
    monkeypatch.setattr(
        _softmax, "attend_by_products", lambda q, *others: of_images.append(len(q)) or attend_by_products(q, *others)
    )
    monkeypatch.setattr(_softmax, "_WEIGHTS", 2 * 4 * 3 * 5 * 7)  # of two images
    found = results(attend_among_few(q, k, v, bias), *leaves)
    assert of_images == [2, 2, 1]
    assert torch.equal(found[0], whole[0])
    for mine, true in zip(found, whole, strict=True):
        torch.testing.assert_close(mine, true)
    alone = None if bias is None else bias[3:4] if len(bias) == 5 else bias
    assert torch.equal(attend_among_few(q[3:4], k[3:4], v[3:4], alone)[0], whole[0][3])
    with torch.no_grad():
        assert torch.equal(attend_among_few(q, k, v, bias), whole[0])


def test_many_keys_and_other_precisions_stay_with_the_fused_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_softmax, "attend_by_products", lambda *args, **kw: pytest.fail("written out"))
    q, k, v = parts(2, 3, dtype=torch.float32)
    attend_among_few(q.half(), k.half(), v.half())
    monkeypatch.setattr(_softmax, "_FEW", 6)
    torch.testing.assert_close(attend_among_few(q, k, v), F.scaled_dot_product_attention(q, k, v))


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
