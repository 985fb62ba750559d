"""The changes between two builds, for each scenario, and the resulting rows."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .environment import (
    Inputs,
    change_distribution,
    change_source,
    make_project,
    make_venv,
    refresh,
    restore_distribution,
    restore_source,
    split,
    unpack,
)
from .running import copy, remove, size_of
from .tools import COLD, WARM, IpoOci, Tool

if TYPE_CHECKING:
    from pathlib import Path

    from .running import Run

SCENARIOS = {
    COLD: "no cache, nothing built before",
    "unchanged": "built before, nothing changed",
    "source": "built before, one line of the source changed",
    "distribution": "built before, one small distribution has another version",
    "checkout": "a fresh checkout and a fresh environment at other paths, of the same wheels; the cache is warm",
}


@dataclass
class Row:
    """The runs of one tool in one scenario."""

    scenario: str
    tool: str
    runs: list[Run] = field(default_factory=list)
    size: int = 0

    def median(self, what: str) -> float:
        return float(statistics.median(getattr(run, what) for run in self.runs))

    def summary(self) -> dict[str, object]:
        return {
            "scenario": self.scenario,
            "tool": self.tool,
            "seconds": self.median("seconds"),
            "processor_seconds": self.median("processor"),
            "peak_bytes": self.peak(),
            "image_bytes": self.size,
            "all_seconds": [run.seconds for run in self.runs],
        }

    def peak(self) -> int:
        return max(run.peak for run in self.runs)


class Bench:
    """Runs tools in turn, so other load affects all of them alike."""

    def __init__(self, work: Path, wheels: Path, tools: list[Tool], scenarios: list[str]) -> None:
        self.work = work
        self.wheels = wheels
        self.tools = tools
        self.scenarios = scenarios
        self.rows: dict[tuple[str, str], Row] = {}
        self.inputs = Inputs.under(work)
        self.entries = 0
        self.bytes = 0
        self.changes = 0

    def prepare(self) -> None:
        """Creates the inputs: a project, its environment, and the image's tree for the other tools."""
        make_project(self.inputs.project)
        make_venv(self.inputs.venv, self.wheels)
        ours = self.tools[0]
        assert isinstance(ours, IpoOci)
        ours.forget()
        ours.build(self.inputs)
        tree = self.work / "tree"
        unpack(ours.layout, tree)
        split(tree, self.inputs.parts)
        refresh(self.inputs)
        self.entries = sum(1 for _ in self.inputs.parts.rglob("*"))
        self.bytes = size_of(self.inputs.parts)

    def run(self, number: int) -> None:
        """Runs all scenarios once. Each undoes its change, so all begin with the same state."""
        for tool in self.tools:
            tool.forget()
            # The build without a cache fills the cache of the others.
            if COLD in self.scenarios or set(self.scenarios) & set(tool.scenarios):
                self._build(tool, COLD, self.inputs)
        for scenario in (scenario for scenario in WARM if scenario in self.scenarios):
            inputs = self.inputs
            self.changes += 1
            if scenario == "source":
                change_source(inputs, self.changes)
            elif scenario == "distribution":
                change_distribution(inputs, self.wheels, self.changes)
            elif scenario == "checkout":
                inputs = self._checkout(number)
            for tool in self.tools:
                if scenario in tool.scenarios:
                    self._build(tool, scenario, inputs)
            if scenario == "source":
                restore_source(inputs)
            elif scenario == "distribution":
                restore_distribution(inputs, self.wheels)
            elif scenario == "checkout":
                remove(inputs.project.parent)

    def _checkout(self, number: int) -> Inputs:
        inputs = Inputs.under(self.work / f"elsewhere-{number}")
        make_project(inputs.project)
        make_venv(inputs.venv, self.wheels)
        copy(self.inputs.parts, inputs.parts)
        # As in a checkout: the same bytes with new times.
        for path in (inputs.parts / "source").rglob("*"):
            path.touch()
        refresh(inputs)
        return inputs

    def _build(self, tool: Tool, scenario: str, inputs: Inputs) -> None:
        built = tool.build(inputs)
        if scenario not in self.scenarios:
            return
        for label, run in built.items():
            row = self.rows.setdefault((scenario, label), Row(scenario, label))
            row.runs.append(run)
            # The last line of a tool is the whole build; only then the image exists.
            row.size = tool.size() if label == list(built)[-1] else 0
            print(f"  {scenario:13}{label:24}{run.seconds:8.2f} s", file=sys.stderr)

    def by_scenario(self) -> list[tuple[str, list[Row]]]:
        return [
            (scenario, [row for (of, _), row in self.rows.items() if of == scenario])
            for scenario in SCENARIOS
            if scenario in self.scenarios
        ]
