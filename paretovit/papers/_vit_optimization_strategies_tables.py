"""Tables 1.1, 1.2, 3.2, 4.1, 4.2 and 4.3 of Vadakkeveedu 2023, "Exploration of Optimization Strategies for Vision
Transformers" (Master's thesis, IIT Madras), and the shares that its section 2.2 names, as printed.

Numbers are text where the digits that are printed matter.
"""

from __future__ import annotations

# Table 1.1: name, our model, parameters (M), floating-point operations of a forward pass at 384 px (G)
CONFIGS = (
    ("ViT-Tiny", "vit_tiny_patch16_224", "5.790", "9.36"),
    ("ViT-Small", "vit_small_patch16_224", "22.197", "30.98"),
    ("ViT-Base", "vit_base_patch16_224", "86.859", "110.97"),
    ("ViT-Large", "vit_large_patch16_224", "304.716", "382.13"),
)

# Table 1.2: name, pre-training, model, its side in pixels, parameters (M), top-1 on ImageNet-1k (%)
VARIANTS = (
    ("ViT-Ti/16", "ImageNet-21k", "vit_tiny_patch16_224", 384, "5.790", "74.61"),
    ("ViT-S/16", "ImageNet-21k", "vit_small_patch16_224", 384, "22.197", "82.44"),
    ("ViT-B/16", "ImageNet-21k", "vit_base_patch16_224", 384, "86.859", "84.92"),
    ("ViT-L/16", "ImageNet-21k", "vit_large_patch16_224", 384, "304.716", "85.08"),
    ("ViT-B/16", "ImageNet-1k", "vit_base_patch16_224", 384, "86.859", "77.91"),
    ("ViT-B/16", "JFT-300M", "vit_base_patch16_224", 384, "86.859", "84.15"),
    ("ViT-L/16", "JFT-300M", "vit_large_patch16_224", 384, "304.716", "87.12"),
    ("SWiN-Ti", "ImageNet-21k", "swin_tiny_patch4_window7_224", 224, "28.288", "80.90"),
    ("SWiN-S", "ImageNet-21k", "swin_small_patch4_window7_224", 224, "49.606", "83.27"),
    ("SWiN-B", "ImageNet-21k", "swin_base_patch4_window7_224", 224, "87.768", "85.16"),
    ("MaxViT-Ti", "ImageNet-1k", "maxvit_tiny_tf_224", 224, "30.964", "84.84"),
    ("MaxViT-S", "ImageNet-1k", "maxvit_small_tf_224", 224, "68.999", "86.09"),
    ("MaxViT-B", "ImageNet-1k", "maxvit_base_tf_224", 224, "119.615", "86.39"),
    ("MaxViT-B", "ImageNet-21k", "maxvit_base_tf_224", 224, "119.615", "87.81"),
)

# Section 2.2, of the encoder of ViT-B/16 at 384 px: what, percent of the operations of matrix products
SHARES = (
    ("MLP", "60"),  # "close to 60%"
    ("QKV and output projections", "29"),  # "the remaining 29%"
    ("Attention", "11"),  # "around 11%"
)

# Table 3.2, of token mixers 192 wide: name, layers and their width (none of self-attention), parameters (thousands),
# relative to self-attention
MIXERS = (
    ("Self Attention", 0, 0, "148.224", "1"),
    ("Dense-1L-192", 1, 192, "37.056", "0.25"),
    ("Dense-5L-192", 5, 192, "185.28", "1.25"),
    ("Dense-5L-768", 5, 768, "2067.648", "13.95"),
)

# Table 4.1: GPU, peak TFLOP/s in fp16, and with 2:4 sparse weights
GPUS = (("A10", "125", "250"), ("A30", "165", "330"), ("A40", "150", "300"), ("A100", "312", "624"))

# Table 4.2: regimes of the dense and of the sparse product; the bounds of its rate relative to the dense one, in
# operations it executes, and of its speed-up
SPEEDUPS = (
    ("memory", "memory", "0.5", "0.5", "1", "1"),
    ("compute", "memory", "0.5", "1", "1", "2"),
    ("compute", "compute", "1", "1", "2", "2"),
)

# Table 4.3, on an A10: model, and for each of its layers, as the thesis and as we call it, both regimes
LAYERS = {
    "MLP-Dense0": "stages.0.0.mlp.fc1",
    "MLP-Dense1": "stages.0.0.mlp.fc2",
    "Attn-InProject": "stages.0.0.mixer.qkv",
    "Attn-OutProject": "stages.0.0.mixer.proj",
    "Outro-MLP": "head",
}
REGIMES = (
    ("Tiny-16", "vit_tiny_patch16_224", "MLP-Dense0", "compute", "compute"),
    ("Tiny-16", "vit_tiny_patch16_224", "MLP-Dense1", "memory", "memory"),
    ("Tiny-16", "vit_tiny_patch16_224", "Attn-InProject", "compute", "compute"),
    ("Tiny-16", "vit_tiny_patch16_224", "Attn-OutProject", "memory", "memory"),
    ("Tiny-16", "vit_tiny_patch16_224", "Outro-MLP", "memory", "memory"),
    ("Small-16", "vit_small_patch16_224", "MLP-Dense0", "compute", "compute"),
    ("Small-16", "vit_small_patch16_224", "MLP-Dense1", "compute", "memory"),
    ("Small-16", "vit_small_patch16_224", "Attn-InProject", "compute", "compute"),
    ("Small-16", "vit_small_patch16_224", "Attn-OutProject", "compute", "memory"),
    ("Small-16", "vit_small_patch16_224", "Outro-MLP", "memory", "memory"),
    ("Base-16", "vit_base_patch16_224", "MLP-Dense0", "compute", "compute"),
    ("Base-16", "vit_base_patch16_224", "MLP-Dense1", "compute", "compute"),
    ("Base-16", "vit_base_patch16_224", "Attn-InProject", "compute", "compute"),
    ("Base-16", "vit_base_patch16_224", "Attn-OutProject", "compute", "compute"),
    ("Base-16", "vit_base_patch16_224", "Outro-MLP", "memory", "memory"),
)
