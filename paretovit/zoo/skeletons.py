"""The architectures on the skeleton: what each has in the place of the plain ViT's parts, and whose it is. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from paretovit.spec import Part
from paretovit.zoo.taxonomy import Published


@dataclass(frozen=True)
class Size:
    """Depth, width and heads of a model on the skeleton."""

    depth: int
    dim: int
    heads: int


# tiny to base: Touvron et al. 2020, "DeiT", table 1; large: Dosovitskiy et al. 2020, table 1. pico and nano are
# ours, for images of a few pixels.
SIZES = {
    "pico": Size(4, 64, 2),
    "nano": Size(6, 128, 4),
    "tiny": Size(12, 192, 3),
    "small": Size(12, 384, 6),
    "base": Size(12, 768, 12),
    "large": Size(24, 1024, 16),
}


@dataclass(frozen=True)
class Scale:
    """What an architecture may make its options depend on: patches in `rows` and `columns`, `depth` blocks."""

    rows: int
    columns: int
    depth: int

    @property
    def patches(self) -> int:
        return self.rows * self.columns


Slots = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A family of models on the skeleton: what differs from the plain ViT, and who proposed it.

    slots      sequence, mixer, mlp and other fields of the stage that are not the plain ViT's, for a scale
    frame      stem, position, readout and other fields of the spec that are not the plain ViT's
    """

    paper: str
    arxiv: str
    slots: Callable[[Scale], Slots] = lambda scale: {}
    frame: dict[str, object] = field(default_factory=dict)
    published: dict[str, Published] = field(default_factory=dict)
    sizes: tuple[str, ...] = ("tiny", "small", "base")


def _window(scale: Scale) -> int:
    """7 as in Swin where it divides the grid, else at most 8 and two a side at least: shifting matters.

    Were it a share of the grid, cost would grow with the square of the tokens.
    """
    side = min(scale.rows, scale.columns)
    if scale.rows % 7 == scale.columns % 7 == 0 and side > 7:
        return 7
    return -(-side // max(2, -(-side // 8)))


MEAN: dict[str, object] = {"readout": Part("mean")}

ARCHITECTURES: dict[str, Architecture] = {
    "vit": Architecture(
        paper="Dosovitskiy et al. 2020, An Image is Worth 16x16 Words",
        arxiv="2010.11929",
        published={
            "tiny": Published(5.7, 1.3, 72.2, "DeiT-Ti, Touvron et al. 2020, table 5; macs: timm"),
            "small": Published(22.1, 4.6, 79.8, "DeiT-S, Touvron et al. 2020, table 5; macs: timm"),
            "base": Published(86.6, 17.6, 81.8, "DeiT-B, Touvron et al. 2020, table 5; macs: timm"),
        },
        sizes=("tiny", "small", "base", "large"),
    ),
    "linformer": Architecture(
        paper="Wang et al. 2020, Linformer",
        arxiv="2006.04768",
        slots=lambda scale: {"mixer": Part.of("linformer", length=min(64, max(1, scale.patches // 3)))},
    ),
    "nystromformer": Architecture(
        paper="Xiong et al. 2021, Nystromformer",
        arxiv="2102.03902",
        # 64 landmarks for 197 tokens, as in the survey; a third of the tokens where there are fewer
        slots=lambda scale: {"mixer": Part.of("nystromformer", landmarks=min(64, max(1, scale.patches // 3)))},
    ),
    "swin_vit": Architecture(
        paper="Liu et al. 2021, Swin Transformer: its shifted windows on the plain skeleton",
        arxiv="2103.14030",
        slots=lambda scale: {"mixer": Part.of("shifted_window", window=_window(scale))},
        frame=MEAN,
    ),
    "maxvit_vit": Architecture(
        paper="Tu et al. 2022, MaxViT: its block and grid attention on the plain skeleton",
        arxiv="2204.01697",
        slots=lambda scale: {"mixer": Part.of("block_grid", window=_window(scale))},
        frame=MEAN,
    ),
    "routing": Architecture(
        paper="Roy et al. 2020, Efficient Content-Based Sparse Attention with Routing Transformers",
        arxiv="2003.05997",
        slots=lambda scale: {"mixer": Part.of("routing", clusters=round(scale.patches**0.5))},
    ),
    "sinkhorn": Architecture(
        paper="Tay et al. 2020, Sparse Sinkhorn Attention",
        arxiv="2002.11296",
        slots=lambda scale: {"mixer": Part.of("sinkhorn", blocks=max(1, round(scale.patches / 28)), noise=1.0)},
    ),
    "informer": Architecture(
        paper="Zhou et al. 2020, Informer",
        arxiv="2012.07436",
        slots=lambda scale: {"mixer": Part("informer")},
    ),
    "reformer": Architecture(
        paper="Kitaev et al. 2020, Reformer",
        arxiv="2001.04451",
        slots=lambda scale: {"mixer": Part.of("reformer", chunk=32, rounds=4)},
    ),
    "synthesizer_dense": Architecture(
        paper="Tay et al. 2020, Synthesizer",
        arxiv="2005.00743",
        slots=lambda scale: {"mixer": Part("synthesizer_dense")},
    ),
    "synthesizer_factorized_random": Architecture(
        paper="Tay et al. 2020, Synthesizer",
        arxiv="2005.00743",
        slots=lambda scale: {"mixer": Part.of("synthesizer_factorized_random", rank=8)},
    ),
    "synthesizer_random": Architecture(
        paper="Tay et al. 2020, Synthesizer",
        arxiv="2005.00743",
        slots=lambda scale: {"mixer": Part("synthesizer_random")},
    ),
    "performer": Architecture(
        paper="Choromanski et al. 2020, Rethinking Attention with Performers",
        arxiv="2009.14794",
        slots=lambda scale: {"mixer": Part("performer")},
    ),
    "performer_relu": Architecture(
        paper="Choromanski et al. 2020, Rethinking Attention with Performers: the ReLU kernel",
        arxiv="2009.14794",
        slots=lambda scale: {"mixer": Part.of("performer", kernel="relu")},
    ),
    "fourier_learner": Architecture(
        paper="Choromanski et al. 2023, Learning a Fourier Transform for Linear Relative Positional Encodings",
        arxiv="2302.01925",
        slots=lambda scale: {"mixer": Part("fourier_learner")},
    ),
    "scatterbrain": Architecture(
        paper="Chen et al. 2021, Scatterbrain",
        arxiv="2110.15343",
        slots=lambda scale: {"mixer": Part.of("scatterbrain", cluster=min(32, max(1, scale.patches // 4)))},
    ),
    "hydra": Architecture(
        paper="Bolya et al. 2022, Hydra Attention",
        arxiv="2209.07484",
        slots=lambda scale: {"mixer": Part("hydra")},
    ),
    "poly_sa": Architecture(
        paper="Babiloni et al. 2023, Linear Complexity Self-Attention with 3rd Order Polynomials",
        arxiv="2107.02859",  # of its predecessor, Poly-NL; the journal's article has none
        slots=lambda scale: {"mixer": Part("poly_sa")},
        published={"small": Published(None, None, 71.48, "Nauen et al. 2023, table 1")},
    ),
    "linear_transformer": Architecture(
        paper="Katharopoulos et al. 2020, Transformers are RNNs",
        arxiv="2006.16236",
        slots=lambda scale: {"mixer": Part("linear_transformer")},
    ),
    "cvt_vit": Architecture(
        paper="Wu et al. 2021, CvT: its convolutional projections on the plain skeleton",
        arxiv="2103.15808",
        slots=lambda scale: {"mixer": Part("conv_attention")},
    ),
    "fnet": Architecture(
        paper="Lee-Thorp et al. 2021, FNet",
        arxiv="2105.03824",
        slots=lambda scale: {"mixer": Part("fnet")},
        frame=MEAN,
    ),
    "mlp_mixer_vit": Architecture(
        paper="Tolstikhin et al. 2021, MLP-Mixer: its token MLP on the plain skeleton",
        arxiv="2105.01601",
        slots=lambda scale: {"mixer": Part("mlp_mixer")},
        frame=MEAN | {"position": Part("absent")},
    ),
    "gfnet_vit": Architecture(
        paper="Rao et al. 2021, Global Filter Networks",
        arxiv="2107.00645",
        slots=lambda scale: {"mixer": Part("gfnet")},
        frame=MEAN,
    ),
    "afno": Architecture(
        paper="Guibas et al. 2021, Adaptive Fourier Neural Operators",
        arxiv="2111.13587",
        slots=lambda scale: {"mixer": Part.of("afno", blocks=8)},
        frame=MEAN,
    ),
    "focal_vit": Architecture(
        paper="Yang et al. 2022, Focal Modulation Networks",
        arxiv="2203.11926",
        slots=lambda scale: {"mixer": Part.of("focal", levels=3, window=3)},
        frame=MEAN | {"position": Part("absent")},
        published={
            "tiny": Published(5.9, 1.1, 74.1, "Yang et al. 2022, FocalNet-T isotropic"),
            "small": Published(22.4, 4.3, 80.9, "Yang et al. 2022, FocalNet-S isotropic"),
            "base": Published(87.2, 16.9, 82.4, "Yang et al. 2022, FocalNet-B isotropic"),
        },
    ),
    "conv_former_vit": Architecture(
        paper="Yu et al. 2022, MetaFormer Baselines for Vision: its separable convolution on the plain skeleton",
        arxiv="2210.13452",
        slots=lambda scale: {"mixer": Part("separable_conv")},
        frame=MEAN,
    ),
    "identityformer": Architecture(
        paper="Yu et al. 2022, MetaFormer Baselines for Vision",
        arxiv="2210.13452",
        slots=lambda scale: {"mixer": Part("identity")},
        frame=MEAN,
    ),
    "pool_vit": Architecture(
        paper="Yu et al. 2021, MetaFormer is Actually What You Need for Vision: its pooling on the plain skeleton",
        arxiv="2111.11418",
        slots=lambda scale: {"mixer": Part("pooling")},
        frame=MEAN,
    ),
    "dynamic_vit": Architecture(
        paper="Rao et al. 2021, DynamicViT",
        arxiv="2106.02034",
        slots=lambda scale: {"sequence": Part.of("dynamic_vit", keep=0.7)},
        published={
            "small": Published(
                22.8,
                None,  # 2.9 in the paper; by our count 2.98, and 2.88 without the networks that predict
                79.3,
                "Rao et al. 2021, table 2: DeiT-S, keep rate 0.7, distilled",
            )
        },
    ),
    "avit": Architecture(
        paper="Yin et al. 2022, A-ViT: Adaptive Tokens for Efficient Vision Transformer",
        arxiv="2112.07658",
        slots=lambda scale: {"sequence": Part("avit")},
        # The paper's 0.8 and 3.6 billion multiply-accumulates are means over the images of ImageNet. Its 5 million
        # parameters of tiny are DeiT-Ti's 5.7.
        published={
            "tiny": Published(None, None, 71.0, "Yin et al. 2022, table 2: fine-tuned from DeiT-Ti"),
            "small": Published(22, None, 78.6, "Yin et al. 2022, table 2: fine-tuned from DeiT-S"),
        },
    ),
    "evit_delete": Architecture(
        paper="Liang et al. 2022, Not All Patches are What You Need",
        arxiv="2202.07800",
        slots=lambda scale: {"sequence": Part.of("evit", keep=0.7, fuse=False)},
        published={"small": Published(22.1, 3.0, 79.4, "Liang et al. 2022, table 1: DeiT-S, keep rate 0.7")},
    ),
    "evit_fuse": Architecture(
        paper="Liang et al. 2022, Not All Patches are What You Need",
        arxiv="2202.07800",
        slots=lambda scale: {"sequence": Part.of("evit", keep=0.7, fuse=True)},
        published={"small": Published(22.1, 3.0, 79.5, "Liang et al. 2022, table 1: DeiT-S, keep rate 0.7")},
    ),
    "tome": Architecture(
        paper="Bolya et al. 2022, Token Merging: Your ViT But Faster",
        arxiv="2210.09461",
        # r = 13 in each of 12 blocks at 196 patches; elsewhere the same share of the tokens, spread over the depth
        slots=lambda scale: {"sequence": Part.of("tome", r=max(1, round(scale.patches * 13 * 12 / 196 / scale.depth)))},
        published={"small": Published(22.1, 2.7, 79.4, "Bolya et al. 2022, table 4: DeiT-S, r = 13, trained")},
    ),
    "token_learner": Architecture(
        paper="Ryoo et al. 2021, TokenLearner: What Can 8 Learned Tokens Do",
        arxiv="2106.11297",
        slots=lambda scale: {"sequence": Part.of("token_learner", tokens=min(8, scale.patches))},
        frame=MEAN,
    ),
    "switch": Architecture(
        paper="Fedus et al. 2021, Switch Transformers",
        arxiv="2101.03961",
        slots=lambda scale: {"mlp": Part.of("switch", experts=8)},
    ),
    "universal": Architecture(
        paper="Dehghani et al. 2018, Universal Transformers",
        arxiv="1807.03819",
        slots=lambda scale: {"share": True},
        frame={"position": Part("absent")},  # every step adds the places anew
    ),
}
