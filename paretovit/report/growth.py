"""What the page says of how cost grows with the number of tokens."""

from __future__ import annotations

from collections.abc import Collection
from html import escape

from paretovit.report.headings import Heading, Sheet, slug
from paretovit.report.sections import slot
from paretovit.report.series import Growth, about, grown_costs, growths, said
from paretovit.report.verdict import listed

_TABLED = 4  # costs of the table
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
    """The figure with a choice of cost, and a table of where each architecture crosses softmax attention."""
    costs = [h for h in grown_costs(sheet) if f"tokens-{slug(sheet, h)}" in charts]
    if not costs:
        return ""
    options = "".join(f'<option value="{slug(sheet, h)}">{escape(h.title)}</option>' for h in costs)
    return (
        '<section id="tokens"><h2>How cost grows with the number of tokens</h2>'
        "<p>One line per architecture, measured at several sizes of its images or patches; both axes are logarithmic, "
        "so that a cost in proportion to the number of tokens N rises by one decade per decade and a quadratic one by "
        "two. Tokens are the patches of the first stage; a class token is not counted.</p>"
        f'<div class="pick"><label>cost <select data-for="tokens-figure">{options}</select></label></div>'
        f"{slot('tokens-figure', 'tokens-*', wide=True)}{_table(sheet, costs[:_TABLED])}</section>"
    )


def _table(sheet: Sheet, costs: list[Heading]) -> str:
    names = list(dict.fromkeys(growth.series.name for h in costs for growth in growths(sheet, h)))
    heads = "".join(
        f'<th class="text">{escape(_name(h, costs))}<span class="unit">less than softmax attention</span></th>'
        "<th>grows as</th>"
        for h in costs
    )
    body = []
    for name in names:
        cells = []
        for h in costs:
            growth = next((g for g in growths(sheet, h) if g.series.name == name), None)
            power = "" if growth is None else f"N<sup>{growth.power:.2f}</sup>"
            cells.append(f'<td class="text">{escape(_told(growth))}</td><td>{power}</td>')
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


def _told(growth: Growth | None) -> str:
    if growth is None:
        return "not measured at two numbers of tokens"
    if growth.is_softmax:
        return "is softmax attention"
    return said(growth) or "nothing to compare it with here"


def _name(heading: Heading, among: list[Heading]) -> str:
    """As short as tells it apart among these."""
    return heading.name if [h.name for h in among].count(heading.name) == 1 else heading.title


def _sentence(sheet: Sheet, heading: Heading, among: list[Heading]) -> str:
    """ "latency is less for vil at every number of tokens measured, for vip from about 860 on, not for vin up to
    16,384 tokens" """
    compared = _compared(sheet, heading)
    by_kind = {
        kind: [g for g in compared if g.against is not None and g.against.kind == kind]
        for kind in ("always", "from", "never")
    }
    parts = []
    if always := by_kind["always"]:
        parts.append(f"for {listed([g.series.name for g in always])} at every number of tokens measured")
    if later := by_kind["from"]:
        parts.append(f"for {listed([f'{g.series.name} from {about(g)}' for g in later])} tokens on")
    if never := by_kind["never"]:
        most = max(g.common[-1] for g in never)
        parts.append(f"not for {listed([g.series.name for g in never])} up to {most:,} tokens")
    return f"{_name(heading, among)} is less {', '.join(parts)}"


def _compared(sheet: Sheet, heading: Heading) -> list[Growth]:
    return [growth for growth in growths(sheet, heading) if growth.against is not None]
