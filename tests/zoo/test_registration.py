"""The catalog in timm's registry, whichever of the two is imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

TIMM_FIRST, OURS_FIRST = "import timm, paretovit", "import paretovit, timm"


def run(*lines: str) -> list[str]:
    """What a fresh interpreter prints, in words."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("imports", [TIMM_FIRST, OURS_FIRST, "import paretovit, timm.layers, timm.models as m, timm"])
def test_every_catalog_model_is_a_timm_model(imports: str) -> None:
    printed = run(
        imports,
        "import torch",
        "from paretovit.zoo.catalog import entries",
        "with torch.device('meta'):",
        "    for name, entry in entries().items():",
        "        model = timm.create_model(name, num_classes=7)",
        "        assert model.num_classes == 7, name",
        "        assert set(timm.list_models(name)) == {name}, name",
        "print(*timm.list_models('performer_[bst]*'))",
        "print(type(timm.create_model('vit_tiny_patch16_224')).__module__)",
    )
    assert printed == [
        "performer_base_patch16_224",
        "performer_small_patch16_224",
        "performer_tiny_patch16_224",
        "timm.models.vision_transformer",  # timm's own names stay timm's
    ]


def test_importing_us_does_not_import_timm_or_torch_and_leaves_one_hook() -> None:
    printed = run(
        "import sys",
        "before = len(sys.meta_path)",
        "import paretovit",
        "print('torch' in sys.modules, 'timm' in sys.modules, len(sys.meta_path) - before)",
        "import timm",
        "print(len(sys.meta_path) - before)",
    )
    assert printed == ["False", "False", "1", "0"]


def test_asking_whether_timm_is_there_is_not_importing_it() -> None:
    printed = run(
        "import importlib.util, paretovit",
        "importlib.util.find_spec('timm')",
        "import timm",
        "print(timm.is_model('performer_tiny_patch16_224'))",
    )
    assert printed == ["True"]


def test_takes_the_arguments_that_timms_scripts_pass() -> None:
    import timm

    import paretovit  # noqa: F401

    model = timm.create_model(
        "performer_tiny_patch16_224",
        pretrained=False,
        in_chans=1,
        num_classes=5,
        img_size=(32, 32),
        drop_rate=0.0,
        drop_path_rate=0.2,
        drop_block_rate=None,
        global_pool=None,
        bn_momentum=None,
        scriptable=False,
        checkpoint_path="",
    )
    assert model.spec.image_px == 32
    assert model.stem.proj.in_channels == 1
    assert model.stages[0][-1].drop_path.drop_prob == pytest.approx(0.2)
    assert timm.data.resolve_model_data_config(model)["input_size"] == (1, 32, 32)


def test_dropout_is_refused_rather_than_ignored() -> None:
    import timm

    import paretovit  # noqa: F401
    from paretovit.errors import UserError

    with pytest.raises(UserError, match="drop_path_rate"):
        timm.create_model("performer_tiny_patch16_224", drop_rate=0.1)


def test_timm_describes_our_models() -> None:
    import timm

    import paretovit  # noqa: F401

    config = timm.get_pretrained_cfg("tome_small_patch16_224")
    assert config.input_size == (3, 224, 224)
    assert not timm.is_model_pretrained("tome_small_patch16_224")
