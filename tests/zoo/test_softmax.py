"""Softmax attention by single products, which is taken where torch does not fuse it, against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.cost.live_bytes import live_bytes
from paretovit.zoo.mixers import _softmax
from paretovit.zoo.mixers._softmax import attend, attend_by_products, by_products


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


@pytest.mark.parametrize(
    ("heads", "keys", "dtype", "expected"),
    [
        (32, 7, torch.float32, True),
        (31, 7, torch.float32, False),  # few problems
        (32, 129, torch.float32, False),  # long rows
        (32, 7, torch.float64, False),
        (32, 7, torch.bfloat16, False),
    ],
)
def test_many_small_problems_are_written_out_on_a_cpu(
    heads: int, keys: int, dtype: torch.dtype, expected: bool
) -> None:
    torch.manual_seed(0)
    q, k = (torch.randn(2, heads, n, 6, dtype=dtype) for n in (5, keys))
    assert by_products(q, k, None) is expected
    assert not by_products(q.to("meta"), k.to("meta"), None)  # a count is of the operator, not of how it is done
    if expected:
        v = torch.randn_like(k)
        torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_more_weights_than_memory_is_handed_out_for_stay_with_the_fused_operator() -> None:
    q = torch.randn(64, 8, 128, 2)
    assert not by_products(q, q, None)
    assert by_products(q[:32], q[:32], None)


def test_memory_is_predicted_for_what_is_done_on_a_cpu() -> None:
    q, k, v = (torch.empty(2, 32, 5, 6, device="meta") for _ in range(3))
    with live_bytes() as live:
        attend(q, k, v)
    weights = 2 * 32 * 5 * 5 * 4
    assert live.peak >= 2 * weights  # logits and their softmax
    assert not by_products(q, k, None)


def test_an_export_keeps_the_operator() -> None:
    class Attend(nn.Module):
        def forward(self, q: Tensor) -> Tensor:
            return attend(q, q, q)

    program = torch.export.export(Attend(), (torch.randn(2, 32, 5, 6),))
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert torch.ops.aten.scaled_dot_product_attention.default in called


def test_half_precision_is_weighed_in_single() -> None:
    q, k, v = parts(2, 3, dtype=torch.bfloat16)
    bias = torch.randn(1, 3, 5, 7, dtype=torch.bfloat16, requires_grad=True)
    out = attend(q, k, v, bias=bias)
    expected = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=bias.float())
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected.bfloat16())
