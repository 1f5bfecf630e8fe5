"""What one call of an operator costs: a table of rules, one per aten operator. An operator without one is an error.

Definitions (a fused operator has the first three in common with its plain form; it moves fewer bytes)

    macs             multiply-accumulates of matrix products, convolutions and attention. An FFT of N points is
                     5 N log2 N real operations, half of that where one side is real, and two operations are one
                     multiply-accumulate. A complex multiply-accumulate is four.
    elementwise_ops  evaluations of primitive operations on elements. A pointwise operator: its output elements
                     (an activation function is one operation). A reduction: its input elements. A fused operator:
                     what its plain form takes, by the table below.
    activations      output elements of matrix products and convolutions (Dollar et al. 2021, "Fast and Accurate
                     Model Scaling"), both products of an attention included.
    bytes_moved      bytes of every tensor that an operator reads and of every one that it writes, an expanded
                     tensor without its repetitions. Views and allocations move nothing. Fused attention reads
                     queries, keys, values and bias and writes the output, nothing else.

Element-wise operations of fused operators, for n elements in r rows (channels, groups):

    softmax          5 n         maximum, subtract, exp, sum, divide
    log_softmax      5 n + r     maximum, subtract, exp, sum, subtract; log of a row's sum
    logsumexp        4 n + 2 r   maximum, subtract, exp, sum; log and add
    layer_norm       5 n + 2 r   mean, centre, square, mean, scale; add eps and rsqrt of a row's variance;
                                 + n each for weight and bias. group_norm, and batch_norm in training, likewise
    batch_norm       2 n + 2 r   centre, scale; + n each for weight and bias: the statistics are known
    rms_norm         3 n + 2 r   square, mean, scale; + n for weight
    var, std         4 n         mean, centre, square, mean; std + r for the root
    vector_norm      2 n + r     square, sum; root of a row's sum. Orders 0, 1 and inf: 2 n. Others: 3 n + r
    attention        6 s         for s scores (heads x queries x keys): scale, softmax; + s for a bias or causal mask.
                                 Written out with the queries scaled instead of the scores, it takes fewer
    addmm, conv      n           the bias, for n outputs
    pooling          k n         for n outputs of windows of k elements
    interpolation    (2 k - 1) n for n outputs of k taps (bilinear 4, bicubic 16): multiply and add
    sort             n log2 w    comparisons in rows of w elements, log2 rounded up; selecting (topk) n
    complex numbers  6 n, 2 n    real operations of a product, of a sum or of a product with a real number
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch._ops import OpOverload

from paretovit.cost.calls import Call, Uncountable, Work, bytes_of, operator_name

Rule = Callable[[Call], Work]

_RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers a rule under operator names such as "aten.mm" or "mylibrary.scan", all overloads included.

        @rule("mylibrary.scan")
        def scan(call: Call) -> Work:
            return Work(macs=call["steps"] * call["x"].numel(), activations=call.output.numel())

    In-place variants ("aten.relu_") use the rule of the functional operator unless they have their own.
    A later rule replaces an earlier one.
    """

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, function))
        find_rule.cache_clear()
        return function

    return register


@cache
def find_rule(operator: OpOverload) -> Rule | None:
    """The rule of an operator; None if it only calls other operators, each of which then counts itself.

    Raises `Uncountable` for an operator that nobody has described.
    """
    name = operator_name(operator)
    for candidate in (name, name.removesuffix("_")):
        if candidate in _RULES:
            return _RULES[candidate]
    if torch._C._dispatch_has_kernel_for_dispatch_key(operator.name(), "CompositeImplicitAutograd"):
        return None
    if operator.is_view or torch.Tag.inplace_view in operator.tags:
        return _free
    if torch.Tag.view_copy in operator.tags:
        return _copy
    if torch.Tag.pointwise in {*operator.tags, *_functional_tags(operator)}:
        return _pointwise
    raise Uncountable(
        f"no rule counts the operator {name}; add one: from paretovit.cost.counting import Work, rule; "
        f'@rule("{name}") above a function from its call to Work(macs=..., elementwise_ops=..., activations=...)'
    )


def _functional_tags(operator: OpOverload) -> set[torch.Tag]:
    """Tags of the functional form of an in-place operator, whose own are sometimes missing."""
    library, _, name = operator_name(operator).partition(".")
    functional = getattr(getattr(torch.ops, library), name.removesuffix("_"), None)
    return set(getattr(getattr(functional, operator._overloadname, None), "tags", ()))


def _rows(tensor: Tensor, dim: int) -> int:
    return tensor.numel() // max(tensor.size(dim), 1) if tensor.ndim else 1


def _aten(names: str) -> list[str]:
    return [f"aten.{name}" for name in names.split()]


# Nothing is computed and nothing moves: views without an alias in their schema, allocations, questions.


@rule(
    *_aten(
        "_unsafe_view unsafe_split unsafe_split_with_sizes unsafe_chunk empty empty_like new_empty empty_strided "
        "new_empty_strided empty_permuted resize_ set_ is_same_size sym_size sym_stride sym_numel sym_storage_offset "
        "is_pinned _local_scalar_dense _fused_sdp_choice _assert_async _assert_scalar "
        "_assert_tensor_metadata _linalg_check_errors scalar_tensor"
    ),
    "prim.device",
    "prim.layout",
)
def _free(call: Call) -> Work:
    return Work(bytes_moved=0)


# Elements move and are not computed with.


@rule(
    *_aten(
        "clone _to_copy _conj_physical conj_physical cat stack repeat roll flip rot90 one_hot repeat_interleave "
        "constant_pad_nd "
        "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d "
        "im2col pixel_shuffle pixel_unshuffle channel_shuffle diag_embed block_diag "
        "_reshape_copy slice_scatter select_scatter diagonal_scatter as_strided_scatter complex "
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
        "_upsample_nearest_exact2d _upsample_nearest_exact3d"
    )
)
def _copy(call: Call) -> Work:
    return Work()


@rule("aten.copy_", "aten.copy")
def _copy_into(call: Call) -> Work:
    return Work(bytes_moved=bytes_of(call["src"]) + call.written)


@rule(
    *_aten(
        "zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full fill fill_ zero zero_ arange "
        "linspace logspace eye tril_indices triu_indices"
    )
)
def _fill(call: Call) -> Work:
    return Work(bytes_moved=call.written)


@rule(
    *_aten(
        "rand randn randint randperm rand_like randn_like randint_like bernoulli normal uniform random exponential "
        "log_normal cauchy geometric"
    )
)
def _random(call: Call) -> Work:
    return Work(elementwise_ops=call.output.numel(), bytes_moved=call.written)


@rule(*_aten("gather index_select index _unsafe_index embedding take"))
def _gather(call: Call) -> Work:
    """Only the elements that are gathered are read."""
    index = call.get("index", "indices")
    return Work(bytes_moved=bytes_of(index) + 2 * call.written)


@rule(*_aten("masked_select nonzero nonzero_static masked_scatter"))
def _select(call: Call) -> Work:
    return Work(elementwise_ops=call["self"].numel())


def _written_into(call: Call) -> int:
    """Elements that a scatter writes."""
    target, index = call["self"], call.get("index", "indices")
    if isinstance(index, list | tuple):  # index_put: one index per axis, broadcast against each other
        given = [i for i in index if i is not None]
        if any(i.dtype in (torch.bool, torch.uint8) for i in given):
            return target.numel()  # a mask visits every element
        kept = math.prod(size for axis, size in enumerate(target.shape) if axis >= len(index) or index[axis] is None)
        return math.prod(torch.broadcast_shapes(*(i.shape for i in given))) * kept
    if "scatter" in operator_name(call.operator):
        return index.numel()
    return _rows(target, call["dim"]) * index.numel()


@rule(
    *_aten(
        "scatter scatter_add scatter_reduce index_put _index_put_impl _unsafe_index_put index_add index_copy "
        "index_fill index_reduce"
    )
)
def _scatter(call: Call) -> Work:
    """A functional scatter copies its target first; one that adds reads what it adds to, one operation each."""
    name = operator_name(call.operator)
    target, elements = call["self"], _written_into(call)
    adds = "add" in name or "reduce" in name or bool(call.get("accumulate")) or bool(call.get("reduce"))
    source = call.get("src", "source", "values", "value")
    copied = 0 if name.endswith("_") else 2 * bytes_of(target)
    moved = bytes_of(call.get("index", "indices")) + bytes_of(source) + (1 + adds) * elements * target.element_size()
    return Work(elementwise_ops=adds * elements, bytes_moved=copied + moved)


# Pointwise.

_STEPS = {"aten.addcmul": 2, "aten.addcdiv": 2, "aten.lerp": 3, "aten.glu": 2, "aten.addr": 2, "aten.native_dropout": 3}
_COMPLEX_STEPS = {"mul": 6, "div": 11, "reciprocal": 5, "abs": 4, "exp": 5, "polar": 4, "angle": 1}
_COMPLEX_PARTS = {"add", "sub", "rsub", "neg", "where", "masked_fill", "sgn", "eq", "ne"}  # each part by itself


@rule(
    *_aten(
        "hardswish gelu silu mish hardsigmoid hardtanh relu leaky_relu elu celu softplus "
        "_prelu_kernel rrelu_with_noise log_sigmoid_forward tril triu floor_divide polar glu addr native_dropout"
    )
)
def _pointwise(call: Call) -> Work:
    name = operator_name(call.operator).removesuffix("_")
    output = call.output
    if output.is_complex() or any(t.is_complex() for t in call.args if isinstance(t, Tensor)):
        steps = _complex_steps(call, name.removeprefix("aten."))
    else:
        steps = _STEPS.get(name, 1) + (call.kwargs.get("alpha", 1) != 1)
    return Work(elementwise_ops=steps * output.numel())


def _complex_steps(call: Call, name: str) -> int:
    """Real operations per element of a pointwise operator on complex numbers."""
    both = all(t.is_complex() if isinstance(t, Tensor) else isinstance(t, complex) for t in call.args[:2])
    if name in ("mul", "div") and not both:
        return 2
    if name in _COMPLEX_STEPS:
        return _COMPLEX_STEPS[name]
    if name in _COMPLEX_PARTS:
        return 2
    raise Uncountable(f"no rule counts the operator aten.{name} on complex numbers; write it in real ones")


# Reductions, scans and order.


def _per_input(steps: int) -> Rule:
    return lambda call: Work(elementwise_ops=steps * call.get("self", "input").numel())


rule(
    *_aten(
        "sum nansum mean prod amax amin argmax argmin any all median nanmedian kthvalue mode topk cumsum "
        "cumprod cummax cummin equal _is_all_true _is_any_true trace"
    )
)(_per_input(1))
rule("aten.aminmax", "aten.count_nonzero")(_per_input(2))
rule("aten.logcumsumexp")(_per_input(6))


@rule("aten.max", "aten.min")
def _extremum(call: Call) -> Work:
    """`max` of one tensor reduces it, of two is pointwise."""
    if call.get("other") is not None:
        return _pointwise(call)
    return Work(elementwise_ops=call["self"].numel())


@rule(*_aten("sort _unique unique_dim unique_consecutive _unique2"))
def _sort(call: Call) -> Work:
    x = call["self"]
    row = x.size(call.get("dim")) if call.get("dim") is not None and x.ndim else x.numel()
    return Work(elementwise_ops=x.numel() * _ceil_log2(row))


@rule("aten.bucketize", "aten.searchsorted")
def _bisect(call: Call) -> Work:
    steps = _ceil_log2(call.get("boundaries", "sorted_sequence").size(-1) + 1)
    return Work(elementwise_ops=steps * call.output.numel())


def _ceil_log2(count: int) -> int:
    return (max(count, 1) - 1).bit_length()


@rule("aten.var", "aten.var_mean")
def _variance(call: Call) -> Work:
    return Work(elementwise_ops=4 * call["self"].numel())


@rule("aten.std", "aten.std_mean")
def _deviation(call: Call) -> Work:
    return Work(elementwise_ops=4 * call["self"].numel() + call.output.numel())


@rule("aten.linalg_vector_norm", "aten.norm")
def _vector_norm(call: Call) -> Work:
    order = call.get("ord", "p")
    order = 2.0 if order is None else float(order)
    per_input, per_row = (2, 0) if order in (0, 1, math.inf, -math.inf) else (2, 1) if order == 2 else (3, 1)
    return Work(elementwise_ops=per_input * call["self"].numel() + per_row * call.output.numel())


@rule("aten._cdist_forward")
def _distances(call: Call) -> Work:
    """Subtract, then as the vector norm of the differences."""
    order = float(call["p"])
    per_input, per_row = (3, 0) if order in (0, 1, math.inf) else (3, 1) if order == 2 else (4, 1)
    return Work(elementwise_ops=(per_input * call["x1"].size(-1) + per_row) * call.output.numel())


@rule("aten._euclidean_dist")
def _distances_by_product(call: Call) -> Work:
    """|a|^2 - 2 a b + |b|^2 as one product of rows that are longer by two, then clamp and root."""
    left, right = call["x1"], call["x2"]
    pairs = call.output.numel()
    steps = 3 * left.numel() + 2 * right.numel() + 2 * pairs
    return Work(macs=pairs * (left.size(-1) + 2), elementwise_ops=steps, activations=pairs)


@rule(*_aten("_softmax _safe_softmax"))
def _softmax(call: Call) -> Work:
    return Work(elementwise_ops=5 * call["self"].numel())


@rule("aten._log_softmax")
def _log_softmax(call: Call) -> Work:
    x = call["self"]
    return Work(elementwise_ops=5 * x.numel() + _rows(x, call["dim"]))


@rule("aten.logsumexp")
def _logsumexp(call: Call) -> Work:
    return Work(elementwise_ops=4 * call["self"].numel() + 2 * call.output.numel())


# Normalisation. The statistics that some return are for the backward pass: neither counted as written.


def _norm(call: Call, per_element: int, rows: int) -> Work:
    x, weight, bias = call.get("input", "self"), call.get("weight"), call.get("bias")
    per_element += (weight is not None) + (bias is not None)
    known = [call.get("running_mean"), call.get("running_var")]
    return Work(
        elementwise_ops=per_element * x.numel() + 2 * rows,
        bytes_moved=bytes_of([x, weight, bias, *known]) + bytes_of(call.output),
    )


@rule("aten.native_layer_norm")
def _layer_norm(call: Call) -> Work:
    return _norm(call, 5, call["input"].numel() // max(math.prod(call["normalized_shape"]), 1))


@rule("aten._fused_rms_norm")
def _rms_norm(call: Call) -> Work:
    return _norm(call, 3, call["input"].numel() // max(math.prod(call["normalized_shape"]), 1))


@rule("aten.native_group_norm")
def _group_norm(call: Call) -> Work:
    return _norm(call, 5, call["N"] * call["group"])


@rule(
    *_aten(
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
        "miopen_batch_norm _batch_norm_no_update _batch_norm_with_update"
    )
)
def _batch_norm(call: Call) -> Work:
    name = operator_name(call.operator)
    training = call.get("training", "train") or name.endswith("with_update")
    return _norm(call, 5 if training else 2, call["input"].size(1))


@rule("aten._weight_norm_interface")
def _weight_norm(call: Call) -> Work:
    v, g = call["v"], call["g"]
    return Work(elementwise_ops=3 * v.numel() + 2 * g.numel(), bytes_moved=bytes_of([v, g]) + bytes_of(call.output))


# Matrix products, convolutions, attention.


def _product(left: Tensor, right: Tensor, output: Tensor) -> tuple[int, int]:
    """Multiply-accumulates and activations of a matrix product; every element of the left side meets a column."""
    macs = left.numel() * (right.size(-1) if right.ndim > 1 else 1)
    return macs * (4 if left.is_complex() else 1), output.numel()


@rule(*_aten("mm bmm mv dot vdot _int_mm _scaled_mm"))
def _matmul(call: Call) -> Work:
    left, right = call.args[:2]
    macs, activations = _product(left, right, call.output)
    return Work(macs=macs, activations=activations)


@rule(*_aten("addmm baddbmm addbmm addmv _addmm_activation"))
def _added_matmul(call: Call) -> Work:
    """beta * added + alpha * (left @ right); nothing is read or added with beta = 0."""
    added, left, right = call.args[:3]
    beta, alpha = call["beta"], call["alpha"]
    macs, activations = _product(left, right, call.output)
    steps = (beta != 0) + (beta not in (0, 1)) + (alpha != 1) + call.operator.name().startswith("aten::_addmm_act")
    moved = bytes_of([left, right]) + (bytes_of(added) if beta != 0 else 0) + call.written
    return Work(macs, steps * call.output.numel(), activations, moved)


@rule(*_aten("convolution _convolution convolution_overrideable cudnn_convolution mkldnn_convolution"))
def _convolution(call: Call) -> Work:
    x, weight, output = call.get("input", "self"), call["weight"], call.output
    # Each output of a convolution, each input of a transposed one, meets one kernel of every channel of its group.
    meets = x if call.get("transposed") else output
    macs = meets.numel() * math.prod(weight.shape[1:]) * (4 if output.is_complex() else 1)
    return Work(macs, output.numel() * (call.get("bias") is not None), output.numel())


@rule(
    *_aten(
        "scaled_dot_product_attention _scaled_dot_product_attention_math _scaled_dot_product_attention_math_for_mps "
        "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
        "_scaled_dot_product_fused_attention_overrideable"
    )
)
def _attention(call: Call) -> Work:
    """Whole products, for a causal mask as well: what it hides is computed by the plain form."""
    q, k, v = call["query"], call["key"], call["value"]
    bias = call.get("attn_mask", "attn_bias")
    scores = math.prod(torch.broadcast_shapes(q.shape[:-3], k.shape[:-3])) * math.prod(q.shape[-3:-1]) * k.size(-2)
    outputs = scores // max(k.size(-2), 1) * v.size(-1)
    steps = 6 + (bias is not None or bool(call.get("is_causal"))) + 3 * bool(call.get("dropout_p"))
    return Work(
        macs=scores * (q.size(-1) + v.size(-1)),
        elementwise_ops=steps * scores,
        activations=scores + outputs,
        bytes_moved=bytes_of([q, k, v, bias]) + outputs * q.element_size(),
    )


@rule("aten.linalg_inv_ex")
def _inverse(call: Call) -> Work:
    """LU and the solves for the identity: 2 n^3 operations."""
    return Work(macs=call.output.numel() * call.output.size(-1))


@rule("aten._fft_c2c", "aten._fft_r2c", "aten._fft_c2r")
def _fft(call: Call) -> Work:
    """Along several axes, transforms of every axis in turn: 5 M log2 (product of the axes) for M points in all.

    M and the axes are those of the real side, where there is one: the other may hold only half the spectrum.
    """
    real = call["self"] if not call["self"].is_complex() else call.output
    points = real.numel()
    axes = math.prod(real.size(axis) for axis in call["dim"])
    operations = 5 * points * math.log2(max(axes, 1)) / (1 if real.is_complex() else 2)
    scaled = call.output.numel() * (2 if call.output.is_complex() else 1) * (call["normalization"] != 0)
    return Work(macs=round(operations / 2), elementwise_ops=scaled)


# Windows and interpolation.


@rule(*_aten("avg_pool2d avg_pool3d max_pool2d_with_indices max_pool3d_with_indices"))
def _pool(call: Call) -> Work:
    axes = 3 if "3d" in call.operator.name() else 2
    kernel: Sequence[int] = call["kernel_size"]
    window = math.prod(kernel) if len(kernel) == axes else kernel[0] ** axes
    return Work(elementwise_ops=window * call.output.numel())


@rule(*_aten("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d"))
def _adaptive_pool(call: Call) -> Work:
    """Windows reach from floor(i * in / out) to ceil((i + 1) * in / out), and so may overlap."""
    x, sizes = call["self"], call["output_size"]
    axes = x.shape[-len(sizes) :]
    visits = math.prod(
        sum(-((i + 1) * inner // -outer) - i * inner // outer for i in range(outer))
        for inner, outer in zip(axes, sizes, strict=True)
    )
    return Work(elementwise_ops=visits * (x.numel() // max(math.prod(axes), 1)))


@rule("aten.col2im")
def _fold(call: Call) -> Work:
    return Work(elementwise_ops=call["self"].numel())


_TAPS = {"upsample_linear1d": 2, "upsample_bilinear2d": 4, "upsample_trilinear3d": 8, "upsample_bicubic2d": 16}


@rule(*(f"aten.{name}" for name in _TAPS))
def _interpolate(call: Call) -> Work:
    taps = _TAPS[operator_name(call.operator).removeprefix("aten.")]
    return Work(elementwise_ops=(2 * taps - 1) * call.output.numel())


@rule("aten._upsample_bilinear2d_aa", "aten._upsample_bicubic2d_aa")
def _interpolate_smoothly(call: Call) -> Work:
    """Columns first, then rows; the filter is wider by the factor by which the image shrinks."""
    x, output = call.get("self", "input"), call.output
    support = 4 if "bicubic" in call.operator.name() else 2
    taps = [math.ceil(support * max(x.size(axis) / output.size(axis), 1)) for axis in (-2, -1)]
    columns_first = output.numel() // output.size(-2) * x.size(-2)
    return Work(elementwise_ops=(2 * taps[1] - 1) * columns_first + (2 * taps[0] - 1) * output.numel())


@rule("aten.grid_sampler_2d")
def _grid_sample(call: Call) -> Work:
    """Bilinear: 7 per output; per place 14: scale and shift (4), floor (2), fractions (4), products (4).
    Nearest: 6 per place, scale and shift and round."""
    mode = call["interpolation_mode"]
    if mode == 2:
        raise Uncountable("no rule counts grid_sample in bicubic mode; use bilinear or nearest")
    places = call["grid"].numel() // 2
    return Work(elementwise_ops=14 * places + 7 * call.output.numel() if mode == 0 else 6 * places)
