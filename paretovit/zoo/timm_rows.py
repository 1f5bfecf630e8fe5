"""timm's models in the taxonomy, under timm's names. No torch.

A figure is left out where the model that timm builds is not the one that was printed; a comment says why.
"""

from __future__ import annotations

from dataclasses import dataclass

from paretovit.zoo.taxonomy import Published


@dataclass(frozen=True)
class Row:
    """Class in the taxonomy, paper, arXiv number, published figures, and the image side that they are for."""

    family: str
    paper: str
    arxiv: str
    published: Published
    image_px: int = 224


@dataclass(frozen=True)
class _Paper:
    """The models of one paper that share a class and an image side."""

    family: str
    paper: str
    arxiv: str
    models: dict[str, Published]
    image_px: int = 224


_PAPERS = (
    _Paper(
        "baseline",
        "Touvron et al. 2020, DeiT",
        "2012.12877",
        {
            "deit_tiny_patch16_224": Published(5.7, 1.3, 72.2, "paper"),
            "deit_small_patch16_224": Published(22.1, 4.6, 79.8, "paper"),
            "deit_base_patch16_224": Published(86.6, 17.6, 81.8, "paper"),
        },
    ),
    _Paper(
        "baseline",
        "Touvron et al. 2022, DeiT III",
        "2204.07118",
        {
            "deit3_small_patch16_224": Published(22.0, 4.6, 81.4, "repository"),
            "deit3_medium_patch16_224": Published(38.8, 8.0, None, "repository"),
            "deit3_base_patch16_224": Published(86.6, 17.5, 83.8, "repository"),
        },
    ),
    _Paper(
        "baseline",
        "He et al. 2015, Deep Residual Learning",
        "1512.03385",
        {"resnet50": Published(25.6, 4.1, 76.13, "torchvision, v1")},
    ),
    _Paper(
        "baseline",
        "Radosavovic et al. 2020, Designing Network Design Spaces: RegNetY",
        "2003.13678",
        {
            "regnety_004": Published(4.3, 0.4, 74.05, "torchvision, v1"),
            "regnety_016": Published(11.2, 1.6, 77.95, "torchvision, v1"),
            "regnety_040": Published(20.6, 4.0, 79.4, "paper"),
        },
    ),
    _Paper(
        "baseline",
        "Tan and Le 2019, EfficientNet",
        "1905.11946",
        {"efficientnet_b0": Published(5.3, 0.39, 77.1, "paper")},
    ),
    _Paper(
        "baseline",
        "Tan and Le 2019, EfficientNet",
        "1905.11946",
        {"efficientnet_b1": Published(7.79, 0.687, 78.64, "torchvision, v1")},
        image_px=240,
    ),
    _Paper(
        "baseline",
        "Tan and Le 2019, EfficientNet",
        "1905.11946",
        {"efficientnet_b3": Published(12.23, 1.827, 82.01, "torchvision, v1")},
        image_px=300,
    ),
    _Paper(
        "baseline",
        "Simonyan and Zisserman 2014, VGG",
        "1409.1556",
        {
            "vgg11": Published(132.86, 7.609, 69.02, "torchvision"),
            "vgg16": Published(138.36, 15.47, 71.59, "torchvision"),
            "vgg16_bn": Published(138.37, 15.47, 73.36, "torchvision"),
        },
    ),
    _Paper(
        "low-rank attention",
        "Ali et al. 2021, XCiT",
        "2106.09681",
        {
            "xcit_nano_12_p16_224": Published(3, None, 69.9, "repository"),  # 0.5 is printed of its 0.551 billion
            "xcit_tiny_12_p16_224": Published(7, 1.2, 77.1, "repository"),
            "xcit_small_12_p16_224": Published(26, 4.8, 82.0, "repository"),
        },
    ),
    _Paper(
        "sparse attention",
        "Liu et al. 2021, Swin",
        "2103.14030",
        {
            "swin_tiny_patch4_window7_224": Published(28.3, 4.5, 81.2, "repository"),
            "swin_small_patch4_window7_224": Published(49.6, 8.7, 83.2, "repository"),
            "swin_base_patch4_window7_224": Published(87.8, 15.4, 83.5, "repository"),
        },
    ),
    _Paper(
        "sparse attention",
        "Liu et al. 2021, Swin V2",
        "2111.09883",
        {
            "swinv2_tiny_window8_256": Published(28, 5.9, 82.07, "repository; top-1: torchvision"),
            "swinv2_small_window8_256": Published(50, 11.5, 83.71, "repository; top-1: torchvision"),
            "swinv2_base_window8_256": Published(88, 20.3, 84.11, "repository; top-1: torchvision"),
        },
        image_px=256,
    ),
    _Paper(
        "sparse attention",
        "Vaswani et al. 2021, Scaling Local Self-Attention: HaloNet",
        "2103.12731",
        {
            "halonet_h1": Published(8.1, None, 79.9, "paper, of H1; timm's is built after it"),
            "halonet26t": Published(),  # a ResNet-26 of timm's own with the paper's attention
        },
        image_px=256,
    ),
    _Paper(
        "sparse attention",
        "Tu et al. 2022, MaxViT",
        "2204.01697",
        {
            "maxvit_tiny_tf_224": Published(31, 5.6, 83.62, "repository"),
            "maxvit_small_tf_224": Published(69, 11.7, 84.45, "repository"),
            # 24.2 billion are printed; by our count 23.9, as norms and pooling are no multiply-accumulates
            "maxvit_base_tf_224": Published(119, None, 84.95, "repository"),
        },
    ),
    _Paper(
        "kernel attention",
        "Shaker et al. 2023, SwiftFormer",
        "2303.15446",
        {
            "swiftformer_xs": Published(3.5, 0.6, 75.7, "repository; macs: paper"),
            "swiftformer_s": Published(6.1, 1.0, 78.5, "repository"),
            "swiftformer_l1": Published(12.1, 1.6, 80.9, "repository"),
        },
    ),
    _Paper(
        "kernel attention",
        "Cai et al. 2022, EfficientViT",
        "2205.14756",
        {
            "efficientvit_b1": Published(9.1, 0.52, 79.4, "repository"),
            "efficientvit_b2": Published(24, 1.6, 82.1, "repository"),
            "efficientvit_l1": Published(53, 5.3, 84.5, "repository"),
        },
    ),
    _Paper(
        "hybrid attention",
        "Xu et al. 2021, CoaT",
        "2104.06399",
        {
            "coat_lite_tiny": Published(5.7, 1.6, 77.5, "repository"),
            "coat_tiny": Published(5.5, None, 78.4, "repository"),  # 4.4 billion are printed; by our count 4.32
            "coat_mini": Published(10, 6.8, 81.0, "repository"),
        },
    ),
    _Paper(
        "hybrid attention",
        "Li et al. 2022, Rethinking Vision Transformers for MobileNet Size and Speed: EfficientFormerV2",
        "2212.08059",
        # timm's have a second head for distillation: 3.60 and 6.19 million parameters in place of 3.5 and 6.1
        {
            "efficientformerv2_s0": Published(None, 0.40, 75.7, "paper, distilled"),
            "efficientformerv2_s1": Published(None, 0.65, 79.0, "paper, distilled"),
            "efficientformerv2_s2": Published(12.6, 1.25, 81.6, "paper, distilled"),
        },
    ),
    _Paper(
        "hybrid attention",
        "Li et al. 2022, Next-ViT",
        "2207.05501",
        {
            "nextvit_small": Published(31.7, 5.8, 82.5, "repository"),
            "nextvit_base": Published(44.8, 8.3, 83.2, "repository"),
        },
    ),
    _Paper(
        "hybrid attention",
        "Vasu et al. 2023, FastViT",
        "2303.14189",
        # The printed 3.6, 8.8 and 10.9 million parameters are those of models whose branches have been folded.
        {
            "fastvit_t8": Published(None, 0.7, 76.2, "repository"),
            "fastvit_s12": Published(None, 1.8, 79.9, "repository"),
            "fastvit_sa12": Published(None, 1.9, 80.9, "repository"),
        },
        image_px=256,
    ),
    _Paper(
        "hybrid attention",
        "Graham et al. 2021, LeViT",
        "2104.01136",
        {
            "levit_128s": Published(7.8, 0.305, 76.6, "paper, distilled"),
            "levit_192": Published(10.9, 0.66, 80.0, "paper, distilled"),
            "levit_256": Published(18.9, 1.13, 81.6, "paper, distilled"),
        },
    ),
    _Paper(
        "non-attention shuffling",
        "Tolstikhin et al. 2021, MLP-Mixer",
        "2105.01601",
        {
            "mixer_s16_224": Published(18.5, 3.8, None, "paper"),
            "mixer_b16_224": Published(59.9, 12.6, 76.4, "paper"),
        },
    ),
    _Paper(
        "non-attention shuffling",
        "Yang et al. 2022, FocalNet",
        "2203.11926",
        {
            "focalnet_tiny_srf": Published(28.4, 4.4, 82.1, "repository"),
            "focalnet_small_srf": Published(49.9, 8.6, 83.4, "repository"),
            "focalnet_base_srf": Published(88.1, 15.3, 83.7, "repository"),
        },
    ),
    _Paper(
        "non-attention shuffling",
        "Yu et al. 2021, PoolFormer",
        "2111.11418",
        {
            "poolformer_s12": Published(11.9, 1.8, 77.2, "repository"),
            "poolformer_s24": Published(21.4, 3.4, 80.3, "repository"),
            "poolformer_s36": Published(30.8, 5.0, 81.4, "repository"),
        },
    ),
    _Paper(
        "non-attention shuffling",
        "Yu et al. 2022, MetaFormer Baselines for Vision: PoolFormerV2",
        "2210.13452",
        {
            "poolformerv2_s12": Published(11.9, 1.8, 78.0, "repository"),
            "poolformerv2_s24": Published(21.3, 3.4, 80.7, "repository"),
        },
    ),
    _Paper(
        "token merging",
        "Heo et al. 2021, PiT",
        "2103.16302",
        {
            "pit_ti_224": Published(4.9, 0.7, 73.0, "repository"),
            "pit_xs_224": Published(10.6, 1.4, 78.1, "repository"),
            "pit_s_224": Published(23.5, 2.9, 80.9, "repository"),
        },
    ),
    _Paper(
        "summary tokens",
        "Touvron et al. 2021, CaiT",
        "2103.17239",
        {
            "cait_xxs24_224": Published(12.0, 2.5, 77.6, "paper"),
            "cait_s24_224": Published(46.9, 9.4, 82.7, "paper"),
        },
    ),
)

ROWS: dict[str, Row] = {
    name: Row(paper.family, paper.paper, paper.arxiv, published, paper.image_px)
    for paper in _PAPERS
    for name, published in paper.models.items()
}
