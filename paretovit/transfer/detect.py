"""A detector trained, or judged, from names: what is to be its backbone, what it finds objects in, by which recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from paretovit.cost.count import count
from paretovit.cost.counting import Uncountable
from paretovit.devices import check_device, origin
from paretovit.errors import Unmeasurable, UserError
from paretovit.measurement import Conditions, Measurement
from paretovit.spec import ModelSpec
from paretovit.training.evaluate import check_fit
from paretovit.training.loop import Begin, Execution, TrainResult, train
from paretovit.training.progress import Watch, silent
from paretovit.training.recipe import Recipe
from paretovit.training.run import how_trained
from paretovit.training.start import Weights, trained_weights
from paretovit.transfer.detection import Detection, detection_score
from paretovit.transfer.detector import backbone_weights, detector_spec, is_detector
from paretovit.transfer.scenes import SceneData, open_scenes
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve
from paretovit.zoo.checkpoint import SPEC
from paretovit.zoo.wholes.deformable_detr import Detector

_COUNTED = ("params", "macs")


@dataclass(frozen=True)
class Start:
    """A detector, the data as it takes them, and what it begins from; `begin` is None for new weights."""

    spec: ModelSpec
    data: SceneData
    begin: Begin | None


def start(
    model: str,
    data: str,
    *,
    img_size: int | None = None,
    head: Sequence[str] = (),
    pretrained: bool = False,
    skip_unreadable: bool = False,
) -> Start:
    """A checkpoint folder of a classifier gives its weights to the backbone, `pretrained` takes timm's; any other name
    is a new backbone, made for the channels of the data. The detector in a folder is gone on from as it is.

    `img_size` is the side that pictures are scaled to, the model's own by default; `head` changes the sizes of
    `DeformableDetr`. Raises `UserError` for what `detector_spec`, `resolve` and `open_scenes` refuse.
    """
    if not pretrained and not Path(model, SPEC).is_file():
        px = resolve(model, img_size=img_size).square_px
        opened = _opened(data, px, None, skip_unreadable)
        plain = resolve(model, img_size=img_size, in_chans=opened.train.in_chans)
        return Start(detector_spec(plain, opened.train.num_classes, head), opened, None)
    weights = trained_weights(model, pretrained=pretrained)
    own = weights.source
    px = own.square_px if img_size is None else img_size
    opened = _opened(data, px, own.in_chans, skip_unreadable)
    if is_detector(own):
        return _further(model, weights, opened, head)
    spec = detector_spec(replace(own, image_px=px), opened.train.num_classes, head)

    def into_backbone(module: nn.Module) -> None:
        assert isinstance(module, Detector)
        backbone = module.map.backbone
        backbone.load_state_dict(backbone_weights(weights.state, own, backbone))

    return Start(spec, opened, Begin(name=f"backbone {weights.name}", prepare=into_backbone))


def _opened(name: str, px: int, in_chans: int | None, skip_unreadable: bool) -> SceneData:
    data = open_scenes(name, img_size=px, in_chans=in_chans, skip_unreadable=skip_unreadable)
    if data.val.class_names != data.train.class_names:
        raise UserError(
            f"{data.val.name}: {data.val.split} has other classes than {data.train.split}; give both the same"
        )
    return data


def _further(model: str, weights: Weights, data: SceneData, head: Sequence[str]) -> Start:
    """A detector that goes on with all of its weights."""
    own, why = weights.source, ""
    if head or data.img_size != own.image_px:
        why = f"has its sizes, and finds objects in pictures of {own.size}"
    elif data.train.num_classes != own.num_classes:
        why = f"knows {own.num_classes} classes, {data.train.name} has {data.train.num_classes}"
    if why:
        raise UserError(f"{model} {why}; give the backbone that it was made of, to train a new detector")

    def whole(module: nn.Module) -> None:
        module.load_state_dict(weights.state)

    return Start(own, data, Begin(name=weights.name, prepare=whole))


def detect(
    begun: Start,
    recipe: Recipe,
    *,
    out: str | Path,
    resume: bool = True,
    device: str = "cpu",
    execution: Execution | None = None,
    progress: Watch = silent,
) -> TrainResult:
    """Train the detector as `training.loop.train` does; its rows, and behind them what it costs: parameters and
    multiply-accumulates of backbone and head together."""
    counted = _counted(begun.spec)
    result = train(
        begun.spec,
        begun.data,
        recipe,
        out=out,
        resume=resume,
        device=device,
        begin=begun.begin,
        task=Detection(),
        execution=execution,
        progress=progress,
    )
    return replace(result, rows=[*result.rows, *counted])


def judge(model: str, data: str, *, device: str = "cpu", skip_unreadable: bool = False) -> list[Measurement]:
    """The average precisions of the detector in a folder. Raises `UserError` for a folder without one, and for data of
    other classes."""
    if not Path(model, SPEC).is_file() or not is_detector(resolve(model)):
        raise UserError(f"{model} is no detector; give a folder that `paretovit detect` wrote")
    check_device(device)
    spec = resolve(model)
    opened = open_scenes(data, img_size=spec.square_px, in_chans=spec.in_chans, skip_unreadable=skip_unreadable)
    check_fit(spec, opened.val)
    module = build(model).to(device)
    try:
        score = detection_score(module, opened.val, device=device)
    except Unmeasurable as error:
        raise UserError(f"{model}: {error}; train it again") from error
    return Detection().rows(spec, opened.val, score, *how_trained(Path(model)))


def _counted(spec: ModelSpec) -> list[Measurement]:
    try:
        return [row for row in count([spec]) if row.indicator in _COUNTED]
    except (Unmeasurable, Uncountable) as error:
        made, conditions = origin("counted"), Conditions(spec=spec.key)
        return [
            Measurement(
                model=spec.name,
                indicator=name,
                unit="1",
                value=None,
                conditions=conditions,
                origin=made,
                why=str(error),
            )
            for name in _COUNTED
        ]
