from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from paretovit.errors import UserError
from paretovit.spec import ModelSpec, Part, Stage
from paretovit.zoo.backbone import Backbone
from paretovit.zoo.mixers.attention import Attention
from paretovit.zoo.sequences import Turn, dynamic_vit
from paretovit.zoo.sequences.dynamic_vit import DynamicVit
from paretovit.zoo.tokens import Layout, Tokens

FOUR = Layout.of_grid((2, 2), prefix=1)


def spec(**slots: Part) -> ModelSpec:
    stage = Stage(depth=4, dim=32, heads=2, **({"sequence": Part.of("dynamic_vit", keep=0.5)} | slots))
    return ModelSpec(name="tiny", stages=(stage,), image_px=32, patch_px=8, num_classes=5)


def only(layout: Layout, *, keep: float = 0.5) -> DynamicVit:
    return DynamicVit(8, layout, Turn(0, 1, layout), keep=keep).eval()


def deciding(monkeypatch: pytest.MonkeyPatch, sequence: DynamicVit, log_BP2: Tensor) -> None:
    """Let the method believe that these are the predictions, and keep what is likelier, not at random."""
    monkeypatch.setattr(sequence, "_predict", lambda x_BPD, alive_BP: log_BP2)
    monkeypatch.setattr(dynamic_vit.F, "gumbel_softmax", lambda log, hard: (log >= log.amax(-1, keepdim=True)).float())


def test_keeps_the_likeliest_patches_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = only(FOUR)
    deciding(monkeypatch, sequence, torch.tensor([[0.2, 0.9, 0.1, 0.3]]).unsqueeze(-1).expand(-1, -1, 2))
    tokens = Tokens(torch.arange(5.0).view(1, 5, 1).expand(-1, -1, 8), grid=(2, 2), prefix=1)
    assert sequence(tokens, None).x[0, :, 0].tolist() == [0, 2, 4]
    without = replace(tokens, alive=torch.tensor([[1.0, 1, 0, 1, 1]]))
    assert sequence(without, None).x[0, :, 0].tolist() == [0, 1, 4], "what was removed before is not chosen"


@pytest.mark.parametrize(
    ("keep", "patches", "kept"),
    [(0.7, 196, [137, 96, 67]), (0.7, 100, [70, 49, 34]), (0.1, 4, [1, 1, 1]), (0.9, 196, [176, 158, 142])],
)
def test_keeps_powers_of_the_share_of_all_patches_rounded_down(keep: float, patches: int, kept: list[int]) -> None:
    start = layout = Layout.of_grid((1, patches), prefix=1)
    for index, expected in enumerate(kept):
        layout = DynamicVit(8, layout, Turn(index, 3, start), keep=keep).after()
        assert layout.patches == expected


def test_takes_the_fourth_seventh_and_tenth_block_of_twelve() -> None:
    assert DynamicVit.blocks(12) == (3, 6, 9)
    model = Backbone(spec())
    assert [block.mixer.layout.patches for block in model.stages[0]] == [16, 8, 4, 2]
    assert [block.mlp.layout.patches for block in model.stages[0]] == [16, 8, 4, 2]


def test_predicts_from_each_token_and_the_mean_of_those_alive() -> None:
    torch.manual_seed(0)
    sequence = only(Layout.of_grid((2, 3), prefix=1)).double()
    x_PD, alive_P = torch.randn(6, 8, dtype=torch.float64), torch.tensor([1.0, 0, 1, 1, 0, 1]).double()

    def gelu(x: Tensor) -> Tensor:
        return x * 0.5 * (1 + (x / 2**0.5).erf())

    normed = (x_PD - x_PD.mean(1, True)) / (x_PD.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    inner = gelu(normed @ sequence.inner.weight.T + sequence.inner.bias)
    mean = sum(inner[p, 4:] for p in (0, 2, 3, 5)) / 4
    for p in range(6):
        row = torch.cat((inner[p, :4], mean))
        for fc in (sequence.fc1, sequence.fc2):
            row = gelu(fc.weight @ row + fc.bias)
        logits = sequence.fc3.weight @ row + sequence.fc3.bias
        expected = logits - logits.exp().sum().log()
        torch.testing.assert_close(sequence._predict(x_PD[None], alive_P[None])[0, p], expected)


def test_counts_the_share_kept_of_each_image_against_the_share_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = DynamicVit(8, FOUR, Turn(1, 3, FOUR), keep=0.5).train()  # a quarter is to be left
    likely = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1]])
    deciding(monkeypatch, sequence, torch.stack((likely, 1 - likely), dim=-1))
    before = torch.tensor([[1.0, 1, 0, 1, 1], [1, 1, 1, 1, 1]])
    tokens = Tokens(torch.zeros(2, 5, 8), grid=(2, 2), prefix=1, alive=before)
    out = sequence(tokens, None)
    assert out.alive is not None
    assert out.alive.tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]], "what was removed stays so"
    # shares 1/4 and 1; the mean over two images, and this block's third of the mean over three
    assert out.aux["dynamic_vit_ratio"].item() == pytest.approx((0 + 0.75**2) / 2 / 3)


def test_keeps_with_the_predicted_probability_while_training() -> None:
    torch.manual_seed(0)
    sequence = only(FOUR).train()
    sequence._predict = lambda x_BPD, alive_BP: torch.tensor([0.8, 0.2]).log().expand(len(x_BPD), 4, 2)
    out = sequence(Tokens(torch.zeros(2000, 5, 8), prefix=1), None)
    assert out.alive is not None
    assert out.alive[:, 0].eq(1).all(), "class tokens stay"
    assert out.alive[:, 1:].mean().item() == pytest.approx(0.8, abs=0.02)  # 4.5 deviations


@pytest.mark.parametrize("fused", [True, False])
def test_the_mask_has_the_gradient_of_weights_that_are_multiplied_by_it(fused: bool) -> None:
    torch.manual_seed(0)
    mixer = Attention(8, 2, FOUR, fused=fused).double()
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    alive = torch.tensor([[1.0, 1, 0, 1, 0]], dtype=torch.float64)
    mine, plain = alive.clone().requires_grad_(), alive.clone().requires_grad_()
    toward = torch.randn(5, 8, dtype=torch.float64)
    (mixer(Tokens(x, prefix=1, alive=mine))[0] * toward).sum().backward()

    q, k, v = mixer.qkv(x[0]).view(5, 3, 2, 4).unbind(1)
    heads = []
    for h in range(2):
        weight = (q[:, h] @ k[:, h].T / 2).exp() * plain  # Rao et al. 2021, eq. 11
        heads.append(weight @ v[:, h] / weight.sum(1, keepdim=True))
    (mixer.proj(torch.cat(heads, dim=1)) * toward).sum().backward()
    assert plain.grad is not None
    assert plain.grad.abs().min() > 1e-4, "also where the token was removed"
    torch.testing.assert_close(mine.grad, plain.grad)


@pytest.mark.parametrize("position", [Part("learned"), Part.of("rotary", axes=2)], ids=str)
def test_masking_and_removing_the_same_tokens_are_the_same(monkeypatch: pytest.MonkeyPatch, position: Part) -> None:
    torch.manual_seed(0)
    model = Backbone(replace(spec(), position=position))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    image = torch.randn(3, 3, 32, 32)
    left, counts = torch.ones(3, 16), iter((8, 4, 2))

    def likeliest(log_BP2: Tensor, hard: bool) -> Tensor:
        nonlocal left
        best = log_BP2[..., 0].masked_fill(left == 0, float("-inf")).topk(next(counts)).indices
        left = torch.zeros(3, 16).scatter(1, best, 1.0)
        return torch.stack((left, 1 - left), dim=-1) + 0 * log_BP2  # with a gradient, as the real one

    monkeypatch.setattr(dynamic_vit.F, "gumbel_softmax", likeliest)
    torch.testing.assert_close(model.train()(image), model.eval()(image), rtol=1e-4, atol=1e-5)
    assert next(counts, None) is None


def test_with_every_patch_kept_it_is_the_plain_vit() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 32, 32)
    plain, kept = Backbone(spec(sequence=Part("keep_all"))), Backbone(spec(sequence=Part.of("dynamic_vit", keep=1.0)))
    kept.load_state_dict(plain.state_dict(), strict=False)
    for mode in (True, False):
        assert torch.equal(plain.train(mode)(image), kept.train(mode)(image))
    assert kept.macs() == plain.macs()


@pytest.mark.parametrize("keep", [0, -0.5, 1.01, 70])
def test_refuses_a_keep_rate_that_is_no_share(keep: float) -> None:
    with pytest.raises(UserError, match="share"):
        only(FOUR, keep=keep)


def test_refuses_a_model_without_a_class_token() -> None:
    with pytest.raises(UserError, match="class_token"):
        Backbone(replace(spec(), readout=Part("mean")))
