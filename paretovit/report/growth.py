"""What the page says of how cost grows with the number of tokens."""

from __future__ import annotations

import math
from collections.abc import Collection
from html import escape

from paretovit.analysis.intervals import interval
from paretovit.measurement import Measurement
from paretovit.report.headings import Heading, Sheet, described, short, slug
from paretovit.report.numbers import number
from paretovit.report.sections import options, slot
from paretovit.report.series import Growth, about, grown_costs, growths, said
from paretovit.report.verdict import listed
from paretovit.spec import Stage

GEMM_SHARE, MIXER = "gemm_share", "mixer"  # indicator and part of the rows that `benchmarks/bm_gemm_share.py` makes

_TABLED = 4  # costs of the table
_NAMED = 6  # architectures that the headline names one by one
_TIME, _MEMORY = ("latency_s", "train_step_s"), ("peak_bytes_train", "peak_bytes_infer")


def headline(sheet: Sheet) -> str:
    """From how many tokens on which architecture costs less than softmax attention, in time and in memory; "" for a
    sheet that does not have both at several numbers of tokens."""
    costs = [h for h in grown_costs(sheet) if _compared(sheet, h)]
    chosen = [found[0] for names in (_TIME, _MEMORY) if (found := [h for h in costs if h.column.indicator in names])]
    chosen = chosen or costs[:1]
    if not chosen:
        return ""
    device = chosen[0].column.conditions.device
    told = "; ".join(_sentence(sheet, h, chosen) for h in chosen)
    return f"Against softmax attention as one operator{f', on {device}' if device else ''}: {told}."


def tokens_section(sheet: Sheet, charts: Collection[str]) -> str:
    """The figure with a choice of cost, a table of where each architecture crosses softmax attention, and what share
    of the machine's matrix-product rate each mixer reaches; "" for a sheet with none of them."""
    costs = [h for h in grown_costs(sheet) if f"tokens-{slug(sheet, h)}" in charts]
    parts = (_grown(sheet, costs, charts) if costs else "") + _shares(sheet)
    return f'<section id="tokens"><h2>How cost grows with the number of tokens</h2>{parts}</section>' if parts else ""


def _grown(sheet: Sheet, costs: list[Heading], charts: Collection[str]) -> str:
    crossing = (
        "<p>From how many tokens on each costs less than softmax attention, in every time and memory that was "
        "measured; a hollow mark at the right edge: not within the numbers measured.</p>"
        + slot("crossovers-figure", "crossovers")
        if "crossovers" in charts
        else ""
    )
    return (
        "<p>One line per architecture, measured at several sizes of its images or patches; both axes are logarithmic, "
        "so that a cost in proportion to the number of tokens N rises by one decade per decade and a quadratic one by "
        "two. Tokens are the patches of the first stage; a class token is not counted. A click on a family in the "
        "legend brings its lines forward, a second one, or one beside the marks, brings all back; a point under the "
        "pointer tells its numbers.</p>"
        f'<div class="pick"><label>cost <select data-for="tokens-figure">{options(sheet, costs)}</select></label></div>'
        f"{slot('tokens-figure', 'tokens-*', wide=True)}{crossing}{_table(sheet, costs[:_TABLED])}"
    )


def _table(sheet: Sheet, costs: list[Heading]) -> str:
    names = list(dict.fromkeys(growth.series.name for h in costs for growth in growths(sheet, h)))
    heads = "".join(
        f'<th class="text">{escape(short(h, costs))}<span class="unit">less than softmax attention</span></th>'
        "<th>grows as</th>"
        for h in costs
    )
    body = []
    for name in names:
        cells = []
        for h in costs:
            growth = next((g for g in growths(sheet, h) if g.series.name == name), None)
            power = "" if growth is None else f"N<sup>{growth.power:.2f}</sup>"
            cells.append(f'<td class="text">{escape(_told(sheet, growth))}</td><td>{power}</td>')
        body.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    return (
        "<p>From how many tokens on each costs less than softmax attention computed as one operator (the fused kernel, "
        "which never makes the N × N weights), in a model that is otherwise the same. “Less” is beyond the noise: the "
        "intervals are disjoint there and at every larger number measured. Numbers between measured ones are read off "
        "straight lines in the logarithms; nothing is said beyond the measured range. “Grows as” is the slope through "
        "the last three points.</p>"
        '<div class="scroll"><table class="words crossing"><thead><tr><th class="text">architecture</th>'
        f"{heads}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _shares(sheet: Sheet) -> str:
    """A table of the rows of `GEMM_SHARE`, largest first; "" without any."""
    rows = [
        (row, family)
        for column in sheet.table.columns
        if column.indicator == GEMM_SHARE and column.conditions.part == MIXER
        for row, family in zip(sheet.table.measurements(column), sheet.families, strict=True)
        if row is not None and row.value is not None
    ]
    rows.sort(key=lambda pair: pair[0].value or 0.0, reverse=True)
    if not rows:
        return ""
    facts = dict.fromkeys(described(row.conditions, ("device", "threads", "dtype", "batch_size")) for row, _ in rows)
    body = "".join(
        f'<tr><th scope="row">{escape(row.model)}</th><td class="text">{escape(family)}</td>'
        f"<td>{number(row.origin.timing['macs'] / 1e6) if 'macs' in row.origin.timing else ''}</td>"
        f"<td>{_percent(row)}</td></tr>"
        for row, family in rows
    )
    return (
        '<h3 id="gemm-share">Share of the machine’s gemm peak</h3>'
        "<p>How much of the rate at which this machine multiplies large matrices each token mixer reaches: its "
        "multiply-accumulates per second, forward, over those of a product of large square matrices timed in turn "
        f"with it ({escape(listed(list(facts)))}). A mixer with many multiply-accumulates and a low share is slower "
        "than it need be; one with few, such as pooling, moves bytes, and its share says nothing of how well it is "
        "written.</p>"
        '<div class="scroll"><table><thead><tr><th class="text">mixer</th><th class="text">family</th>'
        '<th>multiply-accumulates<span class="unit">of one call, millions</span></th>'
        '<th>share of the gemm peak<span class="unit">median, and its interval</span></th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _percent(row: Measurement) -> str:
    assert row.value is not None
    low, high = interval(row)
    if row.origin.timing.get("contended"):
        return f'<span class="busy" title="the machine was busy: claims nothing">{100 * row.value:.1f}%</span>'
    around = f' <span class="spread">{100 * low:.1f} to {100 * high:.1f}</span>' if math.isfinite(high - low) else ""
    return f"{100 * row.value:.1f}%{around}"


def _told(sheet: Sheet, growth: Growth | None) -> str:
    if growth is None:
        return "not measured at two numbers of tokens"
    if growth.is_softmax:
        spec = sheet.table.lines[growth.lines[0]].spec
        fewer = spec is not None and any(stage.sequence != Stage.sequence for stage in spec.stages)
        return "is softmax attention, among fewer tokens" if fewer else "is softmax attention"
    return said(growth) or "nothing to compare it with here"


def _sentence(sheet: Sheet, heading: Heading, among: list[Heading]) -> str:
    """ "latency is less for vil at every number of tokens measured, for vip from about 860 on, not for vin up to
    16,384 tokens"; of many that cross, the first and the last are named, and of many others their number."""
    compared = _compared(sheet, heading)
    by_kind = {
        kind: [g for g in compared if g.against is not None and g.against.kind == kind]
        for kind in ("always", "from", "never")
    }
    parts = []
    if always := by_kind["always"]:
        parts.append(f"for {_who(always)} at every number of tokens measured")
    if later := sorted(by_kind["from"], key=_size):
        first, last = (f"{about(g)} ({g.series.name})" for g in (later[0], later[-1]))
        if len(later) > _NAMED:
            parts.append(f"for {len(later)} from between {first} and {last} tokens on")
        else:
            parts.append(f"for {listed([f'{g.series.name} from {about(g)}' for g in later])} tokens on")
    if never := by_kind["never"]:
        most = max(g.common[-1] for g in never)
        parts.append(f"not for {_who(never)} up to {most:,} tokens")
    return f"{short(heading, among)} is less {', '.join(parts)}"


def _who(found: list[Growth]) -> str:
    return listed([g.series.name for g in found]) if len(found) <= _NAMED else f"{len(found)} architectures"


def _size(growth: Growth) -> float:
    assert growth.against is not None
    return growth.against.size


def _compared(sheet: Sheet, heading: Heading) -> list[Growth]:
    return [growth for growth in growths(sheet, heading) if growth.against is not None]
