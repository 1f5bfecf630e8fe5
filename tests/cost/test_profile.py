"""Breakdowns of cost: counted shares against closed forms, times against what must dominate, and the command."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from paretovit import cli
from paretovit.cost.count import count
from paretovit.cost.operator_times import _operators_in, eager_operators
from paretovit.cost.prepare import prepare
from paretovit.cost.profile import count_parts, params_by_layer, profile
from paretovit.cost.runtimes import Session
from paretovit.cost.runtimes.torch_eager import TorchEager
from paretovit.errors import UserError
from paretovit.report.breakdown import breakdown_tables
from paretovit.report.headings import sheet_of
from paretovit.spec import Part
from paretovit.store import Store, arrange
from paretovit.zoo.build import build
from paretovit.zoo.catalog import resolve

VIT = "vit_pico_patch2_8"


class Two(nn.Module):
    """One block of large products, one that hardly works."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Sequential(nn.Linear(512, 2048), nn.Linear(2048, 512))
        self.small = nn.Module()
        self.small.act = nn.ReLU()
        self.weight = nn.Parameter(torch.randn(512, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.small.act(self.large(x))
        scores = (x @ x.mT).softmax(-1)  # activations with each other, by no module of its own
        return (scores @ x).transpose(-2, -1).contiguous().mT @ self.weight


@pytest.fixture(scope="module")
def traced():
    torch.manual_seed(0)
    torch.set_num_threads(1)  # threads that wait for each other would measure who else uses the machine
    model, x = Two().eval(), torch.randn(2, 256, 512)
    with torch.inference_mode():
        traces = [eager_operators(model, lambda: model(x)) for _ in range(5)]
    # of every operator its fastest time: others use the machine, too
    return [min(same, key=lambda op: op.seconds) for same in zip(*traces, strict=True)]


def seconds(ops, key):
    found = Counter()
    for op in ops:
        found[key(op)] += op.seconds
    return found


def test_time_goes_to_the_layer_that_takes_it(traced):
    by_layer = seconds(traced, lambda op: op.layer)
    assert set(by_layer) == {"large.0", "large.1", "small", ""}
    assert by_layer["large.0"] + by_layer["large.1"] > 10 * by_layer["small"] > 0


def test_time_goes_to_the_group_of_the_operator(traced):
    by_group = seconds(traced, lambda op: op.group)
    assert max(by_group, key=by_group.get) == "linear"
    assert {"linear", "attention matmul", "softmax", "element-wise", "reshape/transpose"} <= set(by_group)
    assert {op.group for op in traced if op.operator == "aten.relu"} == {"element-wise"}


def test_a_product_with_a_bare_parameter_is_linear_and_of_activations_is_not(traced):
    products = [op.group for op in traced if op.operator == "aten.matmul" and op.group != "reshape/transpose"]
    assert set(products) == {"attention matmul", "linear"}
    bare = [op for op in traced if op.operator == "aten.matmul" and op.layer == "" and op.group == "linear"]
    assert bare


def test_operators_take_no_longer_than_the_call_around_them():
    from time import perf_counter

    session = prepare(VIT, threads=1)
    session()
    start = perf_counter()
    ops = session.profile()
    assert 0 < sum(op.seconds for op in ops) < perf_counter() - start


def test_counted_parts_add_up_to_the_whole_and_to_the_closed_form():
    spec = resolve(VIT)
    parts = count_parts(spec)
    whole = {row.indicator: row.value for row in count([spec])}
    assert sum(macs for macs, _ in parts.values()) == whole["macs"]
    assert sum(moved for _, moved in parts.values()) == whole["bytes_moved"]
    stage, tokens = spec.stages[0], (8 // 2) ** 2 + 1
    linear = stage.depth * tokens * 12 * stage.dim**2 + stage.dim * spec.num_classes
    attention = stage.depth * 2 * tokens**2 * stage.dim
    by_group = Counter()
    for (group, _), (macs, _) in parts.items():
        by_group[group] += macs
    assert by_group["linear"] == linear
    assert by_group["fused attention"] == attention


def test_attention_that_is_written_out_is_told_apart():
    fused = resolve(VIT)
    plain = replace(fused, stages=tuple(replace(s, mixer=Part.of("attention", fused=False)) for s in fused.stages))
    groups = {group: 0 for group, _ in count_parts(plain)}
    assert {"attention matmul", "softmax"} <= set(groups)
    assert "fused attention" not in groups
    times = {row.conditions.part for row in profile([plain], threads=1, calls=1) if row.indicator == "time_share"}
    assert {"group attention matmul", "group softmax"} <= times
    assert "group fused attention" not in times


def test_rows_are_shares_with_their_conditions():
    rows = profile([VIT], threads=1, calls=3, batch_size=2)
    for name in ("time_share", "macs_share", "bytes_moved_share"):
        for kind in ("group", "layer"):
            own = [r for r in rows if r.indicator == name and r.conditions.part.startswith(kind)]
            for call in range(len(own[0].samples)):
                assert sum(row.samples[call] for row in own) == pytest.approx(1)
    timed = [row for row in rows if row.indicator == "time_share"]
    assert all(len(row.samples) == 3 and row.conditions.batch_size == 2 for row in timed)
    counted = [row for row in rows if row.indicator != "time_share"]
    assert all(row.conditions.runtime is None and row.origin.how == "counted" for row in counted)
    assert len({(row.indicator, row.conditions.text) for row in rows}) == len(rows)


def test_a_runtime_that_cannot_tell_is_a_row_with_a_reason(monkeypatch):
    class Mute(Session):
        def __call__(self) -> None: ...

        def synchronize(self) -> None: ...

        def peak_bytes(self) -> int:
            return 1

    monkeypatch.setattr(TorchEager, "prepare", lambda self, model, batch: Mute())
    rows = [row for row in profile([VIT], threads=1) if row.indicator == "time_share"]
    assert [row.value for row in rows] == [None, None]
    assert all("does not tell what its operators take" in row.why for row in rows)


def test_calls_are_at_least_one():
    with pytest.raises(UserError, match="calls must be at least 1"):
        profile([VIT], calls=0)


def test_the_rows_keep_out_of_the_columns_about_whole_models(tmp_path):
    with Store(tmp_path / "rows.sqlite") as store:
        store.append(count([VIT]), [resolve(VIT)])
        profile([VIT], threads=1, calls=1, store=store)
        names = {heading.column.indicator for heading in sheet_of(arrange(store.rows(), specs=store.specs())).headings}
        assert names == {row.indicator for row in count([VIT])}
        assert store.table(["macs"]).values(store.table(["macs"]).columns[0]) == [
            row.value for row in count([VIT]) if row.indicator == "macs"
        ]
        store.export_lines(tmp_path / "rows.jsonl")
        with Store(tmp_path / "other.sqlite") as other:
            other.import_lines(tmp_path / "rows.jsonl")
            assert other.rows() == store.rows()


def test_the_tables_fit_100_columns_and_name_every_part():
    text = io.StringIO()
    rows = profile(["performer_pico_patch4_32"], threads=1, calls=1)
    Console(file=text, width=100).print(breakdown_tables(rows))
    assert max(map(len, text.getvalue().splitlines())) <= 100
    for word in ("attention matmul", "linear", "stages.0.3.mixer", "time", "macs", "bytes moved", "parameters"):
        assert word in text.getvalue()


def test_kernels_of_a_compiler_are_taken_apart_by_their_names():
    assert list(_operators_in("add_cat_expand_native_layer_norm_transpose_view_1")) == [
        "add", "cat", "expand", "native_layer_norm", "transpose", "view",
    ]  # fmt: skip
    assert list(_operators_in("_softmax_3")) == ["_softmax"]


@pytest.mark.slow
def test_compiled_code_is_told_apart_by_kernel_and_not_by_layer():
    rows = [row for row in profile([VIT], runtime="torch_compile", threads=1, calls=2) if row.indicator == "time_share"]
    shares = {row.conditions.part: row.value for row in rows if row.value is not None}
    assert {"group linear", "group fused attention", "group norm"} <= set(shares)
    (untold,) = [row for row in rows if row.value is None]
    assert untold.conditions.part == "layer"
    assert "torch_compile does not tell which layers" in untold.why


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["paretovit", "profile", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return command


def test_the_command_prints_rows_and_stores_them(run):
    code, out, _ = run(VIT, "--threads", "1", "--calls", "1", "--json")
    rows = json.loads(out)
    assert code == 0
    assert {row["indicator"] for row in rows} == {"time_share", "macs_share", "bytes_moved_share", "params_share"}
    with Store("paretovit.sqlite") as store:
        assert [row.to_json() for row in store.rows()] == rows


def test_the_command_takes_the_steps_of_a_training_apart(run):
    words = ("--training", "--data", "digits", "--set", "batch_size=16", "--threads", "1", "--calls", "1")
    code, out, _ = run(VIT, *words, "--json")
    rows = json.loads(out)
    assert code == 0
    assert {row["indicator"] for row in rows} == {"train_time_share"}
    phases = dict.fromkeys(row["conditions"]["part"].partition(" ")[0] for row in rows)
    told = ["input", "forward", "loss", "backward", "clipping", "optimizer", "other", "layer"]
    assert list(phases) == told
    stated = rows[0]["conditions"]
    assert (stated["data"], stated["recipe"], stated["batch_size"]) == ("digits", "demo, batch_size=16", 16)
    with Store("paretovit.sqlite") as store:
        assert [row.to_json() for row in store.rows()] == rows
    code, out, _ = run(VIT, "--training", "-b", "2", "--threads", "1", "--calls", "1")
    assert code == 0
    assert "input" not in out
    assert "torch_eager, float32, batch 2, 1 thread" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vit_tinny_patch16_224"], "did you mean vit_tiny_patch16_224"),
        ([VIT, "--runtime", "torch_egaer"], "did you mean torch_eager"),
        ([VIT, "--device", "tpu"], "use cpu, cuda or cuda:N"),
        ([VIT, "-b", "0"], "batch size must be at least 1"),
        ([VIT, "--dtype", "float31"], "unknown dtype"),
        ([VIT, "--threads", "0"], "threads must be at least 1"),
        ([VIT, "--training", "--runtime", "torch_egaer"], "did you mean torch_eager"),
        ([VIT, "--data", "digits"], "give --training, too"),
        ([VIT, "--training", "--recipe", "vix"], "give --training --data DATA"),
        ([VIT, "--training", "--data", "digits", "-b", "4"], "--set batch_size=N"),
        ([VIT, "--training", "--data", "digits", "--recipe", "dmeo"], "did you mean demo"),
        ([VIT, "--training", "--data", "digits", "--set", "lrr=1"], "did you mean lr"),
        ([VIT, "--training", "--data", "digitz"], "did you mean digits"),
        ([VIT, "--training", "--data", "digits", "--threads", "0"], "threads must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, words, message):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_parameters_belong_to_the_layers_that_hold_them_and_none_is_lost():
    found = params_by_layer(resolve(VIT))
    module = build(resolve(VIT), device="meta")
    assert sum(found.values()) == sum(parameter.numel() for parameter in module.parameters())
    dim = module.num_features
    assert found["stages.0.0.mixer"] == 4 * dim**2 + 4 * dim
    assert found["stages.0.0.mlp"] == 8 * dim**2 + 5 * dim
    assert found["stages.0.0.norm1"] == 2 * dim
    assert found[""] == dim  # the class token is the model's own
    heads = [row for row in profile([VIT], calls=1, threads=1) if row.indicator == "params_share"]
    assert sum(row.value for row in heads) == pytest.approx(1)
