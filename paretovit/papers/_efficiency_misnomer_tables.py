"""Tables 1 and 2 of Dehghani et al. 2021, "The Efficiency Misnomer", as printed. What it calls GFLOPs are
multiply-accumulates. Accuracies are on ImageNet; models were trained on JFT-300M."""

from __future__ import annotations

# model as printed, ours, sequence length, millions of parameters, billions of macs, milliseconds per image on TPU v3
PATCHES = (
    ("ViT-B/8", "vit_base_patch8_224", "785", "86.5", "78.54", "7.17"),
    ("ViT-B/16", "vit_base_patch16_224", "197", "86.6", "17.63", "1.30"),
    ("ViT-B/32", "vit_base_patch32_224", "50", "88.2", "4.42", "0.39"),
    ("ViT-B/64", "vit_base_patch64_192", "17", "95.3", "0.93", "0.11"),
)

# model, millions of parameters, billions of macs, milliseconds per image on TPU v3, accuracy in percent
SCALED = (
    ("D6", "18.89", "0.61", "0.09", "37.5"),
    ("D8", "22.44", "0.79", "0.11", "42.4"),
    ("D16", "36.63", "1.52", "0.22", "51.5"),
    ("D24", "50.83", "2.25", "0.32", "55.7"),
    ("D32", "65.03", "2.98", "0.43", "58.8"),
    ("D48", "93.42", "4.43", "0.64", "61.8"),
    ("W768", "9.47", "0.31", "0.11", "34.4"),
    ("W1024", "24.81", "0.92", "0.16", "45.2"),
    ("W1536", "42.51", "1.70", "0.22", "50.3"),
    ("W3072", "101.52", "4.44", "0.35", "58.3"),
    ("W4096", "173.10", "7.80", "0.68", "63.3"),
)
