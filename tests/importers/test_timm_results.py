"""Excerpts of the layout, made here; the numbers of the first lines are timm's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretovit.errors import UserError
from paretovit.importers import read
from paretovit.measurement import wilson
from paretovit.store import Store
from paretovit.zoo.catalog import resolve

ACCURACY = """model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation
resnet50.a1_in1k,288,81.214,18.786,95.344,4.656,25.56,1.000,bicubic
resnet50.tv_in1k,224,76.128,23.872,92.858,7.142,25.56,0.875,bilinear
"""
HEAD = """model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size,param_count,infer_gmacs,\
infer_macts
"""
SPEED = (
    HEAD
    + """\
resnet50,288,2500.5,409.5,1024.0,25.56,6.8,18.37
resnet50,224,4158.2,246.2,1024,25.56,4.11,11.11
vit_tiny_patch16_224,224,,,,5.72,1.08,5.97
"""
)
LATENCY = (
    HEAD
    + """\
resnet50,224,60.2,16.6,1,25.56,4.11,11.11
vit_tiny_patch16_224,224,110.1,9.1,1,5.72,1.26,5.97
"""
)
TRAINING = """model,train_samples_per_sec,train_step_time,train_batch_size,train_img_size,param_count
resnet50,900.5,568.6,512,224,25.56
"""
FILES = {
    "results-imagenet.csv": ACCURACY,
    "benchmark-infer-amp-nhwc-pt210-cu121-rtx3090.csv": SPEED,
    "benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv": LATENCY,
    "benchmark-train-amp-nchw-pt112-cu113-rtx3090.csv": TRAINING,
    "model_metadata-in1k.csv": "model,pretrain\nresnet50,in1k\n",
    "README.md": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def found(folder: Path):
    rows, specs = read("timm-results", folder)
    keys = {spec.key: spec for spec in specs}

    def rows_of(indicator: str, model: str, **conditions):
        return [
            row
            for row in rows
            if (row.indicator, row.model) == (indicator, model)
            and row.model == keys[row.conditions.spec].name
            and all(getattr(row.conditions, k) == v for k, v in conditions.items())
        ]

    return rows_of


def test_accuracies_are_shares_of_weights_with_wilsons_interval_and_their_source(found):
    (row,) = found("top1", "resnet50.a1_in1k")
    assert (row.value, row.unit) == (pytest.approx(0.81214), "1")
    assert row.origin.how == "published"
    assert tuple(row.origin.timing["interval_95"]) == wilson(40607, 50_000)
    assert row.conditions.to_json() | {"spec": ""} == {
        "spec": "",
        "data": "ImageNet-1k",
        "split": "val",
        "source": "timm results-imagenet",
    }


def test_speeds_at_the_largest_batch_are_rates_and_name_machine_runtime_and_layout(found):
    rates = found("images_per_s", "resnet50")
    assert [row.value for row in rates] == [2500.5, 4158.2]
    assert rates[0].conditions.spec != rates[1].conditions.spec  # for they are of two image sizes
    stated = rates[0].conditions
    assert (stated.device, stated.runtime, stated.dtype) == ("NVIDIA GeForce RTX 3090", "torch_eager", "amp float16")
    assert stated.assumptions == (("memory format", "channels last"),)
    assert rates[0].origin.timing["batch_size"] == 1024
    assert rates[0].origin.versions == {"torch": "2.1.0"}


def test_where_every_batch_is_one_image_the_time_of_a_step_is_a_latency(found):
    (row,) = found("latency_s", "resnet50")
    assert row.value == pytest.approx(0.0166)
    stated = (row.conditions.device, row.conditions.runtime, row.conditions.dtype, row.conditions.batch_size)
    assert stated == ("Intel Core i7-12700H", "torch_compile", "float32", 1)


def test_training_speeds_are_their_own_indicator(found):
    (row,) = found("train_images_per_s", "resnet50")
    assert row.value == 900.5
    assert row.origin.versions == {"torch": "1.12"}


def test_an_empty_speed_is_a_row_with_a_reason(found):
    (row,) = found("images_per_s", "vit_tiny_patch16_224")
    assert row.value is None
    assert "empty" in row.why


def test_counts_are_told_once_with_what_rounding_leaves_and_the_newest_speaks(found, folder):
    (row,) = [row for row in found("macs", "resnet50") if row.value == pytest.approx(4.11e9)]
    assert row.origin.timing["interval_95"] == pytest.approx([4.105e9, 4.115e9])
    old, new = found("macs", "vit_tiny_patch16_224")
    assert (old.value, new.value) == (pytest.approx(1.08e9), pytest.approx(1.26e9))
    with Store("sqlite://") as store:
        store.append_new(*read("timm-results", folder))
        assert [r.value for r in store.rows("macs", "vit_tiny_patch16_224")] == [new.value]


def test_models_have_the_specs_that_their_names_resolve_to(found):
    (row,) = found("top1", "resnet50.tv_in1k")
    assert row.conditions.spec == resolve("resnet50.tv_in1k").key
    assert found("images_per_s", "resnet50")[1].conditions.spec == resolve("resnet50").key


def test_importing_again_doubles_nothing(folder):
    with Store("sqlite://") as store:
        first = store.append_new(*read("timm-results", folder))
        assert first == len(store.rows(every=True)) > 0
        assert store.append_new(*read("timm-results", folder)) == 0
        assert len(store.rows(every=True)) == first


def test_one_file_may_be_named(folder):
    rows, _ = read("timm-results", folder / "results-imagenet.csv")
    assert {row.indicator for row in rows} == {"top1", "top5"}


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("results-imagenet.csv", "top1_err,", "", "line 1: no column top1_err"),
        ("results-imagenet.csv", "interpolation\n", "interpolation,extra\n", "unknown or doubled column extra"),
        ("results-imagenet.csv", "img_size,top1,", "top1,top1,", "no column img_size; unknown or doubled column top1"),
        ("results-imagenet.csv", "81.214", "eighty", "line 2: top1 is 'eighty', not a number"),
        ("results-imagenet.csv", "76.128", "86.128", "line 3: top1 is 86.128, which its error does not make up to 100"),
        ("results-imagenet.csv", "81.214", "nan", "line 2: top1 is 'nan', not a finite number"),
        ("results-imagenet.csv", ",224,", ",224.5,", "line 3: img_size is 224.5, not a whole number"),
        ("results-imagenet.csv", "resnet50.tv_in1k", "", "line 3: model is empty"),
        ("results-imagenet.csv", ",bilinear", "", "line 3: 8 cells under 9 columns"),
        ("results-imagenet.csv", ACCURACY, "", "line 1: no column model"),
        ("results-imagenet.csv", ACCURACY.partition("\n")[2], "", "no line below its first"),
        (
            "benchmark-infer-amp-nhwc-pt210-cu121-rtx3090.csv",
            "infer_gmacs",
            "gflops",
            "unknown or doubled column gflop",
        ),
        ("benchmark-infer-amp-nhwc-pt210-cu121-rtx3090.csv", "2500.5", "-1", "line 2: infer_samples_per_sec is -1"),
        ("benchmark-infer-amp-nhwc-pt210-cu121-rtx3090.csv", "6.8,", "much,", "line 2: infer_gmacs is 'much'"),
        ("benchmark-infer-amp-nhwc-pt210-cu121-rtx3090.csv", "1.08", "-1.08", "line 4: infer_gmacs is -1.08"),
    ],
)
def test_what_is_not_as_the_layout_has_it_is_refused_with_file_and_line(folder, name, old, new, said):
    path = folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError) as refused:
        read("timm-results", folder)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("benchmark-infer-rtx3090.csv", "its name should be like"),
        ("results-imagenot.csv", "unknown test set 'imagenot'"),
    ],
)
def test_a_file_under_another_name_is_refused(folder, name, said):
    (folder / "results-imagenet.csv").rename(folder / name)
    with pytest.raises(UserError, match=said):
        read("timm-results", folder)


def test_bytes_that_are_no_text_are_refused(folder):
    (folder / "results-imagenet.csv").write_bytes(b"\xff\xfe\x00model")
    with pytest.raises(UserError, match="not text in UTF-8"):
        read("timm-results", folder)


def test_a_folder_of_something_else_and_a_path_to_nothing_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no results"):
        read("timm-results", tmp_path)
    with pytest.raises(UserError, match="there is nothing at"):
        read("timm-results", tmp_path / "gone")


def test_a_layout_that_nobody_knows_is_answered_with_the_near_ones():
    with pytest.raises(UserError, match="did you mean timm-results"):
        read("timm-result", ".")
