from __future__ import annotations

import gc
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretovit.cost.live_bytes import live_bytes
from paretovit.spec import ModelSpec, Stage
from paretovit.zoo import backbone
from paretovit.zoo.build import build
from paretovit.zoo.mixers._softmax import attend
from paretovit.zoo.mlps import mlp
from paretovit.zoo.recompute import recomputed


def test_what_is_recomputed_is_not_kept_and_gradients_are_equal_to_the_last_bit() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 8, requires_grad=True)
    linear = nn.Linear(8, 3)

    def run(again: bool) -> tuple[int, list[Tensor]]:
        packed: list[int] = []

        def pack(t: Tensor) -> Tensor:
            packed.append(t.numel())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            active, before = F.gelu(x), x.detach()
            if again:
                with recomputed(active, lambda: F.gelu(before)):
                    out = linear(active)
            else:
                out = linear(active)
        return sum(packed), list(torch.autograd.grad(out.square().sum(), [x, *linear.parameters()]))

    (much, plain), (little, spared) = run(again=False), run(again=True)
    assert much - little >= 4 * 8
    assert all(torch.equal(a, b) for a, b in zip(plain, spared, strict=True))


def test_a_graph_that_no_backward_pass_goes_through_is_freed() -> None:
    def forward_alone() -> None:
        x = torch.empty(3, device="meta", requires_grad=True)
        value = x * 2
        with recomputed(value, lambda: x.detach() * 2):
            value.exp()  # keeps its own output for the backward pass

    with live_bytes() as held:
        forward_alone()
        gc.collect()
        assert held.now == 0


def test_second_derivatives_are_refused_and_never_wrong() -> None:
    x = torch.randn(3, requires_grad=True)
    value = x * 2
    with recomputed(value, lambda: x.detach() * 2):
        out = value.square().sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(out, x, create_graph=True)


def test_nothing_happens_where_no_gradient_is_asked_for() -> None:
    value = torch.randn(3)
    with torch.no_grad(), recomputed(value, lambda: 1 / 0):  # type: ignore[arg-type, return-value]
        assert torch.equal(value * 2, value + value)


def test_a_model_that_recomputes_learns_the_same_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec(
        name="m", stages=(Stage(depth=2, dim=64, heads=2),), image_px=32, patch_px=2, num_classes=5, in_chans=3
    )
    image = torch.randn(2, 3, 32, 32)

    def gradients() -> list[Tensor]:
        torch.manual_seed(0)
        model = build(spec)
        model(image).square().sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    spared = gradients()
    for module in (backbone, mlp):
        monkeypatch.setattr(module, "recomputed", lambda value, again: nullcontext())
    assert all(torch.equal(a, b) for a, b in zip(spared, gradients(), strict=True))


@pytest.mark.parametrize("bias", [False, True])
def test_half_precision_attention_has_the_gradients_of_single_precision(bias: bool) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, 5, 8).bfloat16().requires_grad_() for _ in range(3))
    mask = torch.randn(1, 1, 5, 5) if bias else None
    out = attend(q, k, v, None if mask is None else mask.bfloat16())
    assert out.dtype == torch.bfloat16
    grads = torch.autograd.grad(out.float().square().sum(), (q, k, v))
    wide = [part.detach().double().requires_grad_() for part in (q, k, v)]
    logits = wide[0] @ wide[1].mT / 8**0.5
    exact = (logits if mask is None else logits + mask.bfloat16().double()).softmax(-1) @ wide[2]
    expected = torch.autograd.grad(exact.square().sum(), wide)
    for grad, wanted in zip(grads, expected, strict=True):
        assert (grad.double() - wanted).norm() < 0.02 * wanted.norm()
