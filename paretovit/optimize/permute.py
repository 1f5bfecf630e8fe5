"""Channels of a layer put in an order in which an N:M pattern takes less from its weights; the model stays the same.

Which weights share a group is a matter of the order of a layer's inputs. Where another layer makes them, its outputs
can come in any order, if what lies between works on each channel by itself: the hidden channels of an MLP, and the
channels of values within a head. The search exchanges two channels of two groups wherever more is kept then.

Paper    Pool and Yu 2021, "Channel Permutations for N:M Sparsity".
Differs  They try all ways to share eight columns out between two groups; here a round tries all exchanges of one for
         one, between random pairs of groups, all pairs at once. Channels that many layers share, as those of the
         residual stream, are left in their order.
Shapes   O outputs, I inputs, G groups, M inputs of a group, P pairs of groups.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from paretovit.spec import ModelSpec
from paretovit.zoo.layers import weight_matrices, weight_matrix
from paretovit.zoo.patterns import Pattern

_ROUNDS = 40
_LEAST = 2e-5  # of what is kept, to be gained in a round; three rounds in a row with less end the search
_CHUNK = 1 << 18  # numbers at a time, few enough to stay in a cache


@dataclass(frozen=True)
class Pair:
    """A layer, and the one that makes its inputs: the last outputs of `producer`, in as many spans as the order of
    channels may not cross."""

    producer: str
    consumer: str
    spans: int = 1


def kept(scores_OI: Tensor, pattern: Pattern) -> float:
    """The share of the scores' sum that the pattern keeps."""
    total = scores_OI.sum().item()
    return 1.0 if total == 0 else (scores_OI * pattern.mask(scores_OI)).sum().item() / total


def search(scores_OI: Tensor, pattern: Pattern, *, spans: int = 1, seed: int = 0) -> Tensor:
    """An order of the inputs (I,) such that `scores_OI[:, order]` keeps at least what `scores_OI` does.

    With several `spans`, equal parts of the inputs, each stays within its own. The same seed gives the same order.
    """
    M, random = pattern.group, torch.Generator().manual_seed(seed)
    order = torch.arange(scores_OI.shape[1])
    values_GMO = scores_OI.detach().float().mT.contiguous().unflatten(0, (-1, M))
    groups = len(values_GMO) // spans
    if groups < 2:
        return order
    poor = 0
    for _ in range(_ROUNDS):
        mixed = torch.rand(spans, groups, generator=random).argsort(1) + groups * torch.arange(spans)[:, None]
        first, second = mixed[:, : groups // 2].flatten(), mixed[:, groups // 2 : groups // 2 * 2].flatten()
        gain_PMM, kept_now = _gains(values_GMO, first, second, pattern)
        gain_P, place = gain_PMM.flatten(1).max(1)
        better = gain_P > 0
        at, to = first[better] * M + place[better] // M, second[better] * M + place[better] % M
        rows = values_GMO.flatten(0, 1)  # a view
        rows[at], rows[to] = rows[to], rows[at]
        order[at], order[to] = order[to], order[at]
        poor = poor + 1 if gain_P[better].sum() < _LEAST * kept_now else 0
        if poor == 3:
            break
    # what float32 sums promised is checked before it is believed
    return order if kept(scores_OI[:, order], pattern) >= kept(scores_OI, pattern) else torch.arange(len(order))


def _gains(values_GMO: Tensor, first_P: Tensor, second_P: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
    """What is kept more if channel i of the first group changes places with channel j of the second, (P, M, M), and
    all that is kept now.

    Without channel i, a group keeps the sum of its N - 1 best others, and the better one of the next and of what comes.
    """
    gains, total = [], torch.zeros(())
    step = max(1, _CHUNK // values_GMO[0].numel() // pattern.group)
    for part in range(0, len(first_P), step):
        a_PMO, b_PMO = values_GMO[first_P[part : part + step]], values_GMO[second_P[part : part + step]]
        (sum_a_P, rest_a_PM, next_a_PMO), (sum_b_P, rest_b_PM, next_b_PMO) = (
            _without_each(v, pattern.kept) for v in (a_PMO, b_PMO)
        )
        into_a = torch.maximum(next_a_PMO[:, :, None], b_PMO[:, None]).sum(-1)  # [i, j]: j of b comes in the place of i
        into_b = torch.maximum(a_PMO[:, :, None], next_b_PMO[:, None]).sum(-1)
        before_P = sum_a_P + sum_b_P
        gains.append(rest_a_PM[:, :, None] + into_a + rest_b_PM[:, None] + into_b - before_P[:, None, None])
        total = total + before_P.sum()
    return torch.cat(gains), total


def _without_each(values_PMO: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The sum that a group keeps (P,); without each channel, the sum of its n - 1 best others (P, M), and the next."""
    ranked = _sorted(list(values_PMO.unbind(1)))
    best_PO, last_PO, next_PO = torch.stack(ranked[:n]).sum(0), ranked[n - 1], ranked[n]
    inside_PMO = values_PMO >= last_PO[:, None]
    rest_PMO = best_PO[:, None] - torch.where(inside_PMO, values_PMO, last_PO[:, None])
    return best_PO.sum(1), rest_PMO.sum(-1), torch.where(inside_PMO, next_PO[:, None], last_PO[:, None])


def _sorted(values: list[Tensor]) -> list[Tensor]:
    """Tensors of one shape, element by element from the largest down, by exchanges of neighbours: for few of them
    faster than a sort along an axis."""
    for turn in range(len(values)):
        for i in range(turn % 2, len(values) - 1, 2):
            values[i], values[i + 1] = torch.maximum(values[i], values[i + 1]), torch.minimum(values[i], values[i + 1])
    return values


def permute(model: nn.Module, pair: Pair, order: Tensor) -> None:
    """Put the inputs of the consumer in that order, and the outputs of the producer."""
    producer, consumer = model.get_submodule(pair.producer), model.get_submodule(pair.consumer)
    taken, given = weight_matrix(consumer), weight_matrix(producer)
    assert taken is not None
    assert given is not None
    order = order.to(taken.device)
    with torch.no_grad():
        taken.copy_(taken[:, order])
        given[-len(order) :] = given[-len(order) :][order]
        if isinstance(producer.bias, Tensor):
            producer.bias[-len(order) :] = producer.bias[-len(order) :][order]


def pairs(model: nn.Module, spec: ModelSpec, consumers: Sequence[str]) -> list[Pair]:
    """Where channels can change places: the pairs of neighbouring layers for which that leaves the model as it is.

    Each is tried: with channels at random places, a copy of the model in float64 must give the same for random images.
    """
    candidates = _candidates(model, consumers)
    if not candidates:
        return []
    trial = copy.deepcopy(model).double().eval()
    images = torch.randn(2, *spec.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return _unchanged(trial, images, candidates, _output(trial, images))


def _candidates(model: nn.Module, consumers: Sequence[str]) -> list[Pair]:
    """Layers beside each other in one module, of which the first makes as many channels as the second takes, or three
    times as many for as many heads as the module says."""
    matrices = weight_matrices(model)
    names, found = list(matrices), []
    for before, after in pairwise(names):
        parent = after.rpartition(".")[0]
        if after not in consumers or before.rpartition(".")[0] != parent:
            continue
        made, taken = matrices[before].shape[0], matrices[after].shape[1]
        if made == taken:
            found.append(Pair(before, after))
        elif made == 3 * taken:
            module = model.get_submodule(parent)
            heads = getattr(module, "num_heads", None) or getattr(module, "heads", None)
            if isinstance(heads, int) and taken % heads == 0:
                found.append(Pair(before, after, spans=heads))
    return found


def _unchanged(trial: nn.Module, images: Tensor, candidates: list[Pair], expected: Tensor) -> list[Pair]:
    """Those that leave the output as it is: all at once, and halves of them where not."""
    orders = []
    for pair in candidates:
        matrix = weight_matrix(trial.get_submodule(pair.consumer))
        assert matrix is not None
        width = matrix.shape[1] // pair.spans
        orders.append(torch.cat([width * s + torch.randperm(width) for s in range(pair.spans)]))
        permute(trial, pair, orders[-1])
    same = torch.allclose(_output(trial, images), expected, rtol=1e-7, atol=1e-9)
    for pair, order in zip(reversed(candidates), reversed(orders), strict=True):
        permute(trial, pair, order.argsort())
    if same:
        return candidates
    if len(candidates) == 1:
        return []
    half = len(candidates) // 2
    return [
        pair for part in (candidates[:half], candidates[half:]) for pair in _unchanged(trial, images, part, expected)
    ]


@torch.no_grad()
def _output(model: nn.Module, images: Tensor) -> Tensor:
    torch.manual_seed(0)  # some models draw numbers
    return model(images)
