"""Breakdowns of a training step: phases against a scripted clock, operators of the backward pass against what their
forward pass must have as derivatives."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import nullcontext

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from paretovit.cost.groups import OUTSIDE, Op
from paretovit.cost.operator_times import step_operators
from paretovit.cost.phases import Phase, phase_seconds
from paretovit.cost.prepare import prepare
from paretovit.cost.profile import NO_LAYER, STEP_SHARE, profile, profile_step
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions
from paretovit.report.breakdown import breakdown_tables
from paretovit.spec import ModelSpec
from paretovit.store import Store
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

VIT = "vit_pico_patch2_8"
HEAVY = {"linear", "convolution", "fused attention", "norm", "softmax"}


class Trained:
    """Forward, sum, backward and SGD of any model on one batch."""

    cuda = False

    def __init__(self, model: nn.Module, batch: Tensor, dtype: torch.dtype | None = None) -> None:
        self.model, self.batch = model.train(), batch
        self.mixed = nullcontext() if dtype is None else torch.autocast("cpu", dtype)
        self.optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3, foreach=False)

    def step(self, phase: Phase) -> None:
        self.optimizer.zero_grad()
        with phase("forward"), self.mixed:
            answer = self.model(self.batch)
        with phase("loss"):
            loss = answer.float().square().mean()
        with phase("backward"):
            loss.backward()
        with phase("optimizer"):
            self.optimizer.step()

    def synchronize(self) -> None: ...


class Block(nn.Module):
    """One of each: convolution, embedding, norm, products with weights and with each other, softmax, GELU, residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.place = nn.Embedding(16, 8)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.act = nn.GELU()

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image).flatten(2).mT + self.place(torch.arange(16))
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return x + self.act(self.out((q @ k.mT).softmax(-1) @ v))


@pytest.fixture(scope="module")
def block() -> list[Op]:
    torch.manual_seed(0)
    training = Trained(Block(), torch.randn(2, 3, 8, 8))
    step_operators(training)
    return step_operators(training)


def of(ops: list[Op], phase: str, operator: str) -> list[Op]:
    return [op for op in ops if (op.phase, op.operator) == (phase, f"aten.{operator}")]


@pytest.mark.parametrize(
    ("operator", "group", "layer"),
    [
        ("native_layer_norm_backward", "norm", "norm"),
        ("_softmax_backward_data", "softmax", ""),
        ("convolution_backward", "convolution", "stem"),
        ("embedding_dense_backward", "gather", "place"),
        ("gelu_backward", "element-wise", "act"),
    ],
)
def test_an_operator_of_the_backward_pass_belongs_to_what_it_is_the_derivative_of(block, operator, group, layer):
    (op,) = of(block, "backward", operator)
    assert (op.group, op.layer) == (group, layer)
    assert op.seconds > 0


def test_a_product_has_two_in_the_backward_pass_of_its_own_kind_and_layer(block):
    with_weights = Counter(op.layer for op in of(block, "backward", "mm"))
    assert with_weights == {"qkv": 2, "out": 2}
    assert {op.group for op in of(block, "backward", "mm")} == {"linear"}
    of_activations = of(block, "backward", "bmm")
    assert len(of_activations) == 2 * len(of(block, "forward", "bmm")) == 4
    assert {(op.group, op.layer) for op in of_activations} == {("attention matmul", "")}


def test_the_gradients_of_a_bias_are_summed_in_its_layer(block):
    sums = [op for op in of(block, "backward", "sum") if op.layer in ("qkv", "out")]
    assert {op.layer for op in sums} == {"qkv", "out"}
    assert {op.group for op in sums} == {"linear"}


def test_the_optimizer_and_the_loss_belong_to_no_layer(block):
    assert {op.layer for op in block if op.phase in ("optimizer", "loss", "other")} == {None}
    assert {op.group for op in block if op.phase == "optimizer"} == {"element-wise"}
    assert {op.phase for op in block} <= {"forward", "loss", "backward", "optimizer", "other"}


def test_where_only_the_head_is_trained_the_backward_pass_is_one_product():
    model = nn.Sequential(nn.Conv2d(3, 8, 2, 2), nn.Flatten(), nn.LayerNorm(128), nn.Linear(128, 16), nn.Linear(16, 4))
    model[:4].requires_grad_(False)
    ops = step_operators(Trained(model, torch.randn(2, 3, 8, 8)))
    forward = [op for op in ops if op.phase == "forward" and op.operator == "aten.addmm"]
    assert [(op.layer, op.group) for op in forward] == [("3", "linear"), ("4", "linear")]
    assert [(op.layer, op.group) for op in of(ops, "backward", "mm")] == [("4", "linear")]  # of the weight alone
    assert {op.layer for op in ops if op.phase == "backward"} <= {"4", None}
    assert not {op.group for op in ops if op.phase == "backward"} & {"convolution", "norm"}


def test_a_vit_has_twice_the_products_with_weights_in_each_layers_backward_pass():
    training = prepare(VIT, threads=1, batch_size=2, training=True)
    ops = step_operators(training)
    forward = Counter(op.layer for op in of(ops, "forward", "addmm"))
    backward = Counter(op.layer for op in of(ops, "backward", "mm") if op.group == "linear")
    depth = resolve(VIT).stages[0].depth
    assert forward.total() == 4 * depth + 1
    assert backward == {layer: 2 * count for layer, count in forward.items()}


def test_the_forward_pass_has_the_groups_that_inference_has_in_each_layer():
    infer = prepare(VIT, threads=1, batch_size=2)
    train = prepare(VIT, threads=1, batch_size=2, training=True)
    called, stepped = (
        {(op.layer, op.group) for op in ops if op.group in HEAVY}
        for ops in (infer.profile(), [op for op in step_operators(train) if op.phase == "forward"])
    )
    assert called == stepped
    assert {group for _, group in called} == HEAVY - {"softmax"}


def test_products_with_copies_of_weights_in_mixed_precision_are_linear():
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
    ops = step_operators(Trained(model, torch.randn(4, 16), torch.bfloat16))
    products = [op for op in ops if op.operator in ("aten.addmm", "aten.mm")]
    assert len(products) == 2 + 3  # the image itself needs no gradient
    assert {op.group for op in products} == {"linear"}


class AsConvolution(nn.Linear):
    """A linear map as training does it on some processors."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.T[None, :, :, None]
        return nn.functional.conv2d(pixels, self.weight[:, :, None, None], self.bias)[0, :, :, 0].T


def test_a_linear_map_that_is_done_by_a_convolution_is_linear_and_a_convolution_is_not():
    model = nn.Sequential(nn.Conv2d(3, 8, 2, 2), nn.Flatten(), AsConvolution(128, 16))
    ops = step_operators(Trained(model, torch.randn(2, 3, 8, 8)))
    groups = {(op.phase, op.layer, op.group) for op in ops if "convolution" in op.operator}
    assert groups == {
        (phase, layer, group)
        for phase in ("forward", "backward")
        for layer, group in (("0", "convolution"), ("2", "linear"))
    }


def test_what_checkpointing_works_out_again_belongs_to_the_backward_pass_and_to_its_layer():
    module = build(VIT)
    module.set_grad_checkpointing(True)
    ops = step_operators(Trained(module, torch.randn(2, *resolve(VIT).input_shape)))
    again = Counter(op.layer for op in of(ops, "backward", "addmm"))
    first = Counter(op.layer for op in of(ops, "forward", "addmm"))
    assert again
    assert again.items() <= first.items()
    assert {op.group for op in of(ops, "backward", "addmm")} == {"linear"}


class Clocked:
    """A step whose phases take what is written here."""

    cuda, model = False, nn.Identity()

    def __init__(self) -> None:
        self.now = 0.0

    def step(self, phase: Phase) -> None:
        with phase("optimizer"):
            self.now += 1
        self.now += 2
        with phase("loss"):
            self.now += 4
            with phase("forward"):
                self.now += 8
            self.now += 16
        with phase("optimizer"):
            self.now += 32
        self.now += 64

    def synchronize(self) -> None: ...


def test_phases_take_what_passes_in_them_and_an_inner_one_takes_from_the_outer_one():
    step = Clocked()
    took = phase_seconds(step, lambda: step.now)
    assert list(took.items()) == [("forward", 8), ("loss", 4 + 16), ("optimizer", 1 + 32), ("other", 2 + 64)]
    assert sum(took.values()) == step.now


def test_shares_of_every_step_add_to_one_by_group_and_by_layer(tmp_path):
    with Store(tmp_path / "rows.sqlite") as store:
        rows = profile([VIT], threads=1, calls=3, batch_size=2, training=True, store=store)
        assert store.rows() == rows
    assert {row.indicator for row in rows} == {STEP_SHARE}
    layers = [row for row in rows if row.conditions.part.startswith("layer")]
    groups = [row for row in rows if row not in layers]
    for own in (layers, groups):
        assert len(own) > 5
        for step in range(3):
            assert sum(row.samples[step] for row in own) == pytest.approx(1)
            assert all(row.samples[step] >= 0 for row in own)
    phases = list(dict.fromkeys(row.conditions.part.partition(" ")[0] for row in groups))
    assert phases == ["forward", "loss", "backward", "optimizer", "other"]
    assert {f"{phase} {OUTSIDE}" for phase in phases} <= {row.conditions.part for row in groups}
    assert layers[-1].conditions.part == f"layer {NO_LAYER}"
    assert len({row.conditions.text for row in rows}) == len(rows)
    assert all(row.conditions.batch_size == 2 and row.origin.timing["calls"] == 3 for row in rows)


def test_operators_that_the_profiler_makes_longer_than_their_phase_share_it_out(monkeypatch):
    ops = [Op("aten.mm", "a", "linear", 30.0, "forward"), Op("aten.relu", "b", "element-wise", 10.0, "forward")]
    monkeypatch.setattr("paretovit.cost.profile.step_operators", lambda training: ops)
    monkeypatch.setattr("paretovit.cost.profile.phase_seconds", lambda training: {"forward": 8.0, "other": 2.0})
    rows = profile_step(resolve(VIT), Clocked(), Conditions(spec="x"), calls=1)
    shares = {row.conditions.part: row.value for row in rows}
    assert shares == {
        "forward linear": pytest.approx(0.6),
        "forward element-wise": pytest.approx(0.2),
        f"forward {OUTSIDE}": pytest.approx(0),
        f"other {OUTSIDE}": pytest.approx(0.2),
        "layer a": pytest.approx(0.6),
        "layer b": pytest.approx(0.2),
        f"layer {NO_LAYER}": pytest.approx(0.2),
    }


@pytest.mark.parametrize(
    ("runtime", "why"), [("torch_compile", "torch_compile does not tell"), ("onnxruntime", "does not train")]
)
def test_a_runtime_that_cannot_tell_is_a_row_with_a_reason(runtime, why):
    (row,) = profile([VIT], runtime=runtime, threads=1, training=True)
    assert row.value is None
    assert why in row.why
    text = io.StringIO()
    Console(file=text, width=100).print(breakdown_tables([row]))
    assert "time by phase" in text.getvalue()


def test_a_step_that_fails_is_a_row_with_a_reason():
    class Broken(Clocked):
        def step(self, phase: Phase) -> None:
            raise Unmeasurable("loss nan at step 1")

    (row,) = profile_step(resolve(VIT), Broken(), Conditions(spec="x"))
    assert (row.value, row.why) == (None, "loss nan at step 1")


def test_calls_are_at_least_one():
    with pytest.raises(UserError, match="calls must be at least 1"):
        profile([VIT], calls=0, training=True)


def test_the_tables_fit_100_columns_and_name_phases_groups_layers_and_what_is_left():
    text = io.StringIO()
    rows = profile([small()], threads=1, calls=1, training=True)
    Console(file=text, width=100).print(breakdown_tables(rows))
    said = text.getvalue()
    assert max(map(len, said.splitlines())) <= 100
    for word in ("forward", "backward", "optimizer", "linear", OUTSIDE, NO_LAYER, "all, ms", "a step without it"):
        assert word in said
    (whole,) = [line.split() for line in said.splitlines() if line.strip().startswith("all ")]
    assert whole[-1] == "100.0"


def small() -> ModelSpec:
    return resolve("performer_pico_patch4_32")
