"""Two runs of one model in the layout, made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretovit.errors import UserError
from paretovit.importers import read
from paretovit.importers.wttf_runs import BEST, LAST, SOURCE
from paretovit.store import Store

HEAD = (
    "model,img_size,pretrain_img_size,device,world_size,batch_size,epochs,lr,pretrain_lr,pretrain_epochs,params,"
    "macs_logged,flops_logged,train_peak_bytes_all_gpus,train_peak_bytes_one_gpu,local_batch_size,infer_bytes_b1,"
    "infer_bytes_b32,infer_bytes_b64,infer_bytes_b128,images_per_s,throughput_batch_size,finetune_time_s,"
    "pretrain_time_s,top1,top5,final_top1,train_top1\n"
)
RUNS = HEAD + (
    "ViT-S/16,224,192,NVIDIA A100-SXM4-80GB,4,2048,50,0.0003,0.003,90,22050664,4608338304,4665737040.0,"
    "100000000000,25000000000,512,100,200,300,400,3569.8,1024,69445.5,,0.82,0.96,0.81,0.71\n"
    "ViT-S/16,224,192,NVIDIA A100-SXM4-40GB,8,2048,50,0.0003,0.003,90,22050664,4608338304,4665737040.0,"
    ",,256,100,200,300,400,-1,1024,69445.5,,0.83,0.97,0.83,0.72\n"
)
CURVES = (
    "model,img_size,pretrain_img_size,phase,epoch,time_s,train_loss,train_top1,val_top1,lr\n"
    "ViT-S/16,224,192,finetune,1,1,6,0.1,0.82,1e-6\nViT-S/16,224,192,finetune,2,1,6,0.1,0.81,1e-6\n"
    "ViT-S/16,224,192,finetune,1,1,6,0.1,0.80,1e-6\nViT-S/16,224,192,finetune,2,1,6,0.1,0.83,1e-6\n"
)
FIRST, SECOND = "ViT-S/16, 224 px, after 192 px", "ViT-S/16, 224 px, after 192 px, run 2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs.csv").write_text(RUNS)
    (tmp_path / "curves.csv").write_text(CURVES)
    return tmp_path


def value(rows, model: str, indicator: str, **conditions) -> float | None:
    (row,) = [
        row
        for row in rows
        if (row.model, row.indicator) == (model, indicator)
        and all(getattr(row.conditions, k) == v for k, v in conditions.items())
    ]
    return row.value


def test_a_run_is_a_model_and_a_repeat_is_another(folder):
    rows, specs = read("wttf-runs", folder)
    assert list(dict.fromkeys(row.model for row in rows)) == [FIRST, SECOND]
    assert specs == []
    assert {row.conditions.source for row in rows} == {SOURCE}
    assert {row.origin.how for row in rows} == {"published"}


def test_every_column_is_its_own_indicator_under_its_own_conditions(folder):
    rows, _ = read("wttf-runs", folder)
    assert value(rows, FIRST, "top1", recipe=BEST) == 0.82
    assert value(rows, FIRST, "top1", recipe=LAST, split="val") == 0.81
    assert value(rows, FIRST, "top1", split="train") == 0.71
    assert value(rows, FIRST, "peak_bytes_train", batch_size=2048) == 1e11
    assert value(rows, FIRST, "peak_bytes_train", batch_size=512) == 2.5e10
    assert [value(rows, FIRST, "peak_bytes_infer", batch_size=b) for b in (1, 32, 64, 128)] == [100, 200, 300, 400]
    assert value(rows, FIRST, "images_per_s", batch_size="best") == 3569.8
    assert value(rows, FIRST, "flops_logged") == 4665737040


def test_a_value_that_was_not_logged_is_a_row_with_a_reason_never_a_minus_one(folder):
    rows, _ = read("wttf-runs", folder)
    lacking = [(row.indicator, row.why) for row in rows if row.value is None]
    assert [indicator for indicator, _ in lacking] == ["peak_bytes_train", "peak_bytes_train", "images_per_s"]
    assert all("no value" in why for _, why in lacking)


def test_each_run_has_its_own_curve(folder):
    rows, _ = read("wttf-runs", folder)
    curves = {row.model: row.origin.timing["curve"] for row in rows if "curve" in row.origin.timing}
    assert curves == {FIRST: [[1, 0.82], [2, 0.81]], SECOND: [[1, 0.80], [2, 0.83]]}


def test_importing_again_doubles_nothing(folder):
    with Store("sqlite://") as store:
        assert store.append_new(*read("wttf-runs", folder)) == 30
        assert store.append_new(*read("wttf-runs", folder)) == 0


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("runs.csv", "flops_logged", "flops", "no column flops_logged; unknown or doubled column flops"),
        ("runs.csv", "22050664", "22M", "line 2: params is '22M'"),
        ("runs.csv", ",0.82,0.96", ",82,0.96", "line 2: top1 is 82, not a share"),
        ("runs.csv", ",0.83,0.97", ",0.84,0.97", "line 3: top1 is 0.8400, but its curve's best is 0.8300"),
        ("runs.csv", ",2048,50,", ",2048,40,", "line 2: epochs is 40"),
        ("curves.csv", ",2,1,6,0.1,0.81,", ",two,1,6,0.1,0.81,", "line 3: epoch is 'two'"),
        (
            "curves.csv",
            CURVES.partition("\n")[2],
            "ViT-B/16,224,224,finetune,1,1,6,0.1,0.8,0\n",
            "holds no curve of it",
        ),
    ],
)
def test_what_is_not_as_the_layout_has_it_is_refused_with_file_and_line(folder, name, old, new, said):
    path = folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=said):
        read("wttf-runs", folder)


def test_a_folder_without_the_files_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*runs\.csv"):
        read("wttf-runs", tmp_path)
