from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.sequences.tome import Tome
from paretovit.zoo.tokens import Layout, Tokens


def spec(sequence: Part) -> ModelSpec:
    stage = Stage(depth=4, dim=32, heads=2, sequence=sequence)
    return ModelSpec(name="tiny", stages=(stage,), image_px=32, patch_px=8, num_classes=5)


def plainly(x_ND: Tensor, key_HNK: Tensor, size_N: Tensor, prefix: int, r: int) -> tuple[Tensor, Tensor]:
    """One image by the paper's text: the whole sequence alternates, and class tokens have no edges."""
    key = key_HNK.mean(0)
    unit = key / key.norm(dim=1, keepdim=True)
    in_a = [i for i in range(0, len(x_ND), 2) if i >= prefix]
    in_b = [i for i in range(1, len(x_ND), 2) if i >= prefix]
    edges = []
    for a in in_a:
        best = max(in_b, key=lambda b: float(unit[a] @ unit[b]))
        edges.append((float(unit[a] @ unit[best]), a, best))
    merged = {a: b for _, a, b in sorted(edges, reverse=True)[:r]}
    values, sizes = [], []
    for token in [*range(prefix), *(a for a in in_a if a not in merged), *in_b]:
        group = [token] + [a for a, b in merged.items() if b == token]
        sizes.append(size_N[group].sum())
        values.append((x_ND[group] * size_N[group, None]).sum(0) / sizes[-1])
    return torch.stack(values), torch.stack(sizes)


def test_merges_the_most_similar_pair() -> None:
    # class token, then patches 0 to 3; A is patches 1 and 3, B is patches 0 and 2. Patch 3 points as patch 2 does.
    keys = torch.tensor([[1.0, 1], [1, 0], [1, 0.2], [0, 1], [0, 5]])
    tokens = Tokens(torch.tensor([[[9.0], [10], [11], [12], [13]]]), grid=(2, 2), prefix=1)
    out = Tome(1, Layout.of_grid((2, 2), 1), r=1)(tokens, keys[None, None])
    # class token, what is left of A, then B
    assert out.x.flatten().tolist() == [9, 11, 10, 12.5]
    assert out.size is not None
    assert out.size.tolist() == [[1, 1, 1, 2]]
    assert out.grid is None


def test_several_may_go_into_one_and_large_tokens_weigh_more() -> None:
    keys = torch.tensor([[1.0, 1], [1, 0], [0.1, 1], [0, 1], [0, 1]])  # patches 1 and 3 both point as patch 2
    tokens = Tokens(torch.tensor([[[9.0], [10], [11], [12], [13]]]), prefix=1, size=torch.tensor([[1.0, 1, 4, 2, 2]]))
    out = Tome(1, Layout.of_grid((2, 2), 1), r=2)(tokens, keys[None, None])
    assert out.x.flatten().tolist() == [9, 10, (4 * 11 + 2 * 12 + 2 * 13) / 8]
    assert out.size is not None
    assert out.size.tolist() == [[1, 1, 8]]


@pytest.mark.parametrize("prefix", [0, 1, 2, 3])
@pytest.mark.parametrize("sizes", [True, False])
def test_agrees_with_the_papers_text(prefix: int, sizes: bool) -> None:
    torch.manual_seed(prefix)
    layout = Layout.of_grid((6, 5), prefix)
    x = torch.randn(4, layout.num_tokens, 8, dtype=torch.float64)
    keys = torch.randn(4, 2, layout.num_tokens, 5, dtype=torch.float64)
    size = torch.randint(1, 4, x.shape[:2]).double()
    out = Tome(8, layout, r=9)(Tokens(x, grid=(6, 5), prefix=prefix, size=size if sizes else None), keys)
    assert out.size is not None
    for image in range(4):
        ones = torch.ones_like(size[image])
        values, counts = plainly(x[image], keys[image], size[image] if sizes else ones, prefix, r=9)
        torch.testing.assert_close(out.x[image], values)
        torch.testing.assert_close(out.size[image], counts)


@pytest.mark.parametrize(("r", "patches", "left"), [(13, 196, 183), (13, 25, 13), (5, 4, 2), (1, 1, 1), (0, 9, 9)])
def test_merges_at_most_half_of_the_patches(r: int, patches: int, left: int) -> None:
    assert Tome(8, Layout.of_grid((1, patches), 1), r=r).after().patches == left


def test_with_nothing_to_merge_it_is_the_plain_vit() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 32, 32)
    plain, kept = Backbone(spec(Part("keep_all"))).eval(), Backbone(spec(Part.of("tome", r=0))).eval()
    kept.load_state_dict(plain.state_dict())
    assert torch.equal(plain(image), kept(image))
    assert plain.macs() == kept.macs()


@pytest.mark.parametrize("readout", ["class_token", "mean"])
def test_merging_tokens_that_are_alike_changes_nothing_as_sizes_are_minded(readout: str) -> None:
    # An image of one colour, and nobody knows a place: all patch tokens are equal, until attention forgets
    # how many there were.
    torch.manual_seed(0)
    plain = replace(spec(Part("keep_all")), position=Part("absent"), readout=Part(readout))
    merging = replace(spec(Part.of("tome", r=3)), position=Part("absent"), readout=Part(readout))
    full, merged = Backbone(plain).double().eval(), Backbone(merging).double().eval()
    for parameter in full.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    merged.load_state_dict(full.state_dict())
    image = torch.full((1, 3, 32, 32), 0.5, dtype=torch.float64)
    torch.testing.assert_close(merged(image), full(image))
    assert merged.macs() < full.macs()


def test_works_on_the_weights_of_a_plain_vit() -> None:
    plain, merging = Backbone(spec(Part("keep_all"))), Backbone(spec(Part.of("tome", r=2)))
    assert merging.load_state_dict(plain.state_dict()).missing_keys == []


def test_refuses_a_negative_number() -> None:
    with pytest.raises(UserError, match="0 or more"):
        Tome(8, Layout.of_grid((2, 2), 1), r=-1)
