"""Entry points in timm's registry for the catalog's models that timm has not, and one for any spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.models import is_model, load_pretrained, register_model
from torch import nn

from paretovit.errors import UserError
from paretovit.spec import from_json
from paretovit.zoo.catalog import Entry, entries

default_cfgs: dict[str, dict[str, Any]] = {}  # where timm's decorator looks for them
__all__ = ["paretovit_spec", "register"]


def register() -> None:
    """Makes `timm.create_model(name)` and `timm.list_models()` know the catalog; timm's own names stay timm's."""
    for name, entry in entries().items():
        if not is_model(name):
            default_cfgs[name] = {
                "url": "",
                "input_size": entry.spec.input_shape,
                "fixed_input_size": True,
                "num_classes": entry.spec.num_classes,
                "first_conv": "stem.proj",
                "classifier": "head",
                "paper_ids": f"arXiv:{entry.arxiv}",
            }
            register_model(_entrypoint(entry))
    register_model(paretovit_spec)


def paretovit_spec(
    pretrained: bool = False,
    *,
    spec: dict[str, Any],
    img_size: int | tuple[int, int] | None = None,
    in_chans: int | None = None,
    num_classes: int | None = None,
    drop_path_rate: float = 0.0,
    pretrained_cfg: dict[str, Any] | None = None,
    pretrained_model_args: Any = None,
    pretrained_cfg_overlay: Any = None,
    cache_dir: Any = None,
) -> nn.Module:
    """The model of a spec as JSON has it: what `config.json` of a folder on the hub names, with its weights if they are
    asked for. timm makes the head and the first convolution fit other classes and channels."""
    from paretovit.zoo.build import build  # it imports timm, whose import is what brought us here

    told = from_json(spec)
    module = build(told, img_size=img_size, in_chans=in_chans, num_classes=num_classes, drop_path=drop_path_rate)
    if pretrained_cfg:  # how images are to be prepared, for timm's transforms
        known: Any = getattr(module, "pretrained_cfg", {})
        module.pretrained_cfg = module.default_cfg = known | pretrained_cfg
    if pretrained:
        load_pretrained(
            module,
            pretrained_cfg=pretrained_cfg,
            num_classes=told.num_classes if num_classes is None else num_classes,
            in_chans=told.in_chans if in_chans is None else in_chans,
            cache_dir=cache_dir,
        )
    return module


def _entrypoint(entry: Entry) -> Callable[..., nn.Module]:
    def create(
        pretrained: bool = False,
        *,
        img_size: int | tuple[int, int] | None = None,
        in_chans: int | None = None,
        num_classes: int | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
    ) -> nn.Module:
        from paretovit.zoo.build import build  # it imports timm, whose import is what brought us here

        if drop_rate:
            raise UserError(f"{entry.name} has no dropout; regularise with drop_path_rate instead of {drop_rate=}")
        return build(
            entry.name,
            img_size=img_size,
            in_chans=in_chans,
            num_classes=num_classes,
            drop_path=drop_path_rate,
            pretrained=pretrained,
        )

    create.__name__ = create.__qualname__ = entry.name
    create.__doc__ = f"{entry.paper} ({entry.family})"
    create.__module__ = __name__
    return create
