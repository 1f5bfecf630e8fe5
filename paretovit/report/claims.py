"""The section of the page about what papers say. Every word passes through `escape`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from paretovit.analysis.claims import Claim, Said, Side, tally


def claims_section(claims: Sequence[Claim]) -> str:
    """For every claim its pairs of models: ours, the difference, the verdict, and what the paper prints."""
    if not claims:
        return ""
    counts = tally(claims)
    parts = []
    for paper, says, where in dict.fromkeys((claim.paper, claim.says, claim.where) for claim in claims):
        of = [claim for claim in claims if (claim.paper, claim.says, claim.where) == (paper, says, where)]
        body = "".join(_line(claim) for claim in of)
        parts.append(
            f"<h3>{escape(says)}</h3><p>{escape(paper)}, tried on {escape(where)}: {_told(tally(of))}.</p>"
            '<div class="scroll"><table><thead><tr><th class="text">first</th><th class="text">second</th>'
            '<th>first, ours<span class="unit">%</span></th><th>second, ours<span class="unit">%</span></th>'
            '<th>seeds</th><th>first less second<span class="unit">percentage points, 95%</span></th>'
            '<th class="text">verdict</th><th>printed by the paper<span class="unit">%</span></th></tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )
    return (
        '<section id="claims"><h2>The paper’s claims, tried here</h2>'
        f"<p>Of {len(claims)} comparisons {_told(counts)}. Ours are means over seeds, of top-1 accuracy where the "
        "claim names nothing else, ± half the 95% Student interval of the mean, with the best seed beside. A claim "
        "holds or is contradicted where the 95% interval of the difference lies on one side of zero, or of the bound "
        "that it states, and is open where it reaches over that or where there is a single seed; that no other is "
        "better beyond the noise holds unless one is, with a tie where the two are not told apart. The interval is "
        "Welch’s, or Student’s of the differences by seed where both come from the same parents. Of twenty differences "
        "that do not exist, about one is claimed by chance. The paper’s numbers are those of its full size and its "
        "best of three runs; “!” marks where they go against its own words.</p>"
        f"{''.join(parts)}</section>"
    )


def _told(counts: Mapping[Said, int]) -> str:
    words: dict[Said, tuple[str, str]] = {
        "holds": ("holds", "hold"),
        "holds (tie)": ("holds as a tie", "hold as ties"),
        "contradicted": ("is contradicted", "are contradicted"),
        "open": ("stays open", "stay open"),
    }
    said = [f"{count} {words[name][count != 1]}" for name, count in counts.items() if count]
    return ", ".join(said)


def _line(claim: Claim) -> str:
    by, (low, high) = claim.by
    between = f' <span class="spread">{_signed(low)} to {_signed(high)}</span>' if math.isfinite(high) else ""
    sides = (claim.first, claim.second)
    seeds = " and ".join(dict.fromkeys(str(len(side.values)) for side in sides))
    seeds += "" if claim.repeats == "seeds" else f" {claim.repeats}"
    printed = ", ".join("–" if side.printed is None else f"{side.printed:.1f}" for side in sides)
    against = " !" if claim.printed_bears_out is False else ""
    return (
        f'<tr><th scope="row">{escape(claim.first.model)}</th><td class="text">{escape(claim.second.model)}</td>'
        f"{''.join(f'<td>{_ours(side)}</td>' for side in sides)}<td>{seeds}</td><td>{_signed(by)}{between}</td>"
        f'<td class="text {claim.verdict}">{claim.said}</td><td>{printed}{against}</td></tr>'
    )


def _signed(value: float) -> str:
    """To one decimal, with the sign of what is shown: +0.0, not −0.0."""
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")


def _ours(side: Side) -> str:
    low, high = side.interval
    best = f"±{(high - low) / 2:.1f}, best {side.best:.1f}"
    spread = f' <span class="spread">{best}</span>' if math.isfinite(high) else ""
    return f"{side.mean:.1f}{spread}"
