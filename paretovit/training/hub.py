"""A trained model as timm and the Hugging Face hub have it: a folder to be uploaded, or to be loaded from as it lies.

config.json         architecture, its options, classes, how images are to be prepared: timm's layout
model.safetensors   the weights; those of a plain ViT under timm's names
spec.json           what it is on our skeleton: the folder is a checkpoint of ours, too
README.md           the model card

Other programs open it with `timm.create_model("local-dir:FOLDER", pretrained=True)`, and once it is uploaded with
"hf-hub:USER/NAME". For what is timm's own and for plain ViTs that takes timm alone; for the others paretovit has to be
imported first, which makes their architecture known to timm. Nothing is sent from here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from paretovit.errors import UserError
from paretovit.measurement import wilson
from paretovit.spec import ModelSpec, rows_and_columns, to_json
from paretovit.training.data import Data
from paretovit.training.evaluate import check_fit
from paretovit.training.run import STATE, looks
from paretovit.zoo.build import build
from paretovit.zoo.catalog import entries, family
from paretovit.zoo.checkpoint import SPEC, WEIGHTS, load_about, load_model, save_tensors, write_whole
from paretovit.zoo.timm_vit import off_skeleton

CONFIG, CARD = "config.json", "README.md"
_ANY = "paretovit_spec"  # the entry point in timm's registry that takes a spec
_FACTS = ("fixed_input_size", "first_conv", "classifier")  # of timm's description of a model, that loading needs


@dataclass(frozen=True)
class Published:
    """What was written: the folder, timm's name of the architecture, and whether opening it takes more than timm."""

    folder: Path
    architecture: str

    @property
    def needs_paretovit(self) -> bool:
        return self.architecture == _ANY


def publish(checkpoint: Path, out: Path, *, data: Data | None = None) -> Published:
    """Write the model of a checkpoint folder to `out`, and open it again by timm to see that it gives the same logits.

    How its images were normalised is taken from the training's own file, or from `data` where there is none beside the
    weights. Raises `UserError` where neither tells, for an `out` that a training is kept in, for a model of the user's
    own code, and for a disk that refuses.
    """
    spec, weights = load_model(checkpoint)
    if (out / STATE).exists() or out.resolve() == checkpoint.resolve():
        raise UserError(f"{out} holds a training, whose weights have other names; give another --out")
    if spec.whole is not None and spec.whole.name != "timm":
        raise UserError(f"{spec.name} is made by code that neither timm nor paretovit has; publish it with that code")
    about = _about(checkpoint)
    if data is not None:
        check_fit(spec, data.val)
        about = about | {"images": looks(data.val)}
    if not about.get("images"):
        raise UserError(f"{checkpoint} does not tell how its images were normalised; give the --data it was trained on")
    model = build(spec).eval()
    model.load_state_dict(weights)
    config, stored = _config(spec, model, about["images"])
    marks = {"name": spec.name, "key": spec.key, "names": "ours" if stored is model else "timm"}
    save_tensors(out / WEIGHTS, stored.state_dict(), marks)
    write_whole(out / SPEC, (json.dumps(to_json(spec), indent=2) + "\n").encode())
    write_whole(out / CARD, _card(spec, config, about).encode())
    write_whole(out / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    _check(model, spec, out)
    return Published(out, config["architecture"])


def _config(spec: ModelSpec, model: nn.Module, images: dict[str, Any]) -> tuple[dict[str, Any], nn.Module]:
    """`config.json`, and the module whose weights belong to it."""
    stored, plain = model, off_skeleton(model, spec)
    size = {"in_chans": spec.in_chans, "num_classes": spec.num_classes}
    options: dict[str, Any]
    if plain is not None:
        architecture, (options, stored) = "vit_base_patch16_224", plain
    elif spec.whole is not None and not spec.transforms:
        given = dict(spec.whole.options)
        architecture, options = str(given.pop("architecture")).split(".")[0], given | size
        if getattr(model, "pretrained_cfg", {}).get("fixed_input_size"):
            options["img_size"] = spec.image_px
    else:
        architecture, options = _ANY, {"spec": to_json(spec)}
    known: dict[str, Any] = getattr(stored, "pretrained_cfg", {})
    prepared = {
        "input_size": [spec.in_chans, *rows_and_columns(spec.image_px)],
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": images["mean"],
        "std": images["std"],
        "num_classes": spec.num_classes,
        "pool_size": None,
        **{fact: known[fact] for fact in _FACTS if fact in known},
    }
    config = {
        "architecture": architecture,
        "num_classes": spec.num_classes,
        "num_features": getattr(stored, "num_features", None),
        "label_names": images["class_names"],
        "model_args": options,
        "pretrained_cfg": prepared,
    }
    return {name: value for name, value in config.items() if value is not None}, stored


def _check(model: nn.Module, spec: ModelSpec, out: Path) -> None:
    opened = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    images = torch.randn(2, *spec.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = model(images), opened(images)
    if not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5 * float(ours.abs().max())):
        raise UserError(f"{out}, opened by timm, gives other logits than {spec.name}; it is not fit to be published")


def _about(checkpoint: Path) -> dict[str, Any]:
    """What the file of the training tells; a folder of one epoch, or of the best, lies inside the training's."""
    for folder in (checkpoint, checkpoint.resolve().parent):
        if (folder / STATE).exists():
            about = load_about(folder / STATE)
            return about if folder == checkpoint else about | {"epochs": []}  # its accuracy is that of another epoch
    return {}


def _card(spec: ModelSpec, config: dict[str, Any], about: dict[str, Any]) -> str:
    """The model card: what the model is, what it was trained on and how, how good it was, how to open it."""
    foreign = config["architecture"] == _ANY
    entry = entries().get(spec.name)
    facts = {
        "Class": family(spec),
        "Paper": f"{entry.paper} ([arXiv:{entry.arxiv}](https://arxiv.org/abs/{entry.arxiv}))" if entry else "",
        "Images": f"{' x '.join(map(str, spec.input_shape))}, mean {config['pretrained_cfg']['mean']}, "
        f"standard deviation {config['pretrained_cfg']['std']} of values from 0 to 1",
        "Classes": str(spec.num_classes),
        "Trained on": about.get("is", {}).get("data", ""),
        "Recipe": f"{about['recipe']}, seed {about['seed']}" if "recipe" in about else "",
        "Top-1": _accuracy(about.get("epochs", [])),
    }
    lines = [f"- **{name}**: {fact}" for name, fact in facts.items() if fact]
    tags = ["image-classification", "timm", *(["paretovit"] if foreign else [])]
    first = "import paretovit  # makes the architecture known to timm\n" if foreign else ""
    return (
        "---\nlibrary_name: timm\npipeline_tag: image-classification\ntags:\n"
        + "".join(f"- {tag}\n" for tag in tags)
        + f"---\n\n# {spec.name}\n\n"
        + "\n".join(lines)
        + "\n\n```python\n"
        + first
        + 'import timm\n\nmodel = timm.create_model("hf-hub:USER/NAME", pretrained=True)\n'
        + "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))\n```\n"
    )


def _accuracy(epochs: list[dict[str, Any]]) -> str:
    if not epochs:
        return ""
    score = epochs[-1]["final"] or epochs[-1]["score"]
    low, high = wilson(score["hits1"], score["images"])
    share = score["hits1"] / score["images"]
    return f"{share:.1%} of {score['images']:,} images (95% interval {low:.1%} to {high:.1%})"
