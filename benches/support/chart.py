"""Draws the comparison: bars on a logarithmic scale, readable on light and on dark."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from .table import ratio, seconds

if TYPE_CHECKING:
    from .scenarios import Row

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.scenario { font-weight: 600; }
.small, .tick { font-size: 11px; fill: #59636e; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.ours { fill: #0969da; }
.peer { fill: #9198a1; }
.part { fill: #d1d9e0; }
.back { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .small, .tick { fill: #9198a1; }
  .grid { stroke: #3d444d; }
  .ours { fill: #4493f8; }
  .peer { fill: #656c76; }
  .part { fill: #3d444d; }
  .back { fill: #0d1117; }
}
"""

_WIDTH, _LEFT, _RIGHT, _TOP = 860, 190, 130, 66
_BAR, _STEP, _GAP = 16, 22, 34


def chart(scenarios: list[tuple[str, list[Row]]], meaning: dict[str, str], title: str, note: str) -> str:
    scenarios = [(scenario, rows) for scenario, rows in scenarios if rows]
    values = [row.median("seconds") for _, rows in scenarios for row in rows]
    low = 10 ** math.floor(math.log10(min(values)))
    high = 10 ** math.ceil(math.log10(max(values)))
    across = _WIDTH - _LEFT - _RIGHT

    def at(value: float) -> float:
        return _LEFT + across * (math.log10(value / low) / max(math.log10(high / low), 1))

    bottom = _TOP + sum(_GAP + _STEP * len(rows) for _, rows in scenarios)
    height = bottom + 36
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
        f' viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{height}" rx="8"/>',
        f'<text class="title" x="16" y="28">{escape(title)}</text>',
        f'<text class="small" x="16" y="47">{escape(note)}</text>',
    ]
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        x = at(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{10.0**power:g} s</text>')
    y = float(_TOP)
    for scenario, rows in scenarios:
        y += _GAP - 12
        # Filled with the background color, so no grid line crosses the text.
        heading = f"{scenario}: {meaning[scenario]}"
        parts.append(f'<rect class="back" x="12" y="{y - 13:.0f}" width="{7.1 * len(heading):.0f}" height="18"/>')
        parts.append(
            f'<text x="16" y="{y:.0f}"><tspan class="scenario">{escape(scenario)}</tspan>'
            f'<tspan class="small" dx="8">{escape(meaning[scenario])}</tspan></text>'
        )
        y += 12
        for row in rows:
            value = row.median("seconds")
            kind = "ours" if row.tool.startswith("ipo-oci") else "peer" if row.size else "part"
            said = f"{seconds(value)} s"
            if row is not rows[0]:
                said += f"  ({ratio(value / rows[0].median('seconds'))})"
            middle = y + _BAR / 2 + 4.5
            parts.append(f'<text x="{_LEFT - 8}" y="{middle:.1f}" text-anchor="end">{escape(row.tool)}</text>')
            parts.append(
                f'<rect class="{kind}" x="{_LEFT}" y="{y:.0f}" width="{max(at(value) - _LEFT, 2):.1f}"'
                f' height="{_BAR}" rx="2"/>'
            )
            parts.append(f'<text x="{max(at(value), _LEFT) + 6:.1f}" y="{middle:.1f}">{escape(said)}</text>')
            y += _STEP
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
