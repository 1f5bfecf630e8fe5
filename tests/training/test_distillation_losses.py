"""Distillation losses against sums over all pairs in float64, and against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.training.distillation_losses import LOSSES, cross_entropy, kl, mean_mse, mmd, mse, named_loss

KERNELS = {
    "linear": lambda x, y: x @ y,
    "polynomial": lambda x, y: (x @ y + 0.5) ** 4,
    "gaussian": lambda x, y: math.exp(-float((x - y) @ (x - y)) / (2 * 0.7**2)),
}


def features(*shape: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(*shape, dtype=torch.float64), 0.3 + torch.randn(*shape, dtype=torch.float64)


def in_samples(image: Tensor, samples: str) -> list[Tensor]:
    if samples == "elements":
        return [v[None] / image.norm() for v in image.flatten()]
    return [row / row.norm() for row in (image.T if samples == "channels" else image)]


@pytest.mark.parametrize("samples", ["channels", "tokens", "elements"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_discrepancy_is_the_mean_over_all_pairs(kernel: str, samples: str) -> None:
    student, teacher = features(2, 5, 3)
    k, expected = KERNELS[kernel], 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        x, y = in_samples(ours, samples), in_samples(theirs, samples)
        for sign, a, b in ((1, x, x), (1, y, y), (-2, x, y)):
            expected += sign * sum(float(k(p, q)) for p in a for q in b) / len(a) ** 2 / 2
    found = mmd(student, teacher, kernel=kernel, samples=samples, shift=0.5, sigma=0.7)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-13)


def test_the_linear_kernel_is_the_squared_error_of_the_means_and_not_the_mean_squared_error() -> None:
    student, teacher = features(1, 6, 4)
    x, y = student[0] / student[0].norm(), teacher[0] / teacher[0].norm()
    found = mmd(student, teacher, kernel="linear", samples="elements")
    torch.testing.assert_close(found, (x.mean() - y.mean()) ** 2)
    assert not torch.isclose(found, (x - y).square().mean(), rtol=0.1)


def test_the_linear_kernel_is_the_squared_error_where_a_map_is_one_sample() -> None:
    student, teacher = features(3, 1, 8)  # one token: the whole map is its one sample
    unit = [f / f.norm(dim=-1, keepdim=True) for f in (student, teacher)]
    found = mmd(student, teacher, kernel="linear", samples="tokens")
    torch.testing.assert_close(found, 8 * mse(*unit))


@pytest.mark.parametrize("samples", ["channels", "tokens", "elements"])
def test_a_map_of_577_tokens_needs_no_square_of_its_elements(samples: str) -> None:
    student, teacher = (f.float().requires_grad_() for f in features(1, 577, 192))
    seen: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        seen.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        mmd(student, teacher, kernel="gaussian", samples=samples).backward()
    assert sum(seen) < 100e6  # all pairs of elements in float32 would be 49 GB
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


def test_mse_and_the_mse_of_channel_means_by_hand() -> None:
    student = torch.tensor([[[1.0, 3.0], [0.0, 2.0]]])
    teacher = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])
    assert float(mse(student, teacher)) == (1 + 9 + 4 + 4) / 4
    assert float(mean_mse(student, teacher)) == ((2 - 0) ** 2 + (1 - 1) ** 2) / 2


def test_cross_entropy_and_divergence_differ_by_the_teachers_entropy() -> None:
    student, teacher = features(2, 3, 4)
    p = teacher.flatten(1).softmax(1)
    entropy = -(p * p.log()).sum(1).mean()
    torch.testing.assert_close(cross_entropy(student, teacher) - kl(student, teacher), entropy)
    expected = -(p * student.flatten(1).softmax(1).log()).sum(1).mean()
    torch.testing.assert_close(cross_entropy(student, teacher), expected)


def test_a_high_temperature_makes_the_divergence_half_the_variance_of_the_differences() -> None:
    student, teacher = features(4, 2, 5)
    difference = (student - teacher).flatten(1)
    expected = difference.var(1, correction=0).mean() / 2  # the limit, with K = 10 elements, as in Hinton et al. 2015
    torch.testing.assert_close(kl(student, teacher, tau=1e4), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_least_at_the_teacher_and_pulls_towards_it(name: str) -> None:
    student, teacher = features(2, 5, 3)
    student.requires_grad_()
    at_teacher = LOSSES[name](teacher, teacher)
    far = LOSSES[name](student, teacher)
    far.backward()
    assert at_teacher < far
    nearer = student.detach() - 1e-3 * student.grad / student.grad.norm()
    assert LOSSES[name](nearer, teacher) < far
    if name != "ce":
        assert abs(float(at_teacher)) < 1e-12


def test_unknown_names_are_answered_with_the_nearest() -> None:
    student, teacher = features(1, 2, 2)
    with pytest.raises(UserError, match="did you mean mean_mse"):
        named_loss("meanmse")
    with pytest.raises(UserError, match="kernel"):
        mmd(student, teacher, kernel="cubic")
    with pytest.raises(UserError, match="kind of sample"):
        mmd(student, teacher, samples="rows")
    with pytest.raises(UserError, match=r"sigma must be at least 0\.5"):
        mmd(student, teacher, kernel="gaussian", samples="elements", sigma=0.1)
