"""Operator groups: names as torch, ONNX and the compiler spell them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from paretovit.cost.groups import GROUPS, fused_group_of, group_of, layer_of, plain_name
from paretovit.cost.rules import _RULES


@pytest.mark.parametrize(
    ("operator", "group"),
    [
        ("aten::addmm", "linear"),
        ("aten.addmm", "linear"),
        ("Gemm", "linear"),
        ("aten::bmm", "attention matmul"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "fused attention"),
        ("aten::_softmax", "softmax"),
        ("Softmax", "softmax"),
        ("aten::native_layer_norm", "norm"),
        ("LayerNormalization", "norm"),
        ("aten::mkldnn_convolution", "convolution"),
        ("mkldnn::_convolution_pointwise", "convolution"),
        ("Conv", "convolution"),
        ("aten::_fft_r2c", "FFT"),
        ("aten::add_", "element-wise"),
        ("aten::gelu", "element-wise"),
        ("Erf", "element-wise"),
        ("aten::transpose", "reshape/transpose"),
        ("aten::cat", "reshape/transpose"),
        ("Transpose", "reshape/transpose"),
        ("aten::index_select", "gather"),
        ("GatherElements", "gather"),
        ("aten::sort", "other"),
        ("aten::mean", "other"),
        ("aten::empty", None),
        ("SomethingOfTomorrow", None),
    ],
)
def test_an_operator_is_in_its_group_however_it_is_spelled(operator, group):
    assert group_of(operator) == group


def test_a_product_with_a_weight_is_linear_and_one_of_activations_attentions():
    for name in ("aten::bmm", "aten::mm", "aten::matmul", "aten::einsum", "MatMul"):
        assert group_of(name, weight=True) == "linear"
        assert group_of(name, weight=False) == "attention matmul"
    assert group_of("aten::gelu", weight=True) == "element-wise"


def test_every_operator_that_is_counted_has_a_group():
    groups = {name: group_of(name) for name in _RULES if name.startswith("aten.")}
    assert set(groups.values()) <= {*GROUPS, None}
    nothing = {name for name, group in groups.items() if group is None}
    assert all("empty" in name or "resize" in name or "set_" in name for name in nothing), nothing


@pytest.mark.parametrize(
    ("operators", "group"),
    [
        (["add", "native_layer_norm", "view"], "norm"),
        (["gelu", "view"], "element-wise"),
        (["view", "clone"], "reshape/transpose"),
        (["_softmax", "native_layer_norm"], "other"),
    ],
)
def test_a_fused_kernel_is_named_after_what_is_heavy_in_it(operators, group):
    assert fused_group_of(operators) == group


@pytest.mark.parametrize(
    ("module", "layer"),
    [
        ("blocks.3.attn.qkv", "blocks.3.attn"),
        ("layers.0.blocks.1.mlp.fc1", "layers.0.blocks.1.mlp"),
        ("stem.proj", "stem"),
        ("head", "head"),
        ("stages.0.1", "stages.0.1"),
        ("", ""),
    ],
)
def test_a_module_is_part_of_what_its_block_calls_it(module, layer):
    assert layer_of(module) == layer


def test_names_are_told_without_what_surrounds_them():
    assert {plain_name(name) for name in ("aten::relu", "aten.relu_", "Relu", "prims::_relu")} == {"relu"}


def test_torch_calls_its_operators_so():
    # the names in the table are those that a trace really has
    with torch.profiler.profile() as trace:
        x = torch.randn(2, 4, 8)
        F.linear(x, torch.randn(8, 8), torch.randn(8))
        (x @ x.mT).softmax(-1)
        F.layer_norm(x, [8])
        torch.fft.rfft(x)
    found = {group_of(event.name) for event in trace.events()}
    assert {"linear", "attention matmul", "softmax", "norm", "FFT", "reshape/transpose"} <= found
