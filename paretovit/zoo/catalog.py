"""The named models: one row each, with paper and published numbers. No torch.

Models on the skeleton are named `{architecture}_{size}_patch{patch}_{image}`, and every such name resolves,
listed or not: `performer_tiny_patch4_32` is as good as `performer_tiny_patch16_224`. `hybrid_` in front gives such
a model a convolutional stem, `_rope` behind the architecture rotary positions, as in
`hybrid_performer_rope_tiny_patch16_224`. The image may have rows and columns: `vit_tiny_patch16_224x320`. What
`timesformer_joint_` or `timesformer_divided_` stands before is a ViT made a model of videos:
`timesformer_divided_tiny_patch8_32`.
"""

from __future__ import annotations

import fnmatch
import importlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from paretovit.errors import UserError, unknown
from paretovit.spec import ModelSpec, Part, Pixels, Stage, from_json, pixels, rows_and_columns, to_json
from paretovit.zoo import vix
from paretovit.zoo.folders import BETWEEN, MACROS, MIXERS, MLPS, SEQUENCES
from paretovit.zoo.taxonomy import FAMILIES, Published
from paretovit.zoo.timm_rows import ROWS
from paretovit.zoo.videos import CLASSES, on_videos


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
    """7 as in Swin where it divides the grid, else half its shorter side: four windows, so that shifting matters."""
    side = min(scale.rows, scale.columns)
    return 7 if scale.rows % 7 == scale.columns % 7 == 0 and side > 7 else max(1, -(-side // 2))


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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the catalog."""

    name: str
    spec: ModelSpec
    family: str
    paper: str
    arxiv: str
    published: Published

    def to_json(self) -> dict[str, object]:
        """The row as plain JSON values."""
        return {
            "model": self.name,
            "family": self.family,
            "paper": self.paper,
            "arxiv": self.arxiv,
            "published": asdict(self.published),
            "spec": to_json(self.spec),
        }


_SKELETON = re.compile(
    r"(?P<hybrid>hybrid_)?(?P<architecture>[a-z0-9_]+?)(?P<rope>_rope)?_(?P<size>[a-z]+)_patch(?P<patch>\d+)_(?P<image>\d+(?:x\d+)?)"
)
_SIZED = re.compile(r"(?P<rest>.+_patch\d+)_\d+(?:x\d+)?")
_OF_VIDEOS = re.compile(r"timesformer_(?P<attention>joint|divided)_(?P<image>.+)")
_VIT_PATCHES = (8, 16, 32, 64)


@cache
def entries() -> dict[str, Entry]:
    """The catalog, by name, in the order of the taxonomy."""
    rows = []
    for name, architecture in ARCHITECTURES.items():
        for size in architecture.sizes:
            for patch in _VIT_PATCHES if name == "vit" else (16,):
                # 64 does not divide 224; 256 has the 17 tokens of Dehghani et al. 2021, "The Efficiency Misnomer"
                full = f"{name}_{size}_patch{patch}_{256 if patch == 64 else 224}"
                spec = _on_skeleton(full)
                if spec is None:
                    raise AssertionError(full)
                published = architecture.published.get(size, Published()) if patch == 16 else Published()
                rows.append(
                    Entry(
                        name=full,
                        spec=spec,
                        family=family(spec),
                        paper=architecture.paper,
                        arxiv=architecture.arxiv,
                        published=published,
                    )
                )
    for name in vix.names():
        spec = vix.vix_spec(name)
        assert spec is not None
        rows.append(
            Entry(
                name=name,
                spec=spec,
                family=family(spec),
                paper=vix.PAPER,
                arxiv=vix.ARXIV,
                published=Published(),
            )
        )
    for file in MACROS.names():
        kind = MACROS[file]
        for spec, published in kind.rows():
            rows.append(
                Entry(
                    name=spec.name,
                    spec=spec,
                    family=family(spec),
                    paper=kind.paper,
                    arxiv=kind.arxiv,
                    published=published,
                )
            )
    for name, row in ROWS.items():
        spec = timm_spec(name, image_px=row.image_px)
        rows.append(
            Entry(name=name, spec=spec, family=row.family, paper=row.paper, arxiv=row.arxiv, published=row.published)
        )
    for size, (ratio, third, published) in _HALONETS.items():
        rows.append(_halonet(f"halonet_{size}", ratio, third, published))
    rows.sort(key=lambda row: FAMILIES.index(row.family))
    return {row.name: row for row in rows}


# width ratio and blocks of the third stage; H1 is timm's
_HALONETS = {
    "h0": (0.5, 7, Published(5.5, None, 77.9, "Vaswani et al. 2021, HaloNet-H0")),
    "h2": (1.25, 11, Published(9.4, None, 80.4, "Vaswani et al. 2021, HaloNet-H2")),
}


def _halonet(name: str, ratio: float, third: int, published: Published) -> Entry:
    row = ROWS["halonet_h1"]
    whole = Part.of("halonet", width_ratio=ratio, third=third)
    spec = ModelSpec(name=name, whole=whole, image_px=row.image_px)
    return Entry(name=name, spec=spec, family=row.family, paper=row.paper, arxiv=row.arxiv, published=published)


def catalog(family: str | None = None) -> list[Entry]:
    """Every named model, or those of one class of the taxonomy: its spec, paper, and published numbers.

    Raises `UserError` for a class that the taxonomy has not.
    """
    if family is None:
        return list(entries().values())
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    return [entry for entry in entries().values() if entry.family == family]


@cache
def _stated_families() -> dict[str, str]:
    """The class of every model whose architecture states it, by name."""
    kinds = [MACROS[file] for file in MACROS.names()]
    return {spec.name: kind.family for kind in kinds if kind.family for spec, _ in kind.rows()}


def family(spec: ModelSpec) -> str:
    """A model's class in the taxonomy of `which-transformer-to-favor`, read off its spec.

    The first slot that is not the plain ViT's decides: the token mixer, the token sequence, the MLP, then what
    leads from stage to stage; then whether the blocks share their parameters.
    A model taken whole has the class of its catalog row, and "baseline" if it has none, unless stages of ours are in
    it; one of an architecture that states its class has that.
    """
    if spec.name in _stated_families():
        return _stated_families()[spec.name]
    if spec.whole is not None and not spec.stages:
        if spec.whole.name == "halonet":
            return ROWS["halonet_h1"].family
        # weights are named behind a dot: `swin_tiny_patch4_window7_224.ms_in1k`
        row = ROWS.get(str(dict(spec.whole.options).get("architecture", "")).split(".")[0])
        return row.family if row else "baseline"
    for stage in spec.stages:
        for folder, part in (
            (MIXERS, stage.mixer),
            (SEQUENCES, stage.sequence),
            (MLPS, stage.mlp),
            (BETWEEN, stage.between),
        ):
            if part is None:
                continue
            # an option may decide the class: EViT merges what it removes only if it fuses
            where = folder.fact(part.name, "family_by_option", {})
            found = where.get(next((f"{k}={v}" for k, v in part.options if f"{k}={v}" in where), ""))
            found = found or folder.fact(part.name, "family", "baseline")
            if found != "baseline":
                return str(found)
        if stage.share:
            return "specialized parameters"
    return "baseline"


def resolve(
    name: str, *, img_size: Pixels | None = None, in_chans: int | None = None, num_classes: int | None = None
) -> ModelSpec:
    """The spec that a MODEL names: a catalog name, any name on the skeleton, any timm name (`timm/` in front asks
    for timm's where both have it), a checkpoint folder of ours, or `package.module:callable`. `img_size` is the side
    of square images, or (rows, columns).

    Raises `UserError` with the nearest names for one that nobody knows.
    """
    spec = _named(name)
    changes: dict[str, Any] = {}
    if img_size is not None:
        changes["image_px"] = img_size
    if in_chans is not None:
        changes["in_chans"] = in_chans
    if num_classes is not None:
        changes["num_classes"] = num_classes
    if not changes or all(getattr(spec, k) == v for k, v in changes.items()):
        return spec
    if img_size is not None and spec.whole is None and (match := _SIZED.fullmatch(name)):
        # options may follow the number of patches, so the spec is made anew rather than patched
        scaled = _on_skeleton(f"{match['rest']}_{'x'.join(map(str, rows_and_columns(img_size)))}")
        if scaled is not None:
            spec = replace(scaled, name=name)
    return replace(spec, **changes)


def expand(patterns: Iterable[str]) -> list[str]:
    """Names with wildcards spelt out over the catalog (`'performer*'`), each once, in the order given.

    Raises `UserError` for a wildcard that matches nothing.
    """
    names: list[str] = []
    for pattern in patterns:
        if any(c in pattern for c in "*?["):
            found = fnmatch.filter(entries(), pattern)
            if not found:
                raise UserError(f"no catalog model matches {pattern!r}; `paretovit models` lists them")
            names.extend(found)
        else:
            names.append(pattern)
    return list(dict.fromkeys(names))


def timm_spec(architecture: str, *, image_px: Pixels, in_chans: int = 3, num_classes: int = 1000) -> ModelSpec:
    """The spec of a timm model under timm's name."""
    return ModelSpec(
        name=architecture,
        whole=Part.of("timm", architecture=architecture),
        image_px=image_px,
        in_chans=in_chans,
        num_classes=num_classes,
    )


def _named(name: str) -> ModelSpec:
    if not name:
        raise UserError("a model's name is empty; `paretovit models` lists the catalog")
    if Path(name, "spec.json").is_file():
        return _from_folder(Path(name))
    if name in entries():
        return entries()[name].spec
    if name.startswith(("local-dir:", "hf-hub:")):
        return _from_hub(name)
    if ":" in name:
        return ModelSpec(name=name, whole=Part.of("imported", path=name))
    spec = _on_skeleton(name) or _of_videos(name)
    if spec is not None:
        return spec
    return _from_timm(name)


def _from_folder(folder: Path) -> ModelSpec:
    try:
        return from_json(json.loads((folder / "spec.json").read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{folder / 'spec.json'} is not a model spec ({error}); give a folder that train wrote"
        ) from error


def _on_skeleton(name: str) -> ModelSpec | None:
    if (spec := vix.vix_spec(name)) is not None:
        return spec
    match = _SKELETON.fullmatch(name)
    if match is None or match["architecture"] not in ARCHITECTURES or match["size"] not in SIZES:
        return None
    architecture, size = ARCHITECTURES[match["architecture"]], SIZES[match["size"]]
    patch, image = int(match["patch"]), pixels(match["image"])
    if min(patch, *rows_and_columns(image)) < 1:
        raise UserError(f"{name}: patch and image size must be at least 1")
    rows, columns = (max(1, side // patch) for side in rows_and_columns(image))
    slots = architecture.slots(Scale(rows, columns, size.depth))
    stage = Stage(depth=size.depth, dim=size.dim, heads=size.heads, **slots)
    frame = dict(architecture.frame)
    if match["hybrid"]:
        frame["stem"] = Part("conv")
    if match["rope"]:
        frame["position"] = Part.of("rotary", axes=2)
    return ModelSpec(name=name, stages=(stage,), image_px=image, patch_px=patch, **frame)  # type: ignore[arg-type]


def _of_videos(name: str) -> ModelSpec | None:
    match = _OF_VIDEOS.fullmatch(name)
    image = None if match is None else _on_skeleton(f"vit_{match['image']}")
    if match is None or image is None:
        return None
    return replace(on_videos(image, match["attention"]), num_classes=CLASSES)


def _from_hub(name: str) -> ModelSpec:
    """The spec of a model in the hub's layout, named as timm has the place: `local-dir:FOLDER`, `hf-hub:USER/NAME`."""
    hub = importlib.import_module("timm.models")
    try:
        asked = hub.resolve_model_input_args(name)
    except Exception as error:  # hub clients raise whatever their transport raises
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{name} has no config.json that timm reads: {reason}") from error
    channels, *size = asked["pretrained_cfg"]["input_size"]
    return timm_spec(name, image_px=tuple(size), in_chans=channels, num_classes=asked["pretrained_cfg"]["num_classes"])


def _from_timm(name: str) -> ModelSpec:
    timm = importlib.import_module("timm")  # asked for a name that only timm can know: two seconds to load
    plain = name.removeprefix("timm/").split(".")[0]
    if not timm.is_model(plain):
        known = [*entries(), *(f"{a}_tiny_patch16_224" for a in ARCHITECTURES), *timm.list_models()]
        raise unknown("model", name, set(known))
    config = timm.get_pretrained_cfg(plain)
    px = tuple(config.input_size[-2:]) if config is not None else 224
    classes = config.num_classes if config is not None and config.num_classes else 1000
    spec = timm_spec(plain, image_px=px, num_classes=classes)
    return replace(spec, name=name, whole=Part.of("timm", architecture=name.removeprefix("timm/")))
