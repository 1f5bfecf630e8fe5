"""The operator counter leaves models as it finds them, and says what it cannot count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from counted import cost, small_vit, timm_model
from torch import Tensor, nn

from paretovit.cost import rules
from paretovit.cost.counting import Call, Uncountable, Work, count, count_module, rule
from paretovit.errors import Unmeasurable, UserError

# --- the model is left as found ---


def test_counting_twice_gives_the_same() -> None:
    with torch.device("meta"):
        model = timm_model("levit_128s")  # it remembers the biases that it has looked up
        image = torch.empty(1, 3, 224, 224)
    assert count_module(model, image) == count_module(model, image)


def test_the_model_is_left_as_found() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.dropout = nn.BatchNorm1d(4), nn.Dropout(0.5)
            self.register_buffer("calls", torch.zeros(()))
            self.seen: dict[str, Tensor] = {}
            self.last: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.seen["x"] = self.last = x
            return self.dropout(self.norm(x))

    model = Remembers().train()
    model.dropout.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_module(model, torch.randn(3, 4))
    assert (model.training, model.norm.training, model.dropout.training) == (True, True, False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (model.seen, model.last) == ({}, None)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def without_operators(graph, inputs):
    """A compiler whose code runs no operator after its first call, as far as anybody can see."""
    results: list[Any] = []

    def run(*args):
        if not results:
            results.append(graph(*args))
        return results[0]

    return run


@pytest.mark.parametrize("wrap", ["whole", "in place", "a block"])
def test_a_compiled_model_costs_what_it_cost_before(wrap: str) -> None:
    model, image = small_vit().eval(), torch.zeros(1, 3, 32, 32)
    expected = count_module(model, image)
    if wrap == "whole":
        model = torch.compile(model, backend=without_operators)
    elif wrap == "in place":
        model.compile(backend=without_operators)
    else:
        model.blocks[0] = torch.compile(model.blocks[0], backend=without_operators)
    with torch.no_grad():
        model(image)
    assert count_module(model, image) == expected


def test_params_are_what_is_trained_bare_ones_included_and_shared_ones_once() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bare = nn.Parameter(torch.ones(7))
            self.one = nn.Linear(3, 3, bias=False)
            self.same = self.one
            self.frozen = nn.Linear(5, 5).requires_grad_(False)
            self.register_buffer("table", torch.ones(100))

        def forward(self, x: Tensor) -> Tensor:
            return self.same(self.one(x))

    counted = count(Odd, (1, 3))
    assert (counted.params, counted.macs) == (7 + 9, 2 * 9)


def test_operators_add_up_to_the_whole() -> None:
    counted = count(small_vit, (1, 3, 32, 32))
    by_operator = counted.by_operator.values()
    for number in ("macs", "elementwise_ops", "activations", "bytes_moved"):
        assert sum(getattr(operator, number) for operator in by_operator) == getattr(counted, number) > 0
    assert counted.by_operator["aten.scaled_dot_product_attention"].calls == 2
    assert next(iter(counted.by_operator)) == "aten.addmm"  # most macs
    assert "aten.view" not in counted.by_operator


# --- what cannot be counted ---


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch):
    """A user's own operator; the rules are put back afterwards."""
    monkeypatch.setattr(rules, "_RULES", dict(rules._RULES))
    library = torch.library.Library("paretovit_test", "FRAGMENT")
    library.define("scan(Tensor x, *, int steps=3) -> Tensor")
    library.impl("scan", lambda x, *, steps=3: torch.empty_like(x), "CompositeExplicitAutograd")
    yield torch.ops.paretovit_test.scan
    rules.find_rule.cache_clear()
    library._destroy()


def test_an_operator_without_a_rule_is_an_error_that_names_it(scan) -> None:
    with pytest.raises(Uncountable, match=r'paretovit_test\.scan.*@rule\("paretovit_test\.scan"\)') as raised:
        cost(lambda x: scan(x.exp()), (4, 5))
    assert isinstance(raised.value, UserError)
    assert "\n" not in str(raised.value)


def test_a_rule_of_the_users_counts_the_users_operator(scan) -> None:
    @rule("paretovit_test.scan")
    def _scan(call: Call) -> Work:
        return Work(macs=call["steps"] * call["x"].numel(), elementwise_ops=1)

    counted = cost(lambda x: scan(x, steps=7), (4, 5))
    assert (counted.macs, counted.elementwise_ops, counted.bytes_moved) == (140, 1, 2 * 20 * 4)
    assert cost(scan, (4, 5)).macs == 60  # the default of the schema


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[x > 0],
        torch.nonzero,
        lambda x: x.sum().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x.masked_select(x > 0),
        torch.unique,
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: F.one_hot(x.long()),
    ],
    ids=["mask", "nonzero", "item", "if", "masked_select", "unique", "tolist", "numpy", "one_hot"],
)
def test_a_model_that_needs_values_says_so(function) -> None:
    with pytest.raises(Unmeasurable, match=r"needs values.*count_module"):
        cost(function, (5,))
    cost(function, (5,), device="cpu")  # and on real tensors it counts


@pytest.mark.parametrize("ask", [lambda x: int(x.sum()), lambda x: len(x.tolist())], ids=["int", "tolist"])
def test_a_model_that_needs_values_to_be_built_says_so(ask) -> None:
    with pytest.raises(Unmeasurable, match="needs values"):
        count(lambda: nn.Linear(ask(torch.ones(3)), 2), (1, 3))


def test_an_error_of_the_model_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match=r"shape|size|reduction dim") as raised:
        cost(lambda x: x @ x, (4, 5))
    assert not isinstance(raised.value, Unmeasurable)
