"""What Nauen, Palacio and Dengel 2023, "Which Transformer to Favor" (version 1, August 2023), prints, as printed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of table 1: the name as printed, the authors' name of the model in their runs, ours (empty where the zoo
    has none), the gain over the original paper, and the accuracy under the common recipe, in percent."""

    name: str
    run: str
    model: str
    top1: str
    gain: str


TABLE_1 = (
    Row("ViT-S (DeiT)", "ViT-S/16", "vit_small_patch16_224", "82.54", "2.74"),
    Row("ViT-S (DeiT III)", "ViT-S/16", "vit_small_patch16_224", "82.54", "-0.06"),
    Row("XCiT-S", "xcit_small_12_p16", "xcit_small_12_p16_224", "83.65", "1.65"),
    Row("Swin-S", "swin_small_patch4_window7", "swin_small_patch4_window7_224", "84.87", "1.87"),
    Row("SwinV2-Ti", "swinv2_tiny_patch4_window7", "", "83.09", "1.39"),
    Row("Wave-ViT-S", "wavevit_s", "wave_vit_small", "83.61", "0.91"),
    Row("Poly-SA-ViT-S", "polysa_vit_small_patch16", "poly_sa_small_patch16_224", "78.34", "6.86"),
    Row("EfficientFormer-V2-S0", "efficientformerv2_s0", "efficientformerv2_s0", "71.53", "-4.17"),
    Row("CvT-13", "cvt_13", "cvt_13", "82.35", "-0.95"),
    Row("CoaT-Ti", "coat_tiny", "coat_tiny", "78.42", "0.05"),
    Row("GFNet-S", "gfnet_small_patch16", "gfnet_small", "81.33", "1.33"),
    Row("FocalNet-S", "focalnet_small_srf", "focalnet_small_srf", "84.91", "1.51"),
    Row("DynamicViT-S", "dynamic_vit_small_patch16", "dynamic_vit_small_patch16_224", "81.09", "-1.91"),
    Row("EViT (delete)", "evit_small_patch16", "evit_delete_small_patch16_224", "82.29", "2.89"),
    Row("EViT (fuse)", "evit_small_patch16_fuse", "evit_fuse_small_patch16_224", "81.96", "2.46"),
    Row("ToMe-ViT-S", "tome_vit_small_r8_patch16", "", "82.11", "2.69"),
    Row("CaiT-S24", "cait_s24", "cait_s24_224", "84.91", "2.21"),
    Row("TokenLearner-ViT-8", "token_learner_vit_8_75_small_patch16", "", "80.66", "2.79"),
    Row("STViT-Swin-Ti", "stvit_swin_tiny_p4_w7", "stvit_swin_tiny", "82.22", "1.42"),
)
MEAN_GAIN = "1.35"  # section "ImageNet-1k Accuracy"

# table 2, Pearson correlations: of each cost with the later ones, in the order of COSTS behind the first
COSTS = ("FLOPs", "params", "finetune", "inference", "infer_memory", "train_memory")
COST_NAMES = {
    "FLOPs": "FLOPs",
    "params": "parameters",
    "finetune": "fine-tuning time",
    "inference": "inference time",
    "infer_memory": "inference memory",
}
TABLE_2 = {
    "FLOPs": ("0.30", "0.72", "0.48", "0.42", "0.85"),
    "params": ("0.05", "0.02", "0.40", "0.18"),
    "finetune": ("0.81", "0.17", "0.89"),
    "inference": ("0.13", "0.71"),
    "infer_memory": ("0.48",),
}

# section "Correlation of Metrics": RAM [GB] = slope GFLOPs + intercept
FIT = {"slope": "25.43", "intercept": "25.50"}


@dataclass(frozen=True)
class Place:
    """What the text says of the Pareto fronts of accuracy and a cost: whether any run of some models is on them.

    runs      the authors' names; empty for all
    image_px  of the runs; None for all of them, 384 for those fine-tuned at a higher resolution
    on        by cost, True where the text puts them on the front, False where it says that they are not on it
    where     the section that says so
    """

    name: str
    runs: tuple[str, ...]
    on: dict[str, bool]
    where: str
    image_px: int | None = None


_LEARNERS = ("token_learner_vit_8_50_small_patch16", "token_learner_vit_8_75_small_patch16")
_EVIT = ("evit_small_patch16", "evit_small_patch16_fuse")
_TOME = ("tome_vit_small_r8_patch16",)
_SEQUENCE = (*_LEARNERS, *_EVIT, *_TOME, "dynamic_vit_small_patch16", "stvit_swin_tiny_p4_w7", "cait_s24")
_VIT_ON = {"speed": True, "infer_memory": False, "train_memory": True}

PLACES = (
    Place("ViT-Ti/16 at 224 px", ("ViT-Ti/16",), _VIT_ON, "Speed, Memory", 224),
    Place("ViT-S/16 at 224 px", ("ViT-S/16",), _VIT_ON, "Speed, Memory", 224),
    Place("ViT-B/16 at 224 px", ("ViT-B/16",), _VIT_ON, "Speed, Memory", 224),
    Place("ViT-S/16", ("ViT-S/16",), {"params": True}, "Number of Parameters"),
    Place("EfficientFormerV2-S0", ("efficientformerv2_s0",), {"params": True}, "Number of Parameters"),
    Place("CoaT-Ti", ("coat_tiny",), {"params": True, "infer_memory": True, "train_memory": False}, "Memory"),
    Place("CvT-13", ("cvt_13",), {"infer_memory": True, "train_memory": False}, "Memory"),
    Place("Wave-ViT-S", ("wavevit_s",), {"infer_memory": True}, "Memory"),
    Place("CaiT-S24", ("cait_s24",), {"infer_memory": True}, "Memory"),
    Place("EViT at 384 px", _EVIT, {"infer_memory": True}, "Memory", 384),
    Place("ToMe at 384 px", _TOME, {"infer_memory": True}, "Memory", 384),
    Place("EViT", _EVIT, {"train_memory": True}, "Memory"),
    Place("ToMe", _TOME, {"train_memory": True}, "Memory"),
    Place("TokenLearner", _LEARNERS, {"params": True, "finetune": True, "train_memory": True}, "Speed, Memory"),
    Place("Synthesizer-FR", ("synthesizer_fr_vit_small_patch16",), {"speed": True, "train_memory": True}, "Speed"),
    Place("XCiT-S", ("xcit_small_12_p16",), {"train_memory": True}, "Memory"),
    Place("a model that reduces the sequence", _SEQUENCE, {"speed": True}, "Speed"),
    Place("a model at 384 px", (), {"speed": False}, "Speed", 384),
)

# the authors' names of models that the zoo has in the same configuration at 224 px, but for the LayerScale of their
# plain ViTs and a place for the class token that these have not
SAME_MODEL = {
    **{row.run: row.model for row in TABLE_1 if row.model},
    "ViT-Ti/16": "vit_tiny_patch16_224",
    "ViT-B/16": "vit_base_patch16_224",
    "deit_small_patch16_LS": "deit3_small_patch16_224",
    "fnet_vit_small_patch16": "fnet_small_patch16_224",
    "focalnet_tiny_srf": "focalnet_tiny_srf",
    "mixer_s16": "mixer_s16_224",
    "nystrom64_vit_small_patch16": "nystromformer_small_patch16_224",
    "resnet50": "resnet50",
    "routing_vit_small_patch16": "routing_small_patch16_224",
    "swin_tiny_patch4_window7": "swin_tiny_patch4_window7_224",
    "switch_8_vit_small_patch16": "switch_small_patch16_224",
    "synthesizer_fr_vit_small_patch16": "synthesizer_factorized_random_small_patch16_224",
}
