from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from transformers import DeformableDetrConfig
from transformers.loss.loss_deformable_detr import DeformableDetrForObjectDetectionLoss

from paretovit.transfer.set_loss import matched, set_loss

LAYERS, IMAGES, QUERIES, CLASSES = 3, 4, 6, 5


def answers(seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(LAYERS, IMAGES, QUERIES, CLASSES, generator=random)
    boxes = torch.rand(LAYERS, IMAGES, QUERIES, 4, generator=random) * 0.6 + 0.2
    return torch.cat((logits, boxes), dim=-1).requires_grad_()


def targets(*counts: int, width: int = 5, seed: int = 1) -> Tensor:
    """Boxes of each image, filled up to `width` with boxes of class -1 in between."""
    random = torch.Generator().manual_seed(seed)
    made = torch.zeros(len(counts), width, 5)
    made[..., 0] = -1
    for i, count in enumerate(counts):
        places = torch.randperm(width, generator=random)[:count]
        made[i, places, 0] = torch.randint(CLASSES, (count,), generator=random).float()
        made[i, places, 1:] = torch.rand(count, 4, generator=random) * 0.5 + 0.2
    return made


def by_transformers(found: Tensor, wanted: Tensor) -> Tensor:
    """Theirs weighs the classes by 1 in the sum; Zhu et al. 2020 and we by 2."""
    config = DeformableDetrConfig(
        num_labels=CLASSES, decoder_layers=LAYERS, class_cost=2, bbox_cost=5, giou_cost=2, auxiliary_loss=True
    )
    labels = [{"class_labels": one[one[:, 0] >= 0][:, 0].long(), "boxes": one[one[:, 0] >= 0][:, 1:]} for one in wanted]
    logits, boxes = found[..., :-4], found[..., -4:]
    total, parts, _ = DeformableDetrForObjectDetectionLoss(logits[-1], labels, "cpu", boxes[-1], config, logits, boxes)
    return total + sum(value for name, value in parts.items() if name.startswith("loss_ce"))


def test_loss_and_gradient_are_those_of_transformers():
    found, wanted = answers(), targets(3, 0, 5, 1)
    ours, theirs = set_loss(found, wanted), by_transformers(found, wanted)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, found)[0] for loss in (ours, theirs)), rtol=1e-4, atol=1e-6)


def test_the_pairs_are_the_cheapest_of_all():
    found, wanted = answers()[0, 0].detach(), targets(4)[0]
    wanted = wanted[wanted[:, 0] >= 0]

    def loss_of(pairs: list[tuple[int, int]]) -> float:
        """What set_loss would be if it had paired so: an answer that no box has is far from all, and costs the same."""
        chances = found[:, :-4].sigmoid()
        total = 0.0
        for query, box in pairs:
            chance = chances[query, int(wanted[box, 0])]
            total += 2 * float(0.25 * (1 - chance) ** 2 * -chance.log() - 0.75 * chance**2 * -(1 - chance).log())
            total += 5 * float((found[query, -4:] - wanted[box, 1:]).abs().sum())
            total -= 2 * giou(found[query, -4:], wanted[box, 1:])
        return total

    query, box = matched(found, wanted)
    ours = loss_of(list(zip(query.tolist(), box.tolist(), strict=True)))
    every = [
        loss_of([(q, b) for b, q in enumerate(order)]) for order in itertools.permutations(range(QUERIES), len(wanted))
    ]
    assert ours == pytest.approx(min(every), abs=1e-4)
    assert sorted(every)[1] > min(every) + 1e-3


def giou(one: Tensor, other: Tensor) -> float:
    """Rezatofighi et al. 2019, algorithm 1."""
    ends = [[(float(b[i] - b[i + 2] / 2), float(b[i] + b[i + 2] / 2)) for i in (0, 1)] for b in (one, other)]
    both = whole = 1.0
    for (a, b), (c, d) in zip(*ends, strict=True):
        both *= max(0.0, min(b, d) - max(a, c))
        whole *= max(b, d) - min(a, c)
    union = sum((e[0][1] - e[0][0]) * (e[1][1] - e[1][0]) for e in ends) - both
    return both / union - (whole - union) / whole


def test_more_boxes_than_answers_leave_boxes_over():
    query, box = matched(answers()[0, 0].detach(), targets(9, width=9)[0])
    assert sorted(query.tolist()) == list(range(QUERIES))
    assert len(set(box.tolist())) == QUERIES


def test_images_without_any_box_teach_that_nothing_is_there():
    found = answers()
    loss = set_loss(found, targets(0, 0, 0, 0))
    (gradient,) = torch.autograd.grad(loss, found)
    assert loss > 0
    assert (gradient[..., :-4] > 0).all()  # every class is made less likely
    assert (gradient[..., -4:] == 0).all()


def test_how_far_targets_are_filled_up_does_not_matter():
    wanted = targets(3, 0, 5, 1)
    wider = torch.cat((wanted, torch.full((IMAGES, 4, 5), -1.0)), dim=1)
    torch.testing.assert_close(set_loss(answers(), wider), set_loss(answers(), wanted))


def test_right_answers_cost_next_to_nothing():
    wanted = targets(3, 2, 5, 1)
    found = torch.zeros(1, IMAGES, QUERIES, CLASSES + 4)
    found[..., :-4], found[..., -4:] = -12.0, 0.5
    for image, boxes in enumerate(wanted):
        for query, box in enumerate(boxes[boxes[:, 0] >= 0]):
            found[0, image, query, int(box[0])] = 12.0
            found[0, image, query, -4:] = box[1:]
    assert set_loss(found, wanted) < 1e-4
