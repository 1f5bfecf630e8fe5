"""What every token mixer promises. A new file in the folder is held to it without being named here."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from paretovit.cost.counting import count_module
from paretovit.errors import UserError
from paretovit.zoo.folders import MIXERS
from paretovit.zoo.mixers import Mixer
from paretovit.zoo.taxonomy import FAMILIES
from paretovit.zoo.tokens import Layout, Tokens

DIM, HEADS = 32, 4


class Case(NamedTuple):
    """A mixer with options, at one layout. 6 x 5: swapped sides show; 3 x 2 is smaller than most windows."""

    name: str
    options: dict[str, Any]
    layout: Layout

    def __str__(self) -> str:
        options = "".join(f"-{k}={v}" for k, v in self.options.items())
        return f"{self.name}{options}-{self.layout.grid}+{self.layout.prefix}"

    def build(self) -> Mixer:
        torch.manual_seed(0)
        mixer = MIXERS[self.name](DIM, HEADS, self.layout, **self.options)
        for parameter in mixer.parameters():  # a bias of zero, or a weight of one, would hide a mistake
            with torch.no_grad():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return mixer

    def tokens(self, *, images: int = 3, dtype: torch.dtype = torch.float32) -> Tokens:
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(images, self.layout.num_tokens, DIM, generator=generator, dtype=torch.float64).to(dtype)
        return Tokens(x, grid=self.layout.grid, prefix=self.layout.prefix)


class Bare(torch.nn.Module):
    """A mixer, or its answer, as a function of a tensor: what the counter takes."""

    def __init__(self, mixer: Mixer, tokens: Tokens, ask: str | None = None) -> None:
        super().__init__()
        self.mixer, self.tokens, self.ask = mixer, tokens, ask

    def forward(self, x: torch.Tensor) -> Any:
        tokens = self.tokens.with_x(x)
        return self.mixer(tokens) if self.ask is None else self.mixer.answer(tokens, self.ask)


def cases() -> list[Case]:
    found = []
    for name in MIXERS.names():
        prefix = int(MIXERS.fact(name, "takes_prefix", True))
        blocks = ({"block": 0}, {"block": 1}) if MIXERS.fact(name, "alternates", False) else ({},)
        layouts = [Layout.of_grid((6, 5), prefix), Layout.of_grid((3, 2))]
        if not MIXERS.fact(name, "needs_grid", False):
            layouts.append(Layout.of_grid((6, 5), prefix).without_grid(11))
        if MIXERS.fact(name, "takes_time", False):
            layouts.append(Layout.of_grid((4, 3, 2), prefix))
        for options in ({}, *MIXERS.fact(name, "trials", ())):
            found += [Case(name, options | block, layout) for block in blocks for layout in layouts]
    return found


@pytest.fixture(params=cases(), ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def test_gives_as_many_tokens_as_it_gets(case: Case) -> None:
    tokens = case.tokens()
    assert case.build().eval()(tokens).shape == tokens.x.shape


def test_agrees_with_its_reference(case: Case) -> None:
    mixer, tokens = case.build().double().eval(), case.tokens(dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(mixer(tokens), mixer.reference(tokens), rtol=1e-6, atol=1e-9)


def test_tokens_do_hear_of_each_other_unless_it_says_not(case: Case) -> None:
    mixer, tokens = case.build().double().eval(), case.tokens(dtype=torch.float64)
    changed = tokens.x.clone()
    changed[:, -1] += 1.0
    with torch.no_grad():
        moved = (mixer(tokens.with_x(changed)) - mixer(tokens))[:, :-1].abs().amax((1, 2))
    assert bool((moved > 1e-6).all()) is mixer.mixes


def test_never_mixes_images(case: Case) -> None:
    mixer, tokens = case.build().double().eval(), case.tokens(dtype=torch.float64)
    with torch.no_grad():
        together, alone = mixer(tokens)[:1], mixer(tokens.with_x(tokens.x[:1]))
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


# where there is no class token a part may be without effect: what is added to every key alike, for one
@pytest.mark.parametrize("case", [c for c in cases() if c.layout.grid == (6, 5)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_reach_every_trained_parameter(case: Case, training: bool) -> None:
    mixer, tokens = case.build().double().train(training), case.tokens(dtype=torch.float64)
    x = tokens.x.requires_grad_()
    out = mixer(tokens.with_x(x))
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for name, parameter in [*mixer.named_parameters(), ("tokens", x)]:
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-6, name  # rounding leaves some 1e-15 where nothing arrives


def test_states_the_macs_that_are_counted(case: Case) -> None:
    mixer = case.build()

    tokens = case.tokens(images=1)
    assert count_module(Bare(mixer, tokens), tokens.x).macs == mixer.macs()
    for ask in mixer.answers:
        assert count_module(Bare(mixer, tokens, ask), tokens.x).macs == mixer.macs() + mixer.answer_macs(ask)


def test_counts_the_same_where_nothing_is_allocated(case: Case) -> None:
    with torch.device("meta"):
        mixer = MIXERS[case.name](DIM, HEADS, case.layout, **case.options)
        tokens = Tokens(torch.empty(2, case.layout.num_tokens, DIM), case.layout.grid, case.layout.prefix)
        assert mixer(tokens).shape == tokens.x.shape
    assert {p.device.type for p in (*mixer.parameters(), *mixer.buffers())} <= {"meta"}
    assert mixer.macs() == case.build().macs()


def test_a_state_dict_carries_all_that_it_does(case: Case) -> None:
    mixer, tokens = case.build().eval(), case.tokens()
    torch.manual_seed(99)
    other = MIXERS[case.name](DIM, HEADS, case.layout, **case.options).eval()
    other.load_state_dict(mixer.state_dict())
    with torch.no_grad():
        assert torch.equal(other(tokens), mixer(tokens))


def test_the_same_tokens_give_the_same_twice(case: Case) -> None:
    mixer, tokens = case.build().eval(), case.tokens()
    before = tokens.x.clone()
    with torch.no_grad():
        assert torch.equal(mixer(tokens), mixer(tokens))
    assert torch.equal(tokens.x, before)


@pytest.mark.parametrize("training", [True, False])
def test_mixed_precision_stays_near_single_precision(case: Case, training: bool) -> None:
    mixer, tokens = case.build().train(training), case.tokens()
    exact = mixer(tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = mixer(tokens)
    assert (rough.float() - exact).norm() < 0.1 * exact.norm()
    rough.float().square().mean().backward() if rough.requires_grad else None
    assert all(p.grad is None or p.grad.isfinite().all() for p in mixer.parameters())


def test_runs_whole_in_half_precision(case: Case) -> None:
    mixer, tokens = case.build().bfloat16().eval(), case.tokens(dtype=torch.bfloat16)
    with torch.no_grad():
        out = mixer(tokens)
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


@pytest.mark.parametrize("name", MIXERS.names())
def test_states_a_family_of_the_taxonomy(name: str) -> None:
    assert MIXERS.fact(name, "family") in FAMILIES
    assert MIXERS[name].family == MIXERS.fact(name, "family")


@pytest.mark.parametrize("name", MIXERS.names())
def test_says_in_one_line_what_it_does(name: str) -> None:
    assert 10 < len(MIXERS.summary(name)) < 120


@pytest.mark.parametrize("name", [n for n in MIXERS.names() if not MIXERS.fact(n, "takes_prefix", True)])
def test_refuses_a_class_token_that_it_cannot_carry(name: str) -> None:
    with pytest.raises(UserError, match="read-out 'mean'"):
        MIXERS[name](DIM, HEADS, Layout.of_grid((6, 5), prefix=1))


@pytest.mark.parametrize("name", [n for n in MIXERS.names() if MIXERS.fact(n, "needs_grid", False)])
def test_refuses_tokens_that_lie_on_no_grid_of_its_kind(name: str) -> None:
    video = [] if MIXERS.fact(name, "takes_time", False) else [Layout.of_grid((2, 3, 5))]
    for layout in (Layout(None, 30, 0), *video):
        with pytest.raises(UserError, match="grid"):
            MIXERS[name](DIM, HEADS, layout)


@pytest.mark.parametrize("name", MIXERS.names())
def test_refuses_questions_that_it_cannot_answer(name: str) -> None:
    mixer = MIXERS[name](DIM, HEADS, Layout.of_grid((6, 5)))
    with pytest.raises(UserError, match="cannot tell 'the weather'"):
        mixer.answer(Tokens(torch.zeros(1, 30, DIM), (6, 5)), "the weather")


@pytest.mark.parametrize("name", MIXERS.names())
def test_answers_what_it_says_it_answers(name: str) -> None:
    mixer = MIXERS[name](DIM, HEADS, Layout.of_grid((6, 5), int(MIXERS[name].takes_prefix))).eval()
    n = mixer.layout.num_tokens
    tokens = Tokens(torch.randn(2, n, DIM), (6, 5), mixer.layout.prefix)
    for ask in mixer.answers:
        mixed, answer = mixer.answer(tokens, ask)
        torch.testing.assert_close(mixed, mixer(tokens))
        assert answer.shape[:3] == (2, HEADS, n)
