"""Energy, carbon and price: meters made by hand, and what is stated."""

from __future__ import annotations

import json
import sys

import pytest

from paretovit import cli
from paretovit.cost import power
from paretovit.cost.assumptions import checked, pairs, stated
from paretovit.cost.folders import INDICATORS
from paretovit.cost.measure import Care, conditions_of, measure
from paretovit.cost.power import Constant, Rapl, meter
from paretovit.cost.subject import Setting, Subject
from paretovit.errors import Unmeasurable, UserError
from paretovit.zoo.catalog import resolve

SPEC = resolve("vit_pico_patch2_8")


@pytest.fixture
def rapl(tmp_path):
    """Two packages, with the cores of the first one as a part of it, and the whole platform."""
    for zone, name in (
        ("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "core"),
        ("intel-rapl:2", "psys"),
    ):  # fmt: skip
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "energy_uj").write_text("1000\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("5000000\n")
    return tmp_path


def test_packages_add_up_and_their_parts_do_not_count_twice(rapl):
    meter = Rapl(rapl)
    for zone in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl:2"):
        (rapl / zone / "energy_uj").write_text("2001000\n")
    assert meter.joules() == 4.0


def test_a_counter_that_starts_anew_is_followed(rapl):
    (rapl / "intel-rapl:0" / "energy_uj").write_text("4000000")
    meter = Rapl(rapl)
    (rapl / "intel-rapl:0" / "energy_uj").write_text("500000")
    assert meter.joules() == pytest.approx(1.5)


def test_no_meter_is_a_reason_that_says_what_to_do(tmp_path):
    with pytest.raises(Unmeasurable, match=r"no energy counter.*--assume watts"):
        Rapl(tmp_path)


def test_a_counter_that_breaks_is_a_reason_and_no_zero(rapl):
    (rapl / "intel-rapl:0" / "energy_uj").write_text("")
    with pytest.raises(Unmeasurable, match="cannot be read"):
        Rapl(rapl)


@pytest.fixture
def modelled(monkeypatch):
    """What codecarbon says of the processor, where it is asked: 4 W, until a test puts other watts there."""
    watts = {"said": 4.0}
    monkeypatch.setattr(power, "_modelled_watts", lambda: watts["said"])
    monkeypatch.setattr(power, "version", lambda package: "3.0")
    return watts


def test_stated_power_goes_before_a_meter(monkeypatch, rapl):
    monkeypatch.setattr(Rapl.__init__, "__defaults__", (rapl,))
    chosen = meter(Setting(assumed=(("watts", 30.0),)))
    assert isinstance(chosen, Constant)
    assert chosen.source == "stated power"


def test_a_counter_goes_before_a_model(monkeypatch, rapl, modelled):
    monkeypatch.setattr(Rapl.__init__, "__defaults__", (rapl,))
    assert isinstance(meter(Setting()), Rapl)


def test_a_model_stands_in_for_a_counter_and_says_so(monkeypatch, tmp_path, modelled):
    monkeypatch.setattr(Rapl.__init__, "__defaults__", (tmp_path,))
    clock = Clock()
    chosen = meter(Setting(), clock)
    before, clock.now = chosen.joules(), 2.5
    assert chosen.joules() - before == 10.0
    assert chosen.source == "codecarbon 3.0: processor, 4 W all the time"
    modelled["said"] = None
    with pytest.raises(Unmeasurable, match="no energy counter"):
        meter(Setting())


def test_the_model_is_codecarbons_constant_mode():
    cpu = pytest.importorskip("codecarbon.core.cpu", reason='needs the extra "energy"')
    power._modelled_watts.cache_clear()
    assert power._modelled_watts() == pytest.approx(cpu.TDP().tdp / 2)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("name", "training"), [("energy_j", False), ("train_energy_j", True)])
def test_energy_is_power_times_time_of_a_thousand_images(monkeypatch, name, training):
    clock = Clock()

    class Session:
        def __call__(self) -> None:
            clock.now += 0.125

        def synchronize(self) -> None: ...

    subject = Subject(SPEC, Setting(batch_size=4, assumed=(("watts", 30.0),)), clock=clock)
    asked = []
    monkeypatch.setattr(subject, "session", lambda batch, training=False: asked.append(training) or Session())
    # 8 images in 0.25 s: 1,000 take 31.25 s, at 30 W 937.5 J
    assert INDICATORS[name]()(subject) == [pytest.approx(937.5)]
    assert set(asked) == {training}


def test_carbon_and_price_are_products_by_hand():
    setting = Setting(batch_size=10, assumed=(("g_per_kwh", 400.0), ("usd_per_hour", 3.6)))

    def derived(name: str, sample: float) -> float:
        indicator = INDICATORS[name]()
        return indicator.of_sample(sample, conditions_of(SPEC, indicator, setting))

    assert derived("carbon_g", 3.6e6) == pytest.approx(400)  # one kWh
    assert derived("train_carbon_g", 9e5) == pytest.approx(100)
    assert derived("cost_usd", 500.0) == pytest.approx(0.002)  # 2 s at 0.1 cent a second
    assert derived("train_cost_usd", 0.5) == pytest.approx(0.05)  # 100 steps


def test_what_nobody_stated_is_a_reason(monkeypatch):
    conditions = conditions_of(SPEC, INDICATORS["cost_usd"](), Setting())
    with pytest.raises(Unmeasurable, match="--assume usd_per_hour=NUMBER"):
        stated(conditions, "usd_per_hour")


def test_prices_are_conditions_so_two_of_them_are_two_columns():
    columns = {
        conditions_of(SPEC, INDICATORS["cost_usd"](), Setting(assumed=(("usd_per_hour", p),))) for p in (1.0, 2.0)
    }
    assert len(columns) == 2
    assert dict(columns.pop().assumptions).keys() == {"usd_per_hour"}


def test_where_energy_came_from_is_a_condition(monkeypatch, rapl):
    energy = INDICATORS["energy_j"]()
    assert dict(energy.assumptions(Setting(assumed=(("watts", 30.0),)))) == {"energy": "stated power", "watts": 30.0}
    monkeypatch.setattr(power, "_RAPL", rapl)
    monkeypatch.setattr(Rapl.__init__, "__defaults__", (rapl,))
    assert dict(energy.assumptions(Setting())) == {"energy": "RAPL, processor packages"}
    assert dict(INDICATORS["carbon_g"]().assumptions(Setting(assumed=(("g_per_kwh", 50.0),)))) == {
        "energy": "RAPL, processor packages",
        "g_per_kwh": 50.0,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("watts", "cannot read 'watts'"),
        ("watts=many", "cannot read 'watts=many'"),
        ("wats=3", "did you mean watts"),
        ("watts=0", "must be above zero"),
        ("watts=nan", "must be above zero"),
        ("watts=-1", "must be above zero"),
    ],
)
def test_an_assumption_that_cannot_be_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        pairs([text])


def test_assumptions_have_one_order():
    assert checked({"watts": 1, "g_per_kwh": 2}) == checked({"g_per_kwh": 2, "watts": 1})


@pytest.mark.slow
def test_a_run_gives_energy_carbon_and_price():
    rows = measure(
        [SPEC], indicators=["images_per_s", "energy_j", "carbon_g", "cost_usd"], threads=1,
        assume={"watts": 30, "g_per_kwh": 400, "usd_per_hour": 0.4}, care=Care(rounds=3, sittings=1, patience_s=0),
    )  # fmt: skip
    value = {row.indicator: row.value for row in rows}
    assert value["carbon_g"] == pytest.approx(value["energy_j"] / 3.6e6 * 400)
    assert value["cost_usd"] == pytest.approx(1000 / value["images_per_s"] / 3600 * 0.4)


def test_a_bad_assumption_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["paretovit", "measure", SPEC.name, "--assume", "watts=abc"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert "NAME=NUMBER" in err


def test_energy_names_its_source_or_the_row_says_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["measure", SPEC.name, "--indicator", "energy_j", "--threads", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["paretovit", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    (row,) = json.loads(capsys.readouterr().out)
    assert end.value.code == 0
    try:
        source = meter(Setting()).source
    except Unmeasurable:
        assert row["value"] is None
        assert "--assume watts=NUMBER" in row["why"]
    else:
        assert row["value"] > 0
        assert dict(row["conditions"]["assumptions"])["energy"] == source
