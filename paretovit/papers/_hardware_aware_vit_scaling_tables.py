"""What "An Investigation on Hardware-Aware Vision Transformer Scaling" (anonymous, 2021) prints, as printed."""

from __future__ import annotations

from dataclasses import dataclass

_DEIT = {name: f"deit_{name.lower()}_distilled_patch16_224" for name in ("Tiny", "Small", "Base")}
_PIT = {"Tiny": "pit_ti_distilled_224", "XS": "pit_xs_distilled_224", "Small": "pit_s_distilled_224"}


@dataclass(frozen=True)
class Row:
    """One line of a table: its name as printed, our name of the model, and the numbers as they stand there.

    gmacs                        billions, which the paper calls FLOPs
    top1                         percent on ImageNet
    v100_fps, tx2_ms, pixel3_ms  images per second on a V100, milliseconds on a TX2 and on a Pixel 3
    """

    table: str
    name: str
    model: str
    gmacs: str | None = None
    top1: str | None = None
    v100_fps: str | None = None
    tx2_ms: str | None = None
    pixel3_ms: str | None = None


ROWS = (
    Row("1", "start model", "deit_scaled_start", "0.15", None, "20086", "4.42", "30.05"),
    Row("2", "DeiT-Tiny", _DEIT["Tiny"], "1.26", "74.5"),
    Row("2", "DeiT-Scaled-Tiny", "deit_scaled_tiny", "1.22", "76.4"),
    Row("2", "DeiT-Small", _DEIT["Small"], "4.62", "81.2"),
    Row("2", "DeiT-Scaled-Small", "deit_scaled_small", "4.79", "81.6"),
    Row("2", "DeiT-Base", _DEIT["Base"], "17.66", "83.4"),
    Row("2", "DeiT-Scaled-Base", "deit_scaled_base", "16.82", "83.8"),
    Row("3", "DeiT-Tiny, 1000 epochs", _DEIT["Tiny"], "1.26", "76.6"),
    Row("3", "DeiT-Scaled-Tiny, 1000 epochs", "deit_scaled_tiny", "1.22", "78.3"),
    Row("3", "DeiT-Small, 1000 epochs", _DEIT["Small"], "4.62", "82.6"),
    Row("3", "DeiT-Scaled-Small, 1000 epochs", "deit_scaled_small", "4.79", "82.9"),
    Row("5", "Pixel3 Scaling", "deit_scaled_pixel3_a", None, "74.8", None, "20.91", "181.07"),
    Row("5", "TX2 Scaling", "deit_scaled_tx2_a", None, "74.0", None, "14.44", "275.06"),
    Row("5", "TX2 Scaling, larger", "deit_scaled_tx2_b", None, "78.2", None, "23.70", "456.41"),
    Row("5", "Pixel3 Scaling, larger", "deit_scaled_pixel3_b", None, "77.5", None, "27.43", "297.58"),
    Row("6", "PiT-Tiny", _PIT["Tiny"], "0.71", "74.6"),
    Row("6", "PiT-Scaled-Tiny", "pit_scaled_tiny", "0.70", "76.7"),
    Row("6", "PiT-XS", _PIT["XS"], "1.40", "79.1"),
    Row("6", "PiT-Scaled-XS", "pit_scaled_xs", "1.38", "79.5"),
    Row("6", "PiT-Small", _PIT["Small"], "2.9", "81.9"),
    Row("6", "PiT-Small (Reproduced)", _PIT["Small"], "2.9", "81.7"),
    Row("6", "PiT-Scaled-Small", "pit_scaled_small", "3.0", "81.8"),
    Row("8", "DeiT-Tiny", _DEIT["Tiny"], "1.26", "74.5"),
    Row("8", "DeiT-Scaled-Tiny", "deit_scaled_tiny", "1.22", "76.4"),
    Row("8", "PiT-Tiny", _PIT["Tiny"], "0.71", "74.6"),
    Row("8", "PiT-Scaled-Tiny", "pit_scaled_tiny", "0.70", "76.7"),
    Row("8", "PiT-XS", _PIT["XS"], "1.41", "79.1"),
    Row("8", "PiT-Scaled-XS", "pit_scaled_xs", "1.38", "79.5"),
    Row("8", "DeiT-Small", _DEIT["Small"], "4.62", "81.2"),
    Row("8", "DeiT-Scaled-Small", "deit_scaled_small", "4.79", "81.6"),
    Row("8", "PiT-Small", _PIT["Small"], "2.90", "81.7"),
    Row("8", "PiT-Scaled-Small", "pit_scaled_small", "3.04", "81.8"),
    Row("12", "V100 Scaling", "deit_scaled_v100", None, "78.10", "2488.81", "25.18"),
    Row("12", "TX2 Scaling", "deit_scaled_tx2_b", None, "78.17", "1984.10", "23.70"),
    Row("13", "DeiT-Tiny", _DEIT["Tiny"], "1.26", "74.5"),
    Row("13", "DeiT-Scaled-Tiny", "deit_scaled_tiny", "1.22", "76.4"),
    Row("13", "DeiT-Scaled-Tiny-RP", "deit_scaled_tiny_rp", "1.22", "76.9"),
    Row("13", "DeiT-Small", _DEIT["Small"], "4.62", "81.2"),
    Row("13", "DeiT-Scaled-Small", "deit_scaled_small", "4.79", "81.6"),
    Row("13", "DeiT-Scaled-Small-RP", "deit_scaled_small_rp", "4.79", "82.0"),
)

# table 7, COCO val2017 with Deformable DETR: backbone, average precision, images per second on a V100
DETECTION = (
    ("DeiT-Tiny", _DEIT["Tiny"], "35.0", "13.31"),
    ("DeiT-Scaled-Tiny", "deit_scaled_tiny", "35.7", "13.05"),
    ("DeiT-Small", _DEIT["Small"], "41.0", "10.81"),
    ("DeiT-Scaled-Small", "deit_scaled_small", "41.7", "9.81"),
)

# table 9, Kinetics-400 in clips of 8 x 224 x 224: attention over space and time, name of the image model, our name of
# the TimeSformer, top-1, billions of macs
VIDEO = (
    ("joint", "DeiT-Tiny", "timesformer_joint_tiny_patch16_224", "67.7", "19.9"),
    ("joint", "DeiT-Scaled-Tiny", "timesformer_joint_deit_scaled_tiny", "67.4", "13.3"),
    ("joint", "DeiT-Small", "timesformer_joint_small_patch16_224", "71.2", "56.5"),
    ("joint", "DeiT-Scaled-Small", "timesformer_joint_deit_scaled_small", "71.4", "61.9"),
    ("divided", "DeiT-Tiny", "timesformer_divided_tiny_patch16_224", "68.4", "13.6"),
    ("divided", "DeiT-Scaled-Tiny", "timesformer_divided_deit_scaled_tiny", "67.8", "12.7"),
    ("divided", "DeiT-Small", "timesformer_divided_small_patch16_224", "71.4", "50.8"),
    ("divided", "DeiT-Scaled-Small", "timesformer_divided_deit_scaled_small", "72.0", "54.2"),
)

# table 11: share of DeiT-Tiny's time, percent on V100, TX2 and Pixel 3; "< 0.01" is typed as 0.01
SHARES = {
    "MLP": ("62.50", "34.31", "69.40"),
    "LayerNorm": ("8.95", "6.38", "1.59"),
    "MSA-MatMul": ("17.65", "8.03", "21.36"),
    "MSA-Softmax": ("3.48", "5.75", "3.20"),
    "MSA-Reshape&Transpose": ("5.17", "6.32", "3.30"),
    "MSA-Gather": ("0.01", "36.38", "0.01"),
    "Others": ("2.20", "2.82", "1.26"),
}

# section 4.2.2 on figure 7: the cosine distance of two breakdowns, and whether it is smaller or larger than printed
DISTANCES = (
    ("FLOPs", "V100", "smaller", "0.02"),
    ("FLOPs", "Pixel3", "smaller", "0.02"),
    ("V100", "Pixel3", "smaller", "0.02"),
    ("TX2", "FLOPs", "larger", "0.28"),
    ("TX2", "V100", "larger", "0.28"),
    ("TX2", "Pixel3", "larger", "0.28"),
)

# figure 8: Kendall rank correlation over 2,700 ViTs
KENDALL = (
    ("FLOPs", "1/FPS on V100", "0.90"),
    ("FLOPs", "latency on TX2", "0.82"),
    ("FLOPs", "latency on Pixel3", "0.82"),
    ("1/FPS on V100", "latency on TX2", "0.86"),
    ("1/FPS on V100", "latency on Pixel3", "0.72"),
    ("latency on TX2", "latency on Pixel3", "0.59"),
)
