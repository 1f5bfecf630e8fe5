"""The parts of the page as HTML. Every word from the store passes through `escape`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from textwrap import wrap

from paretovit.analysis.correlate import METHODS
from paretovit.measurement import Conditions, Measurement
from paretovit.report.figures.batch_curve import BatchCurve
from paretovit.report.figures.disagreement import reversals
from paretovit.report.figures.pairs import Pairs, is_log
from paretovit.report.headings import Heading, Sheet, described, slug
from paretovit.report.numbers import number
from paretovit.report.recipes import left_out
from paretovit.report.verdict import listed

_REVERSALS = 10  # rows of the table of reversals
_AT_ONCE = 100  # lines of the table that a page lays out when it opens; the others follow
_PER_COSTS = 2  # of which so many may be about the same two costs; a pair of models is named once
_RECIPES = 8  # that are named in one line
LETTERS = {"x": 110, "y": 62}  # of an axis's title that stand beside a figure in one line


def measured(sheet: Sheet) -> str:
    """What the rows depend on and where they came from, as a list of facts."""
    rows = [row for line in sheet.raw.cells for row in line if row is not None]
    conditions = [row.conditions for row in rows]
    dates = sorted({row.origin.time[:10] for row in rows if row.origin.time})
    versions = sorted({f"{name} {number}" for row in rows for name, number in row.origin.versions.items()})
    machines = [row.origin.machine for row in rows]
    facts = {
        "device": _joined(c.device for c in conditions),
        "machine": _joined(_machine(machine) for machine in machines),
        "runtime": _joined(described(c, ("runtime", "dtype", "threads")) for c in conditions),
        "data": _joined(described(c, ("data",)).removeprefix("data ") for c in conditions),
        "training": _trained(conditions, sheet.recipes),
        "published": _joined(c.source for c in conditions),
        "when": " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "",
        "software": ", ".join([*versions, *(f"commit {c}" for c in sorted({r.origin.commit for r in rows} - {""}))]),
        "rows": _counted(sheet, rows),
    }
    listing = "".join(f"<dt>{term}</dt><dd>{escape(fact)}</dd>" for term, fact in facts.items() if fact)
    told = "".join(
        f"<dt>{escape(h.title)}</dt><dd>{escape(_conditions(h) or 'the model alone')}</dd>" for h in sheet.headings
    )
    return (
        f"<dl>{listing}</dl>"
        "<details><summary>What each number depends on, and how sure it is</summary>"
        "<p>Times are taken in rounds that visit the models in turn. An interval holds 95% of the medians of redrawn "
        "rounds, after dividing by what one anchor model took in the same round, and is never narrower than ±1%, for "
        "that much two processes of one model differ. An accuracy from one seed has the interval that so many test "
        "images allow (Wilson, 95%); from several seeds it is their mean with the interval of the mean (Student, 95%), "
        "and so is whatever else was taken once per seed. "
        "Counts are exact. A time that was taken once, or while others used the machine, has no interval and claims "
        f"nothing.</p><dl>{told}</dl></details>"
    )


def pareto_section(sheet: Sheet, charts: Collection[str], said: str = "") -> str:
    """The figure with a picker for either axis; `said` is the verdict where the page does not begin with it."""
    if not any(name.startswith("pareto") for name in charts):
        return ""
    ys, xs = options(sheet, sheet.figured_qualities), options(sheet, sheet.figured_costs)
    return (
        f'<section id="pareto"><h2>Who is Pareto-optimal</h2>{f"<p><b>{escape(said)}</b></p>" if said else ""}'
        "<p>A model is Pareto-optimal if no other is as good in both respects and better in one. Those models are "
        "ringed and named, and the dashed line joins them: whatever lies off it costs more than it needs to. "
        "Bars show where a value may lie; a hollow mark was taken on a busy machine and claims nothing. "
        "Point at a mark for its numbers.</p>"
        f'<div class="pick"><label>accuracy <select data-for="pareto-figure">{ys}</select></label>'
        f'<label>over cost <select data-for="pareto-figure">{xs}</select></label></div>'
        f"{slot('pareto-figure', 'pareto-*-*', wide=True)}{_left_out(sheet)}</section>"
    )


def _left_out(sheet: Sheet) -> str:
    """Which columns have no figures of their own, and where they are."""
    shown, all_of = (
        [f"{len(qualities)} accuracies", f"{len(costs)} costs"]
        for qualities, costs in (
            (sheet.figured_qualities, sheet.figured_costs),
            (sheet.qualities, sheet.costs),
        )
    )
    if shown == all_of:
        return ""
    return (
        f'<p class="note">Figures like this one are drawn for the foremost {listed(shown)} of {listed(all_of)} that '
        "this store has. The others can be chosen under “Any two indicators”, and are in the table at the end.</p>"
    )


def pairs_section(sheet: Sheet, charts: Collection[str]) -> str:
    """One figure for any two indicators, with a picker for either."""
    drawn = _foremost_pair(sheet)
    if "pairs" not in charts or drawn is None:
        return ""
    ys, xs = (
        "".join(_axis_option(sheet, h, h == chosen) for h in (*sheet.qualities, *sheet.costs)) for chosen in drawn
    )
    return (
        '<section id="pairs"><h2>Any two indicators</h2>'
        "<p>The front between two costs says who is cheap by both: a model that is off every such front has nothing "
        "to be chosen for but its accuracy.</p>"
        f'<div class="pick"><label>up <select data-for="pairs-figure">{ys}</select></label>'
        f'<label>across <select data-for="pairs-figure">{xs}</select></label></div>'
        '<div class="pan"><div class="figure wide" id="pairs-figure" data-chart="pairs" data-pairs></div></div>'
        "</section>"
    )


def per_cost_section(charts: Collection[str]) -> str:
    """Bars of accuracy per parameter, or per multiply-accumulate."""
    names = {"params": "parameter", "macs": "multiply-accumulate"}
    drawn = {name: words for name, words in names.items() if f"accuracy_per_cost-{name}" in charts}
    if not drawn:
        return ""
    return (
        '<section id="per-cost"><h2>What accuracy a unit of cost buys</h2>'
        "<p>Such a ratio rewards small models, whatever they can do, and every cost ranks differently.</p>"
        f"{_radios('per-cost-figure', drawn, 'per ')}{slot('per-cost-figure', 'accuracy_per_cost-*')}</section>"
    )


def fit_section(sheet: Sheet, charts: Collection[str]) -> str:
    """How well a line in multiply-accumulates estimates a measured cost, with a picker for the cost."""
    drawn = [h for h in sheet.costs if f"line_fit-{slug(sheet, h)}" in charts]
    if not drawn:
        return ""
    return (
        '<section id="fit"><h2>What multiply-accumulates foretell</h2>'
        "<p>A rule of thumb takes memory, or time, for a line in the number of operations. Marks off the line are what "
        "it does not know.</p>"
        f'<div class="pick"><label>cost <select data-for="fit-figure">{options(sheet, drawn)}</select></label></div>'
        f"{slot('fit-figure', 'line_fit-*', wide=True)}</section>"
    )


def memory_section(sheet: Sheet, charts: Collection[str]) -> str:
    """Accuracy over the peak memory of training, with a picker for either axis."""
    memories = [h for h in sheet.headings if h.column.indicator == "peak_bytes_train"]
    pairs = [(y, x) for y in sheet.qualities for x in memories]
    drawn = [(y, x) for y, x in pairs if f"accuracy_memory-{slug(sheet, y)}-{slug(sheet, x)}" in charts]
    if not drawn:
        return ""
    ys, xs = (options(sheet, dict.fromkeys(found)) for found in zip(*drawn, strict=True))
    return (
        '<section id="memory"><h2>What accuracy costs in training memory</h2>'
        "<p>Each mark is a model, larger ones have more parameters; bars show where a value may lie. Up and to the "
        "left is better.</p>"
        f'<div class="pick"><label>accuracy <select data-for="memory-figure">{ys}</select></label>'
        f'<label>over <select data-for="memory-figure">{xs}</select></label></div>'
        f"{slot('memory-figure', 'accuracy_memory-*-*', wide=True)}</section>"
    )


def disagreement_section(sheet: Sheet, charts: Collection[str]) -> str:
    """The strongest reversals in words, and how often any two costs reverse an order."""
    if "disagreement" not in charts:
        return ""
    found, agreements = reversals(sheet)
    costs: Counter[tuple[int, int]] = Counter()
    models: set[frozenset[int]] = set()
    lines: list[str] = []
    for one in found:
        pair = frozenset((one.first, one.second))
        if pair in models or costs[one.a, one.b] == _PER_COSTS or len(lines) == _REVERSALS:
            continue
        models.add(pair)
        costs[one.a, one.b] += 1
        first, second = escape(sheet.labels[one.first]), escape(sheet.labels[one.second])
        a, b = escape(sheet.costs[one.a].title), escape(sheet.costs[one.b].title)
        lines.append(
            f"<tr><td>{a}</td><td><b>{first}</b> is {number(one.by_a)} times better</td>"
            f"<td>{b}</td><td><b>{second}</b> is {number(one.by_b)} times better</td></tr>"
        )
    claimed, opposite = sum(a.claimed for a in agreements), sum(a.reversed for a in agreements)
    said = (
        f"Any two costs here put {opposite / claimed:.0%} of the pairs of models in opposite orders, counting only "
        "pairs that both costs tell apart beyond the noise. "
    )
    table = (
        "<p>The strongest contradictions, each pair of models once:</p>"
        '<div class="scroll"><table class="words"><thead><tr><th>by this cost</th><th></th><th>but by this one</th>'
        f"<th></th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )
    return (
        f'<section id="disagree"><h2>Where indicators disagree</h2><p>{said}So a model that is cheap by one of them '
        f"may be dear by another.</p>{table if lines else ''}"
        f"{slot('disagreement-figure', 'disagreement')}</section>"
    )


def correlation_section(charts: Collection[str]) -> str:
    """The square of coefficients with a choice of method."""
    methods = [method for method in METHODS[::-1] if f"correlation-{method}" in charts]
    if not methods:
        return ""
    return (
        '<section id="correlate"><h2>Which indicators can stand in for each other</h2>'
        "<p>1: two indicators put all models in the same order (Pearson: on a straight line). 0: knowing one says "
        "nothing about the other. −1: the reverse order, as for a time and a rate.</p>"
        f"{_radios('correlation-figure', {method: method.capitalize() for method in methods})}"
        f"{slot('correlation-figure', 'correlation-*')}</section>"
    )


def curve_section(sheet: Sheet, charts: Collection[str]) -> str:
    """Throughput over batch size; a picker where there are several throughputs."""
    headings = [h for h in BatchCurve().drawable(sheet) if f"batch_curve-{slug(sheet, h)}" in charts]
    if not headings:
        return ""
    hidden, choices = "" if len(headings) > 1 else " hidden", options(sheet, headings)
    return (
        '<section id="curves"><h2>Throughput over batch size</h2>'
        "<p>The best batch size is found, not given: it is the large mark on each line.</p>"
        f'<div class="pick"{hidden}><label>of <select data-for="curve-figure">{choices}</select></label></div>'
        f"{slot('curve-figure', 'batch_curve-*', wide=True)}</section>"
    )


def table_section(sheet: Sheet) -> str:
    """All numbers: a line per model, sorted by a click on a header, missing cells with their reason."""
    headings = [*sheet.qualities, *sheet.costs]
    headings += [h for h in sheet.headings if h not in headings]
    heads = '<th class="text"><button>model</button></th><th class="text"><button>family</button></th>' + "".join(
        f'<th data-numeric title="{escape(_conditions(h))}"><button>{escape(h.title)}'
        f'<span class="unit">{escape(h.scale.unit)}</span></button></th>'
        for h in headings
    )
    body, reasons = [], []
    known = {at for h in headings for at, row in enumerate(sheet.rows(h)) if row is not None}
    for at, (label, family) in enumerate(zip(sheet.labels, sheet.families, strict=True)):
        if at not in known:
            continue  # only its parts were measured
        cells = "".join(_cell(sheet, h, at) for h in headings)
        body.append(f'<tr><th scope="row">{escape(label)}</th><td class="text">{escape(family)}</td>{cells}</tr>')
        for h in headings:
            row = sheet.rows(h)[at]
            if row is not None and row.value is None:
                reasons.append(f"<li>{escape(label)}, {escape(h.title)}: {escape(row.why)}</li>")
    missing = (
        f"<details><summary>Why {len(reasons)} cell{'s are' if len(reasons) > 1 else ' is'} empty</summary>"
        f"<ul>{''.join(reasons)}</ul></details>"
        if reasons
        else ""
    )
    # inert text costs a browser nothing until it is asked for; escaped cells cannot hold the end of a script
    rest = "".join(body[_AT_ONCE:])
    later = f'<script type="text/html" id="later-rows">{rest}</script>' if rest else ""
    return (
        '<section id="all"><h2>All numbers</h2>'
        "<p>Click a header to sort. Point at a header for its conditions, and at “–” for the reason why there is no "
        "number.</p>"
        '<div class="pick"><label>show models with <input type="search" id="filter" placeholder="name or family">'
        f'</label></div><div class="scroll"><table id="rows"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(body[:_AT_ONCE])}</tbody></table></div>{later}{missing}</section>"
    )


def more_section(titles: dict[str, str]) -> str:
    """Figures that no other section shows, by the name of their file."""
    if not titles:
        return ""
    shown = "".join(f"<h3>{escape(title)}</h3>{slot(name, name)}" for name, title in titles.items())
    return f'<section id="more"><h2>More figures</h2>{shown}</section>'


def _cell(sheet: Sheet, heading: Heading, at: int) -> str:
    row = sheet.rows(heading)[at]
    if row is None:
        return '<td data-value=""></td>'
    if row.value is None:
        return f'<td data-value=""><span class="absent" title="{escape(row.why)}">–</span></td>'
    text, _, spread = heading.scale.around(row.value, *sheet.intervals(heading)[at]).partition(" ")
    if row.origin.timing.get("contended"):
        text = f'<span class="busy" title="taken while others used the machine: claims nothing">{text}</span>'
    spread = f' <span class="spread">{spread}</span>' if spread else ""
    return f'<td data-value="{row.value!r}">{text}{spread}</td>'


def slot(name: str, chart: str, *, wide: bool = False) -> str:
    """Where the page draws a chart; a star in the chart's name stands for the choice of one of the slot's pickers."""
    return (
        f'<div class="pan"><div class="figure{" wide" if wide else ""}" id="{name}" data-chart="{chart}"></div></div>'
        f'<p class="files" data-files="{name}"><span>this figure as <a data-kind="svg">SVG</a> or '
        '<a data-kind="png">PNG</a></span><span hidden><code>paretovit report --pictures all</code> writes this '
        "figure as SVG and PNG, too</span></p>"
    )


def options(sheet: Sheet, headings: Iterable[Heading]) -> str:
    """The choices of a picker, each with its conditions in full under the pointer."""
    return "".join(
        f'<option value="{slug(sheet, h)}" title="{escape(_conditions(h))}">{escape(h.title)}</option>'
        for h in headings
    )


def _radios(figure: str, choices: Mapping[str, str], before: str = "") -> str:
    """A choice among the charts of a figure, the first one taken."""
    made = "".join(
        f'<label><input type="radio" name="{figure}-choice" data-for="{figure}" value="{value}"'
        f"{' checked' if at == 0 else ''}>{before}{words}</label>"
        for at, (value, words) in enumerate(choices.items())
    )
    return f'<fieldset class="pick">{made}</fieldset>'


def _foremost_pair(sheet: Sheet) -> tuple[Heading, Heading] | None:
    """What the figure of any two indicators shows first: up, and across."""
    axes = Pairs().axes(sheet)
    return None if axes is None else (axes[1], axes[0])


def _axis_option(sheet: Sheet, heading: Heading, selected: bool) -> str:
    scale, title = "log" if is_log(sheet, heading) else "linear", "\n".join(wrap(heading.axis, LETTERS["y"]))
    return (
        f'<option value="{heading.key}" title="{escape(_conditions(heading))}" data-title="{escape(title)}" '
        f'data-scale="{scale}" data-sign="{1 if heading.lower_is_better else -1}"{" selected" if selected else ""}>'
        f"{escape(heading.title)}</option>"
    )


def _conditions(heading: Heading) -> str:
    return ", ".join(word for word in (described(heading.column.conditions), heading.seeds) if word)


def _trained(conditions: Sequence[Conditions], recipes: Mapping[str, str]) -> str:
    """Each recipe with the seeds it was run from, "recipe demo, seeds 0, 1 and 2"; then what their short names leave
    out."""
    seeds: dict[str, dict[int, None]] = {}
    for c in conditions:
        found = seeds.setdefault(described(c, ("recipe",), recipes), {})
        if c.seed is not None:
            found[c.seed] = None
    words = []
    for recipe, found in seeds.items():
        said = f"seed{'s' if len(found) > 1 else ''} {listed([str(seed) for seed in sorted(found)])}" if found else ""
        words.append(", ".join(word for word in (recipe, said) if word))
    words = [word for word in words if word]
    more = [f"{len(words) - _RECIPES} more"] if len(words) > _RECIPES else []
    return "; ".join([*words[:_RECIPES], *more, *(f"all of {fields}" for fields in left_out(recipes))])


def _machine(machine: dict[str, object]) -> str:
    memory = machine.get("memory_bytes")
    words = [str(machine.get("system", "")), f"{number(memory / 1e9)} GB of memory" if isinstance(memory, int) else ""]
    return ", ".join(word for word in words if word)


def _counted(sheet: Sheet, rows: list[Measurement]) -> str:
    missing = sum(row.value is None for row in rows)
    busy = sum(bool(row.origin.timing.get("contended")) for row in rows)
    words = [f"{len(rows)} of {len(sheet.table.lines)} models and {len(sheet.headings)} indicators"]
    words += [f"{missing} without a value, each with its reason"] if missing else []
    words += [f"{busy} taken while others used the machine, which claim nothing"] if busy else []
    return "; ".join(words)


def _joined(words: Iterable[str | None]) -> str:
    return listed(list(dict.fromkeys(word for word in words if word)))
