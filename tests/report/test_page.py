from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from paretovit.analysis.claims import Claim, Side
from paretovit.errors import UserError
from paretovit.measurement import Conditions, Measurement, Origin
from paretovit.report import page
from paretovit.store import Store
from paretovit.zoo.catalog import resolve

EVIL = "<script>alert(1)</script>\u2028&\"'"


class Reader(HTMLParser):
    """Tags with their attributes, the text in each kind of tag, and the page's policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style", "td", "th"):
            self.blocks.append((tag, dict(attrs), ""))

    def handle_data(self, data):
        if self.blocks:
            tag, attrs, text = self.blocks[-1]
            self.blocks[-1] = (tag, attrs, text + data)

    def texts(self, tag: str) -> list[str]:
        return [text for kind, _, text in self.blocks if kind == tag]

    @property
    def policy(self) -> str:
        return next(a["content"] for t, a in self.tags if a.get("http-equiv") == "Content-Security-Policy")


@pytest.fixture(scope="module")
def written(sample_store, tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        quick_pictures(monkeypatch)
        return page.write(sample_store, tmp_path_factory.mktemp("page"))


def quick_pictures(monkeypatch) -> None:
    """Drawing all figures takes seconds; one test draws them in earnest."""
    monkeypatch.setattr(page.vl_convert, "vegalite_to_svg", lambda *_, **__: "<svg/>")
    monkeypatch.setattr(page.vl_convert, "svg_to_png", lambda *_, **__: b"png")


def test_the_page_asks_the_network_for_nothing(written):
    reader = Reader(written[0].read_text(encoding="utf-8"))
    assert not [a for _, a in reader.tags if "src" in a or a.get("href", "").startswith(("http", "//"))]
    assert not [tag for tag, _ in reader.tags if tag in ("link", "iframe", "img", "object", "embed", "base")]
    assert "url(" not in "".join(reader.texts("style"))


def test_the_policy_admits_exactly_the_scripts_and_the_style_of_the_page(written):
    reader = Reader(written[0].read_text(encoding="utf-8"))
    inert = "application/json"
    blocks = [text for tag, a, text in reader.blocks if tag in ("script", "style") and a.get("type") != inert]
    # in the order of the page: a style, the libraries, our script; a browser hashes what lies between the tags
    # the libraries wait as inert text, of which the page makes a script when the first figure comes near
    tags = r'<(script|style)(?: type="text/plain" id="libraries")?>(.*?)</\1>'
    raw = re.findall(tags, written[0].read_text(encoding="utf-8"), re.S)
    assert len(raw) == len(blocks) == 3
    digests = [f"sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}" for _, t in raw]
    assert reader.policy.startswith("default-src 'none'; script-src '")
    assert set(re.findall(r"sha256-[^']+", reader.policy)) == set(digests)
    assert "unsafe" not in reader.policy


def test_the_page_is_small_and_holds_the_libraries_once(written):
    text = written[0].read_text(encoding="utf-8")
    assert written[0].stat().st_size < 5e6
    assert text.count("window.vegaEmbed=") == 1


def test_every_pair_of_accuracy_and_cost_has_a_chart_and_the_pickers_name_them(written):
    reader = Reader(written[0].read_text(encoding="utf-8"))
    content = json.loads(next(text for tag, a, text in reader.blocks if a.get("type") == "application/json"))
    # the picker of any two indicators has one chart for all: its options say how their axes are drawn
    options = [a["value"] for tag, a in reader.tags if tag == "option" and "data-title" not in a]
    qualities = ["top1", "top5"]
    costs = [o for o in options if o not in qualities]
    assert len(set(costs)) == 10
    assert {f"pareto-{y}-{x}" for y in qualities for x in set(costs)} <= set(content["charts"])
    for chart in content["charts"].values():
        assert set(chart["uses"]) <= set(content["datasets"])


def test_a_name_from_the_store_is_text_wherever_it_appears(sample_store, tmp_path, monkeypatch):
    quick_pictures(monkeypatch)
    specs = sample_store.specs()
    rows = sample_store.rows()
    target = rows[0].model
    evil = [replace(row, model=EVIL, why=EVIL if row.value is None else "") for row in rows if row.model == target]
    evil.append(replace(evil[0], indicator=EVIL, unit=EVIL, value=None, samples=(), why=EVIL))
    with Store(tmp_path / "evil.sqlite") as store:
        store.append([*rows, *evil], [replace(spec, name=EVIL) for spec in specs.values()])
        text = page.write(store, tmp_path / "out")[0].read_text(encoding="utf-8")
    reader = Reader(text)
    assert "<script>alert" not in text
    assert len([tag for tag, _ in reader.tags if tag == "script"]) == 3
    assert EVIL in reader.texts("th")
    content = next(t for tag, a, t in reader.blocks if a.get("type") == "application/json")
    assert not set("<>&\u2028\u2029") & set(content)
    records = [r for rows in json.loads(content)["datasets"].values() for r in rows]
    assert EVIL in {r.get("model") for r in records}


def test_a_missing_cell_says_why_on_hover_and_in_the_list(written):
    text = written[0].read_text(encoding="utf-8")
    assert '<span class="absent" title="ran out of memory at batch 32">' in text
    assert "switch_mini, peak memory, training: ran out of memory at batch 32" in text


def test_says_what_was_measured_where(written):
    text = written[0].read_text(encoding="utf-8")
    for fact in ("Abacus 9000, 2 cores", "torch_eager, float32, 2 threads", "recipe demo, seed 0", "2025-11-21",
                 "torch 2.14.1", "commit 0123abc", "3 taken while others used the machine"):  # fmt: skip
        assert fact in text


def test_several_numbers_of_tokens_lead_the_page_then_the_claims_then_accuracy_over_memory(tmp_path, monkeypatch):
    quick_pictures(monkeypatch)
    specs = [resolve(f"vix_{kind}_patch1_{side}") for kind in ("vit", "vil") for side in (16, 32)]
    costs = {"peak_bytes_train": "B", "params": "1", "top1": "1"}
    rows = [
        Measurement(
            model=spec.name,
            indicator=name,
            unit=unit,
            value=0.1 * at if unit == "1" else 1e6 * at,
            conditions=Conditions(spec=spec.key),
            origin=Origin(how="measured"),
        )
        for name, unit in costs.items()
        for at, spec in enumerate(specs, start=1)
    ]
    with Store(tmp_path / "vix.sqlite") as store:
        store.append(rows, specs)
        claim = Claim(paper="p", says="s", where="w", first=Side("a", (1.0,)), second=Side("b", (2.0,)))
        text = page.write(store, tmp_path / "out", [claim])[0].read_text(encoding="utf-8")
    assert re.findall('<section id="([a-z]+)"', text)[:5] == ["measured", "tokens", "claims", "memory", "pareto"]
    assert re.search('<p class="verdict">Against softmax attention', text)
    assert "Pareto-optimal for top-1 accuracy × parameters" in text  # said in that section instead


def test_a_store_of_one_size_begins_with_its_front_as_before(written):
    sections = re.findall('<section id="([a-z-]+)"', written[0].read_text(encoding="utf-8"))
    leading = ["measured", "pareto", "dominance", "pairs", "disagree", "correlate", "carried", "fit", "memory"]
    assert sections == [*leading, "per-cost", "curves", "more", "all"]


def test_says_from_which_seeds_means_are_taken(sample_store, tmp_path, monkeypatch):
    quick_pictures(monkeypatch)
    rows = [row for name in ("top1", "params") for row in sample_store.rows(name)]
    again = [replace(row, conditions=replace(row.conditions, seed=1), value=0.99 * (row.value or 0))
             for row in sample_store.rows("top1")]  # fmt: skip
    with Store(tmp_path / "seeds.sqlite") as store:
        store.append([*rows, *again], sample_store.specs().values())
        text = page.write(store, tmp_path / "out")[0].read_text(encoding="utf-8")
    assert "recipe demo, seeds 0 and 1" in text
    assert "36 of 12 models and 2 indicators" in text
    assert "top-1 accuracy, mean of 2 seeds" in text


def test_figures_are_written_as_svg_and_png(sample_store, tmp_path):
    with Store(tmp_path / "small.sqlite") as store:
        rows = [row for name in ("top1", "macs", "params") for row in sample_store.rows(name)]
        store.append(rows, sample_store.specs().values())
        paths = page.write(store, tmp_path / "out", pictures="all")
    names = {path.relative_to(tmp_path / "out").as_posix() for path in paths}
    assert {"index.html", "figures/pareto-top1-macs.svg", "figures/pareto-top1-params.png"} <= names
    for path in paths[1:]:
        assert path.read_bytes().startswith(b"<svg" if path.suffix == ".svg" else b"\x89PNG")
    svg = (tmp_path / "out/figures/pareto-top1-macs.svg").read_text(encoding="utf-8")
    assert "multiply-accumulates (millions)" in svg


def test_by_default_each_figure_has_the_pictures_of_what_the_page_shows_first(written):
    names = [path.stem for path in written if path.suffix == ".svg"]
    assert [name for name in names if name.startswith("pareto")] == ["pareto-top1-latency_s"]
    assert {"pairs", "disagreement"} <= set(names)
    reader = Reader(written[0].read_text(encoding="utf-8"))
    content = json.loads(next(text for tag, a, text in reader.blocks if a.get("type") == "application/json"))
    assert content["pictured"] == names
    assert "pareto-top1-macs" in content["charts"]  # drawn by the page


def test_without_pictures_there_is_the_page_alone(sample_store, tmp_path):
    paths = page.write(sample_store, tmp_path / "out", pictures="none")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [path.name for path in paths] == ["index.html"]


def test_many_recipes_make_no_more_figures_than_can_be_looked_at_and_the_page_says_which(tmp_path):
    rows = [
        Measurement(
            model=f"m{at}",
            indicator=indicator,
            unit=unit,
            value=(1 + at) * (0.01 if indicator == "top1" else 1e6) + number,
            conditions=Conditions(spec=f"m{at}", recipe=f"recipe {number}", data="d", split="val"),
            origin=Origin(how="trained"),
        )
        for number in range(20)
        for indicator, unit in (("top1", "1"), ("peak_bytes_train", "B"))
        for at in range(4)
    ]
    with Store(tmp_path / "many.sqlite") as store:
        store.append([replace(row, value=row.value / 100) if row.unit == "1" else row for row in rows])
        text = page.write(store, tmp_path / "out", pictures="none")[0].read_text(encoding="utf-8")
    reader = Reader(text)
    content = json.loads(next(text for tag, a, text in reader.blocks if a.get("type") == "application/json"))
    assert sum(name.startswith("pareto-") for name in content["charts"]) == 3 * 12
    assert len(content["charts"]) < 70
    assert "foremost 3 accuracies and 12 costs of 20 accuracies and 20 costs" in text
    assert len([a for tag, a in reader.tags if tag == "option" and "data-title" in a]) == 2 * 40  # any two of them


def test_a_store_of_one_published_row_has_a_page(tmp_path):
    row = Measurement(
        model="m",
        indicator="top1",
        unit="1",
        value=0.7,
        conditions=Conditions(source="t"),
        origin=Origin(how="published"),
    )
    with Store(tmp_path / "one.sqlite") as store:
        store.append([row])
        paths = page.write(store, tmp_path / "out")
    assert [path.name for path in paths] == ["index.html"]
    assert "none with a cost yet" in paths[0].read_text(encoding="utf-8")


def test_an_empty_store_is_refused_with_what_to_do(tmp_path):
    with Store(tmp_path / "empty.sqlite") as store, pytest.raises(UserError, match="paretovit measure"):
        page.write(store, tmp_path / "out")


def test_a_place_that_cannot_be_written_is_one_line(sample_store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the report"):
        page.write(sample_store, tmp_path / "file" / "out")


def test_any_two_indicators_share_one_chart_whose_options_say_how_to_draw_their_axes(written):
    reader = Reader(written[0].read_text(encoding="utf-8"))
    content = json.loads(next(text for tag, a, text in reader.blocks if a.get("type") == "application/json"))
    chart = content["charts"]["pairs"]
    assert {param["name"] for param in chart["params"]} >= {"x_key", "y_key", "x_sign", "y_sign"}
    options = [a for tag, a in reader.tags if tag == "option" and "data-title" in a]
    fields = {field for name in chart["uses"] for record in content["datasets"][name] for field in record}
    assert {a["value"] for a in options} <= fields
    assert {a["data-sign"] for a in options} == {"1", "-1"}
    assert all(a["data-title"].endswith(("lower is better", "higher is better")) for a in options)
