"""Tables 1 to 6 of Jeevan and Sethi 2022, "Resource-efficient Hybrid X-formers for Vision" (WACV), as printed, and
beside them what is not in the paper: a recount from its formulas and its public code, by which misprints show.

The paper's "Size (MB)" is recounted too; section and table numbers are the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of a table. Table 6 prints neither parameters nor sizes.

    params, size_mb, top1, top5, gpu_gb   as printed: accuracies in percent, memory of a GPU at batch 64
    recounted_params                      weights and biases of layers, as in the paper
    recounted_all_params                  all trained tensors
    recounted_macs                        multiply-accumulates of one image; transforms of Fourier not among them
    recounted_size_mb                     by the formula in `_hybrid_xformers_size`
    """

    table: int
    name: str
    params: int | None
    size_mb: float | None
    top1: float
    top5: float
    gpu_gb: float
    recounted_params: int
    recounted_all_params: int
    recounted_macs: int
    recounted_size_mb: float

    @property
    def data(self) -> str:
        return "Tiny ImageNet" if self.table in (2, 4) else "CIFAR-10"

    @property
    def image_px(self) -> int:
        return 64 if self.data == "Tiny ImageNet" else 32

    @property
    def patch_px(self) -> int:
        """The stride of the stem, such that there are 32 x 32 patches."""
        return self.image_px // 32

    @property
    def num_classes(self) -> int:
        return 200 if self.data == "Tiny ImageNet" else 10

    @property
    def rope(self) -> bool:
        """Whether queries and keys are turned by their place, in place of a learned table that is added."""
        return self.table == 6

    @property
    def model(self) -> str:
        """The catalog's name: Table 6's "Hybrid ViN" is `vix_hybrid_vin_rope_patch1_32`."""
        words = self.name.removeprefix("MLP ").replace("Hybrid MLP ", "Hybrid ").lower().replace(" ", "_")
        return f"vix_{words}{'_rope' if self.rope else ''}_patch{self.patch_px}_{self.image_px}"


ROWS = (
    Row(1, "ViT", 530_442, 209.39, 56.81, 94.82, 14.1, 530_442, 661_770, 1_613_629_696, 209.39),
    Row(1, "ViP", 531_978, 85.15, 58.23, 94.89, 5.0, 531_978, 663_306, 770_505_696, 85.15),
    Row(1, "ViL", 415_754, 77.7, 57.45, 95.11, 2.2, 415_754, 809_482, 495_805_696, 77.7),
    Row(1, "ViN", 530_970, 86.62, 65.06, 96.42, 4.8, 530_970, 662_298, 889_357_568, 86.62),
    Row(1, "FNet", 267_786, 60.12, 50.87, 93.22, 1.5, 267_786, 399_114, 269_092_096, 60.12),
    Row(1, "MLP Mixer", 8_533_002, 90.59, 60.33, 95.79, 1.4, 8_533_002, 8_533_002, 1_208_354_048, 90.59),
    Row(1, "Hybrid ViT", 623_178, 211.47, 73.94, 98.08, 14.1, 623_178, 754_506, 1_708_493_056, 211.47),
    Row(1, "Hybrid ViP", 624_714, 87.23, 74.98, 98.41, 5.0, 624_714, 756_042, 865_369_056, 87.23),
    Row(1, "Hybrid ViL", 508_490, 79.78, 63.17, 95.75, 2.2, 508_490, 902_218, 590_669_056, 79.78),
    Row(1, "Hybrid ViN", 623_706, 88.7, 75.26, 98.39, 4.8, 623_706, 755_034, 984_220_928, 88.7),
    Row(1, "Hybrid FNet", 360_522, 62.2, 64.34, 96.95, 1.6, 360_522, 491_850, 363_955_456, 62.2),
    Row(1, "Hybrid MLP Mixer", 8_625_738, 92.67, 61.58, 96.26, 1.4, 8_625_738, 8_625_738, 1_303_217_408, 92.67),
    Row(2, "ViT", 556_104, 209.59, 26.43, 51.82, 14.1, 556_104, 687_432, 1_614_833_664, 209.59),
    Row(2, "ViP", 557_640, 85.35, 28.17, 53.93, 4.4, 557_640, 688_968, 771_709_664, 85.35),
    Row(2, "ViL", 441_416, 77.9, 24.38, 49.31, 2.0, 441_416, 835_144, 497_009_664, 77.9),
    Row(2, "ViN", 556_632, 86.82, 30.17, 55.97, 3.6, 556_632, 687_960, 890_561_536, 86.82),
    Row(2, "FNet", 293_448, 60.32, 22.75, 49.85, 1.5, 293_448, 424_776, 270_296_064, 60.32),
    Row(2, "MLP Mixer", 8_558_664, 90.79, 18.47, 42.16, 1.2, 8_558_664, 8_558_664, 1_209_558_016, 90.79),
    Row(2, "Hybrid ViT", 647_688, 211.6, 34.48, 60.79, 14.1, 647_688, 779_016, 1_708_517_376, 211.6),
    Row(2, "Hybrid ViP", 649_224, 87.36, 34.13, 60.42, 4.4, 649_224, 780_552, 865_393_376, 87.36),
    Row(2, "Hybrid ViL", 533_000, 79.91, 26.9, 52.88, 2.2, 533_000, 926_728, 590_693_376, 79.91),
    Row(2, "Hybrid ViN", 648_216, 88.83, 34.05, 60.8, 3.6, 648_216, 779_544, 984_245_248, 88.83),
    Row(2, "Hybrid FNet", 385_032, 62.33, 26.39, 51.86, 1.6, 385_032, 516_360, 363_979_776, 62.33),
    Row(2, "Hybrid MLP Mixer", 8_650_248, 92.8, 22.76, 47.33, 1.2, 8_650_248, 8_650_248, 1_303_241_728, 92.8),
    Row(3, "LeViT", 624_970, 213.15, 77.06, 98.46, 13.9, 624_970, 624_970, 1_705_870_592, 213.15),
    Row(3, "LeViP", 662_410, 77.14, 79.5, 98.91, 4.9, 622_410, 622_410, 864_617_728, 77.14),
    Row(3, "LeViL", 506_186, 69.69, 63.17, 96.13, 2.3, 506_186, 768_330, 590_185_728, 69.69),
    Row(3, "LeViN", 621_402, 77.13, 77.81, 98.61, 4.3, 621_402, 621_402, 953_517_312, 77.13),
    Row(3, "CCT", 905_547, 225.47, 82.23, 99.04, 14.7, 905_547, 1_036_619, 1_994_327_296, 225.47),
    Row(3, "CCP", 907_083, 101.48, 82.48, 99.06, 4.3, 907_083, 1_038_155, 1_153_074_432, 101.48),
    Row(3, "CCL", 790_859, 94.04, 80.05, 98.92, 3.5, 790_859, 1_184_075, 878_642_432, 94.04),
    Row(3, "CCN", 906_075, 101.48, 83.36, 99.07, 4.2, 906_075, 1_037_147, 1_241_974_016, 101.48),
    Row(3, "CvT", 1_099_786, 173.21, 79.93, 99.02, 12.8, 1_099_786, 1_102_602, 3_267_757_312, 173.21),
    Row(3, "CvP", 827_914, 100.17, 83.19, 99.2, 4.8, 827_914, 830_730, 1_074_889_984, 100.17),
    Row(3, "CvL", 711_690, 92.73, 72.58, 97.81, 2.6, 711_690, 976_650, 800_457_984, 92.73),
    Row(3, "CvN", 826_906, 100.17, 83.26, 99.14, 4.3, 826_906, 829_722, 1_163_789_568, 100.17),
    Row(4, "LeViT", 649_480, 213.28, 38.29, 65.23, 14.0, 649_480, 649_480, 1_705_894_912, 213.28),
    Row(4, "LeViP", 646_920, 77.27, 41.49, 68.39, 4.9, 646_920, 646_920, 864_642_048, 77.27),
    Row(4, "LeViL", 530_696, 69.89, 26.52, 51.85, 3.3, 530_696, 792_840, 590_210_048, 69.82),
    Row(4, "LeViN", 645_912, 77.26, 38.28, 64.94, 4.3, 645_912, 645_912, 953_541_632, 77.26),
    Row(4, "CCT", 930_057, 225.61, 39.05, 65.74, 14.2, 930_057, 1_061_129, 1_994_351_616, 225.61),
    Row(4, "CCP", 931_593, 101.61, 40.11, 66.93, 4.1, 931_593, 1_062_665, 1_153_098_752, 101.61),
    Row(4, "CCL", 815_369, 94.17, 37.24, 62.97, 2.3, 815_369, 1_208_585, 878_666_752, 94.17),
    Row(4, "CCN", 930_585, 101.61, 40.8, 67.81, 3.9, 930_585, 1_061_657, 1_241_998_336, 101.61),
    Row(4, "CvT", 1_124_296, 173.34, 40.69, 68.19, 12.3, 1_124_296, 1_127_112, 3_267_781_632, 173.34),
    Row(4, "CvP", 852_424, 100.3, 45.26, 71.21, 4.4, 852_424, 855_240, 1_074_914_304, 100.3),
    Row(4, "CvL", 736_200, 92.86, 33.95, 61.29, 2.3, 736_200, 1_001_160, 800_482_304, 92.86),
    Row(4, "CvN", 851_416, 100.3, 45.47, 71.35, 4.0, 851_416, 854_232, 1_163_813_888, 100.3),
    Row(5, "PiT", 897_034, 129.74, 63.49, 96.95, 14.7, 897_034, 1_028_362, 992_972_288, 129.74),
    Row(5, "PiN", 897_562, 65.81, 69.41, 97.68, 5.7, 897_562, 1_028_890, 699_075_072, 65.81),
    Row(5, "PiP", 898_570, 64.09, 65.83, 97.28, 5.2, 898_570, 1_029_898, 566_767_840, 64.09),
    Row(5, "Hybrid PiT", 989_770, 131.8, 73.34, 98.11, 14.8, 989_770, 1_121_098, 1_087_835_648, 131.8),
    Row(5, "Hybrid PiN", 990_298, 67.87, 74.0, 98.03, 5.7, 990_298, 1_121_626, 793_938_432, 67.87),
    Row(5, "Hybrid PiP", 991_306, 66.15, 71.37, 97.88, 5.2, 991_306, 1_122_634, 661_631_200, 66.15),
    Row(6, "ViT", None, None, 69.32, 97.68, 14.4, 530_442, 530_570, 1_613_629_696, 209.64),
    Row(6, "ViP", None, None, 60.74, 95.62, 5.2, 531_978, 532_106, 770_505_696, 85.4),
    Row(6, "ViL", None, None, 55.88, 94.61, 2.7, 464_906, 727_434, 604_964_096, 81.14),
    Row(6, "ViN", None, None, 68.36, 97.28, 5.2, 530_970, 531_098, 889_357_568, 86.88),
    Row(6, "Hybrid ViT", None, None, 76.9, 98.6, 14.5, 623_178, 623_306, 1_708_493_056, 211.72),
    Row(6, "Hybrid ViP", None, None, 76.86, 98.37, 5.2, 624_714, 624_842, 865_369_056, 87.48),
    Row(6, "Hybrid ViL", None, None, 64.4, 96.63, 2.7, 557_642, 820_170, 699_827_456, 83.22),
    Row(6, "Hybrid ViN", None, None, 74.38, 97.64, 5.2, 623_706, 623_834, 984_220_928, 88.97),
)

# What keeps a printed number from being ours, by table, row and cell.
MISPRINTS = {
    (3, "LeViP", "params"): "printed 662,410, a one-digit misprint: the printed Size of 77.14 needs 622,410, and so "
    "does Table 4, whose 646,920 less 24,510 of the larger head is 622,410",
    (4, "LeViL", "size_mb"): "printed 69.89, a misprint: the same row's parameters give 69.82, and every other model's "
    "step from Table 3 to Table 4 is 0.13 or 0.14, not 0.20",
}

# What a reader should know of a cell all the same.
REMARKS = {
    **{
        (6, name, "params"): "four heads of keys, where Table 1's row has one, against the paper's remark that rotary "
        "positions keep the number of parameters"
        for name in ("ViL", "Hybrid ViL")
    },
    **{
        (
            table,
            name,
            "gpu_gb",
        ): "LeViL is printed as 2.3 in Table 3 and 3.3 in Table 4, CCL as 3.5 and 2.3, for nearly "
        "equal graphs: two of them look exchanged"
        for table in (3, 4)
        for name in ("LeViL", "CCL")
    },
}
