"""How far the features of a student are from those of a teacher, as numbers that training can make smaller.

Source   Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision Transformers", sec. 3.4.2; maximum mean
         discrepancy between channels after Huang and Wang 2017, "Like What You Like: Knowledge Distill via Neuron
         Selectivity Transfer", eqs. 3 to 5, on which the thesis builds.
Shapes   B images, N tokens, D width, S samples of V values each.

Of a discrepancy, each image's features are a set of samples, and the loss is the squared distance between the mean of
the student's and the mean of the teacher's samples once a kernel has mapped them. The thesis prints sums over the
N x D elements and divides each sample by its own norm, which leaves of a number its sign alone; so a sample is here

    "channels"   a channel's values at all tokens (V = N), of norm 1: Huang and Wang
    "tokens"     a token's values in all channels (V = D), of norm 1
    "elements"   a single number (V = 1), divided by the norm of the whole map

With the linear kernel the loss is the squared difference of the mean samples. That is the sum of squared errors only
where a set has one sample; the thesis's remark that it equals the mean squared error does not hold for more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from paretovit.errors import UserError, unknown

Loss = Callable[[Tensor, Tensor], Tensor]
Samples = Literal["channels", "tokens", "elements"]
Kernel = Literal["linear", "polynomial", "gaussian"]

_TERMS = 24  # of the exponential series; for values up to 1 the next is below 1e-23


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error over all elements."""
    return F.mse_loss(student, teacher)


def mean_mse(student_BND: Tensor, teacher_BND: Tensor) -> Tensor:
    """Mean squared error of the means over the channels ("MeanMSE" in the thesis's figure 3.11)."""
    return F.mse_loss(student_BND.mean(-1), teacher_BND.mean(-1))


def cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy, in nat, of the softmax over all of an image's elements, averaged over images."""
    return F.cross_entropy(student.flatten(1), teacher.flatten(1).softmax(1))


def kl(student: Tensor, teacher: Tensor, *, tau: float = 1.0) -> Tensor:
    """Divergence of the student's from the teacher's softmax over all of an image's elements at temperature `tau`,
    times `tau` squared (Hinton et al. 2015), averaged over images. Zero for equal features, unlike cross-entropy."""
    ours, theirs = ((x.flatten(1) / tau).log_softmax(1) for x in (student, teacher))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * tau**2


def mmd(
    student_BND: Tensor,
    teacher_BND: Tensor,
    *,
    kernel: Kernel = "polynomial",
    samples: Samples = "channels",
    degree: int = 4,
    shift: float = 1.0,
    sigma: float = 1.0,
) -> Tensor:
    """Squared maximum mean discrepancy, averaged over images.

    The kernels of two samples x and y are x.y; (x.y + shift)^degree; exp(-|x - y|^2 / 2 sigma^2). Neither needs more
    than S x S numbers per image, and of single elements none is compared with another: the discrepancy is then a
    weighted sum of squared differences of moments, and its cost grows with N x D and not with the square.

    Raises `UserError` for an unknown kernel or kind of sample, and for `sigma` below 0.5 of elements, where the series
    of the exponential would need more terms.
    """
    if kernel not in ("linear", "polynomial", "gaussian"):
        raise unknown("kernel", kernel, ("linear", "polynomial", "gaussian"))
    if samples == "elements":
        return _mmd_of_elements(student_BND, teacher_BND, kernel, degree=degree, shift=shift, sigma=sigma)
    if samples not in ("channels", "tokens"):
        raise unknown("kind of sample", samples, ("channels", "tokens", "elements"))
    x_BSV, y_BSV = (
        F.normalize(features.mT if samples == "channels" else features, dim=-1)
        for features in (student_BND, teacher_BND)
    )
    if kernel == "linear":
        return (x_BSV.mean(1) - y_BSV.mean(1)).square().sum(-1).mean()

    def mean_kernel(a_BSV: Tensor, b_BSV: Tensor) -> Tensor:
        product_BSS = a_BSV @ b_BSV.mT
        if kernel == "polynomial":
            return ((product_BSS + shift) ** degree).mean()
        return torch.exp((product_BSS - 1) / sigma**2).mean()  # of norm 1, |x - y|^2 = 2 - 2 x.y

    return mean_kernel(x_BSV, x_BSV) + mean_kernel(y_BSV, y_BSV) - 2 * mean_kernel(x_BSV, y_BSV)


def _mmd_of_elements(
    student: Tensor, teacher: Tensor, kernel: Kernel, *, degree: int, shift: float, sigma: float
) -> Tensor:
    """The kernels of numbers as sums of products: sum over k of f_k(x) f_k(y), with

    x y + c to the power d    f_k(x) = sqrt(binomial(d, k) c^(d - k)) x^k
    exp(-(x - y)^2 / 2 s^2)   f_k(x) = exp(-x^2 / 2 s^2) (x / s)^k / sqrt(k!)
    """
    if kernel == "gaussian" and sigma < 0.5:
        raise UserError(f"sigma must be at least 0.5 for elements, whose values are at most 1, got {sigma:g}")
    x_BE, y_BE = (F.normalize(features.flatten(1), dim=-1) for features in (student, teacher))
    if kernel == "gaussian":
        x_BE, y_BE = x_BE / sigma, y_BE / sigma
        power_x, power_y = (torch.exp(-v.square() / 2) for v in (x_BE, y_BE))
        weights = [1 / math.factorial(k) for k in range(_TERMS)]
    else:
        power_x, power_y = torch.ones_like(x_BE), torch.ones_like(y_BE)
        degree, shift = (1, 0.0) if kernel == "linear" else (degree, shift)
        weights = [math.comb(degree, k) * shift ** (degree - k) for k in range(degree + 1)]
    total = x_BE.new_zeros(len(x_BE))
    for weight in weights:
        if weight:
            total = total + weight * (power_x.mean(1) - power_y.mean(1)).square()
        power_x, power_y = power_x * x_BE, power_y * y_BE
    return total.mean()


def _mmd(kernel: Kernel) -> Loss:
    return lambda student, teacher: mmd(student, teacher, kernel=kernel)


LOSSES: dict[str, Loss] = {
    "mse": mse,
    "mean_mse": mean_mse,
    "ce": cross_entropy,
    "kl": kl,
    "mmd_linear": _mmd("linear"),
    "mmd": _mmd("polynomial"),
    "mmd_gaussian": _mmd("gaussian"),
}


def named_loss(name: str) -> Loss:
    """The loss of that name. Raises `UserError` with the nearest names for one that does not exist."""
    if name not in LOSSES:
        raise unknown("distillation loss", name, LOSSES)
    return LOSSES[name]
