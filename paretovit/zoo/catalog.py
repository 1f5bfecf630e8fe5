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
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from paretovit.errors import UserError, unknown
from paretovit.spec import ModelSpec, Part, Pixels, Stage, from_json, pixels, rows_and_columns, to_json
from paretovit.zoo import vix
from paretovit.zoo.folders import BETWEEN, MACROS, MIXERS, MLPS, SEQUENCES
from paretovit.zoo.skeletons import ARCHITECTURES, SIZES, Scale
from paretovit.zoo.taxonomy import FAMILIES, Published
from paretovit.zoo.timm_rows import ROWS
from paretovit.zoo.videos import CLASSES, on_videos


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
