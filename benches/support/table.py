"""Tables of figures for readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .scenarios import Row


def seconds(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def ratio(value: float) -> str:
    return f"{value:.0f}×" if value >= 20 else f"{value:.1f}×" if value >= 2 else f"{value:.2f}×"


def comparison(scenarios: list[tuple[str, list[Row]]], meaning: dict[str, str]) -> str:
    """Returns a block for each scenario; ratios are relative to its first row."""
    lines = []
    for scenario, rows in scenarios:
        if not rows:
            continue
        lines.append(f"{scenario}: {meaning[scenario]}")
        lines.append(f"    {'':24}{'s':>9}{'ratio':>8}{'CPU s':>9}{'ratio':>8}{'peak MB':>9}{'image MB':>10}")
        for row in rows:
            line = f"    {row.tool:24}"
            for what in ("seconds", "processor"):
                mine = row.median(what)
                line += f"{seconds(mine):>9}{ratio(mine / max(rows[0].median(what), 1e-9)):>8}"
            size = f"{row.size / 1e6:.1f}" if row.size else "–"
            lines.append(f"{line}{row.peak() / 1e6:9.1f}{size:>10}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def write_between(document: Path, name: str, text: str) -> None:
    """Replaces the text between the document's marks of this name with `text` as a code block."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    old = document.read_text()
    if old.count(begin) != 1 or old.count(end) != 1:
        raise SystemExit(f"{document} has no marks `{begin.strip()}` and `{end}`, once each")
    head, _, rest = old.partition(begin)
    _, _, tail = rest.partition(end)
    document.write_text(f"{head}{begin}\n```text\n{text.rstrip()}\n```\n\n{end}{tail}")
