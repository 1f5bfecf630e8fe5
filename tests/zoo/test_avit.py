from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from paretovit.cost.counting import count, count_module
from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.sequences import Turn
from paretovit.zoo.sequences.avit import Avit
from paretovit.zoo.tokens import Layout, Tokens

BLOCKS, EPS, DIM = 5, 0.01, 3


LEARNED = Part("learned")


def avit_spec(readout: str = "class_token", position: Part = LEARNED, **options: float) -> ModelSpec:
    stage = Stage(depth=4, dim=32, heads=2, sequence=Part.of("avit", **options))
    return ModelSpec(
        name="tiny",
        stages=(stage,),
        image_px=32,
        patch_px=8,
        num_classes=5,
        readout=Part(readout),
        position=position,
    )


def model_of(spec: ModelSpec) -> Backbone:
    torch.manual_seed(0)
    model = Backbone(spec).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 5)
    return model


IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def stage_of(layout: Layout) -> list[Avit]:
    start, sequences = layout, []
    for index in range(BLOCKS):
        sequences.append(Avit(DIM, layout, Turn(index, BLOCKS, start), gamma=1.0, beta=-1.0, eps=EPS))
        layout = sequences[-1].after()
    return sequences


def worked(x: Tensor) -> Tensor:
    """A block in which no token hears of another: values and scores change, and follow from the token alone."""
    return x.roll(1, dims=-1) * 1.5 + 0.25


def by_hand(x_ND: Tensor) -> tuple[Tensor, list[float], list[float], list[int]]:
    """Graves 2016, for each token: its output, N_k + r_k for each, mean score of each block, tokens left after each."""
    outs, ponder, means, left = [], [], [0.0] * BLOCKS, [0] * BLOCKS
    for token in x_ND:
        total, out = 0.0, torch.zeros_like(token)
        for block in range(BLOCKS):
            token = worked(token)
            score = 1.0 if block == BLOCKS - 1 else 1 / (1 + math.exp(1 - token[0].item()))
            means[block] += score / len(x_ND)
            if total + score >= 1 - EPS:
                outs.append(out + (1 - total) * token)
                ponder.append(block + 1 + 1 - total)
                break
            out, total = out + score * token, total + score
            left[block] += 1
    return torch.stack(outs), ponder, means, left


def through(tokens: Tokens, sequences: list[Avit]) -> tuple[Tokens, list[int]]:
    """What the stage returns, and the length of the sequence after each block."""
    lengths = []
    for sequence in sequences:
        tokens = sequence(tokens.with_x(worked(tokens.x)), None)
        lengths.append(tokens.x.shape[1])
    return tokens, lengths


@pytest.fixture
def given() -> Tokens:
    x = 4 * torch.randn(3, 13, DIM, generator=torch.Generator().manual_seed(3))
    size, place = torch.arange(39.0).view(3, 13), torch.arange(39.0).view(3, 13, 1)
    return Tokens(x, grid=(3, 4), prefix=1, place=place, size=size)


@pytest.mark.parametrize("training", [True, False])
def test_returns_every_token_as_the_halting_weighted_sum_of_its_values(given: Tokens, training: bool) -> None:
    sequences = [sequence.train(training) for sequence in stage_of(Layout.of_grid((3, 4), 1))]
    out, _ = through(given, sequences)
    expected = torch.stack([by_hand(image)[0] for image in given.x])
    torch.testing.assert_close(out.x, expected)
    assert (out.grid, out.prefix) == ((3, 4), 1)
    assert (out.place is given.place, out.size is given.size) == (True, True), "all are back where they were"
    assert (out.alive, out.halting) == (None, None)


def test_the_sequence_is_as_long_as_the_image_with_most_tokens_left_needs(given: Tokens) -> None:
    patches = [by_hand(image[1:])[3] for image in given.x]
    assert len({tuple(left) for left in patches}) == 3, "images differ"
    most = [1 + max(left[block] for left in patches) for block in range(BLOCKS - 1)]
    assert 13 > most[0] > most[-1] > 2, "some leave at once, and some go on"
    sequences = [sequence.eval() for sequence in stage_of(Layout.of_grid((3, 4), 1))]
    assert through(given, sequences)[1] == [*most, 13]


def test_an_image_alone_needs_no_mask_while_its_class_token_runs() -> None:
    (sequence, *_) = stage_of(Layout.of_grid((1, 3), 1))
    x = torch.tensor([[-9.0, 9.0, -9.0, 9.0]]).unsqueeze(-1).expand(-1, -1, DIM)
    out = sequence.eval()(Tokens(x, prefix=1), None)
    assert out.x[0, :, 0].tolist() == [-9, -9]
    assert out.alive is None
    halted = sequence(Tokens(-x, prefix=1), None)
    assert halted.x[0, :, 0].tolist() == [9, -9, -9]
    assert halted.alive is not None
    assert halted.alive.tolist() == [[0, 1, 1]], "the class token keeps its place, and is not heard"


def test_losses_are_those_of_the_paper(given: Tokens) -> None:
    out, _ = through(given, [sequence.train() for sequence in stage_of(Layout.of_grid((3, 4), 1))])
    images = [by_hand(image) for image in given.x]
    assert out.aux["avit_ponder"].item() == pytest.approx(sum(sum(ponder) for _, ponder, _, _ in images) / 39)
    means = [sum(image[2][block] for image in images) / 3 for block in range(BLOCKS)]
    shares = [mean / sum(means) for mean in means]
    bell = [math.exp(-((block - BLOCKS * 2 / 3) ** 2) / 2) for block in range(1, BLOCKS + 1)]
    divergence = sum(p * math.log(p / (b / sum(bell))) for p, b in zip(shares, bell, strict=True))
    assert out.aux["avit_distribution"].item() == pytest.approx(divergence, rel=1e-4)


def test_scores_that_are_certain_take_the_least_and_the_most_blocks() -> None:
    for beta, blocks in ((50.0, 1), (-50.0, 4)):
        model = model_of(avit_spec(gamma=0.0, beta=beta)).train()
        model(IMAGES)
        # one that halts in its first block has the remainder 1, as has one that never scored before its last
        assert model.aux["avit_ponder"].item() == pytest.approx(blocks + 1)


@pytest.mark.parametrize("readout", ["class_token", "mean", "sequence_pooling"])
def test_without_halting_it_is_the_plain_vit(readout: str) -> None:
    spec = avit_spec(readout, beta=-1e4)
    plain = model_of(replace(spec, stages=(replace(spec.stages[0], sequence=Part("keep_all")),)))
    model = model_of(spec)
    assert model.state_dict().keys() == plain.state_dict().keys()
    for mode in (True, False):
        torch.testing.assert_close(model.train(mode)(IMAGES), plain(IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("readout", ["class_token", "mean"])
def test_halting_after_the_first_block_is_a_vit_of_one_block(readout: str) -> None:
    spec = avit_spec(readout, gamma=0.0, beta=50.0)
    model = model_of(spec)
    short = Backbone(replace(spec, stages=(replace(spec.stages[0], depth=1, sequence=Part("keep_all")),))).eval()
    state = model.state_dict()
    short.load_state_dict({name: state[name] for name in short.state_dict()})
    for mode in (True, False):
        torch.testing.assert_close(model.train(mode)(IMAGES), short(IMAGES), rtol=1e-5, atol=1e-5)
    assert count_module(model.eval(), IMAGES).macs < 0.5 * count_module(model_of(avit_spec()), IMAGES).macs


@pytest.mark.parametrize("readout", ["class_token", "mean"])
@pytest.mark.parametrize("position", [Part("learned"), Part.of("rotary", axes=2), Part.of("rotary", axes=1)], ids=str)
def test_masking_and_leaving_are_the_same(readout: str, position: Part) -> None:
    model = model_of(avit_spec(readout, position, beta=0.0))
    expected = model(IMAGES)
    assert expected.std() > 0.1
    torch.testing.assert_close(model.train()(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_a_compiled_and_an_exported_model_give_the_same_logits() -> None:
    model = model_of(avit_spec(beta=0.0))
    with torch.no_grad():
        expected = model(IMAGES)
        torch.compiler.reset()
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(IMAGES), expected, rtol=1e-4, atol=1e-4)
        exported = torch.export.export(model, (IMAGES,)).module()
        torch.testing.assert_close(exported(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_without_values_the_count_is_the_most_it_can_be() -> None:
    spec = avit_spec(beta=0.0)
    plain = replace(spec, stages=(replace(spec.stages[0], sequence=Part("keep_all")),))
    assert count(lambda: Backbone(spec), (1, 3, 32, 32)).macs == Backbone(spec).macs() == Backbone(plain).macs()
    assert count_module(model_of(spec), IMAGES[:1]).macs < Backbone(spec).macs()


def test_the_next_stage_finds_the_tokens_on_their_grid() -> None:
    spec = avit_spec("mean", beta=0.0)
    window = Stage(depth=2, dim=32, heads=2, mixer=Part.of("shifted_window", window=2))
    model = model_of(replace(spec, stages=(*spec.stages, window)))
    torch.testing.assert_close(model.train()(IMAGES), model.eval()(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fused", [True, False])
def test_an_image_with_nothing_left_spoils_no_gradient(fused: bool) -> None:
    spec = avit_spec(gamma=0.0, beta=50.0)
    stage = replace(spec.stages[0], mixer=Part.of("attention", fused=fused))
    model = model_of(replace(spec, stages=(stage,))).train()
    model(IMAGES).square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("options", [{"eps": 0.0}, {"eps": 1.0}, {"centre": 1.5}])
def test_refuses_shares_that_are_none(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="shares between 0 and 1"):
        Backbone(avit_spec(**options))
