"""The loss of detectors that answer with a set of boxes: each true box has the one answer that fits it best.

Paper    Carion et al. 2020, "End-to-End Object Detection with Transformers", sec. 3.1, with the focal loss and the
         weights of Zhu et al. 2020, "Deformable DETR", sec. 5 and released code.
Differs  With several processes each divides by its own number of boxes, not by the mean over all of them.
Shapes   L decoder layers, B images, Q queries, K classes, A = K + 4, M boxes at most, P pairs of an answer and a box.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss, sigmoid_focal_loss

_CLASS, _SIDES, _OVERLAP = 2.0, 5.0, 2.0  # weights of the focal loss, the absolute difference, and the overlap
_ALPHA, _GAMMA = 0.25, 2.0  # of the focal loss: Lin et al. 2017


def set_loss(found_LBQA: Tensor, targets_BM5: Tensor) -> Tensor:
    """The loss per true box, summed over the layers, of answers as a detector gives them and targets as `Scenes` has
    them."""
    there_BM = targets_BM5[..., 0] >= 0
    layers = [_layer_loss(found_BQA, targets_BM5, there_BM) for found_BQA in found_LBQA]
    return torch.stack(layers).sum() / there_BM.sum().clamp(min=1)


def _layer_loss(found_BQA: Tensor, targets_BM5: Tensor, there_BM: Tensor) -> Tensor:
    pairs = [
        matched(found, wanted[there]) for found, wanted, there in zip(found_BQA, targets_BM5, there_BM, strict=True)
    ]
    image_P = torch.cat([torch.full_like(query, i) for i, (query, _) in enumerate(pairs)])
    query_P = torch.cat([query for query, _ in pairs])
    wanted_P5 = torch.cat(
        [wanted[there][box] for wanted, there, (_, box) in zip(targets_BM5, there_BM, pairs, strict=True)]
    )
    logits_BQK, sides_P4 = found_BQA[..., :-4], found_BQA[image_P, query_P, -4:]
    right_BQK = torch.zeros_like(logits_BQK)
    right_BQK[image_P, query_P, wanted_P5[:, 0].long()] = 1
    focal = sigmoid_focal_loss(logits_BQK, right_BQK, alpha=_ALPHA, gamma=_GAMMA, reduction="sum")
    apart = (sides_P4 - wanted_P5[:, 1:]).abs().sum()
    outside = generalized_box_iou_loss(_corners(sides_P4), _corners(wanted_P5[:, 1:]), reduction="sum")
    return _CLASS * focal + _SIDES * apart + _OVERLAP * outside


@torch.no_grad()
def matched(found_QA: Tensor, wanted_M5: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs (P,), answer and true box, that cost least together; P is the smaller of Q and M."""
    chance_QM = found_QA[:, :-4].sigmoid()[:, wanted_M5[:, 0].long()]
    taken = _ALPHA * (1 - chance_QM) ** _GAMMA * -(chance_QM + 1e-8).log()
    left = (1 - _ALPHA) * chance_QM**_GAMMA * -(1 - chance_QM + 1e-8).log()
    apart = torch.cdist(found_QA[:, -4:], wanted_M5[:, 1:], p=1)
    overlap = generalized_box_iou(_corners(found_QA[:, -4:]), _corners(wanted_M5[:, 1:]))
    cost_QM = _CLASS * (taken - left) + _SIDES * apart - _OVERLAP * overlap
    query_P, box_P = linear_sum_assignment(cost_QM.cpu().numpy())
    return torch.from_numpy(query_P).to(found_QA.device), torch.from_numpy(box_P).to(found_QA.device)


def _corners(boxes: Tensor) -> Tensor:
    return box_convert(boxes, "cxcywh", "xyxy")
