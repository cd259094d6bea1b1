"""Runs every benchmark, prints a table and writes .bench/results.json."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Each has main(argv), which measures and returns a dict of results.
BENCHMARKS = {"scale": [], "apphub": [], "replay": [], "stream": [], "api": [], "wrapper": [], "takeover": []}
LARGE: dict[str, list[str]] = {"scale": ["--large"], "simulated": []}


def add(figures: dict[str, float], path: Path) -> dict[str, float]:
    """Add figures to the results file, leaving those of other benchmarks; return all."""
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | figures, indent=2, sort_keys=True) + "\n")
    return known | figures


def main() -> None:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Example: python tests/bench/run.py scale")
    parser.add_argument("benchmark", nargs="*", metavar="|".join(BENCHMARKS), help="default: all")
    parser.add_argument("--large", action="store_true", help="those that take many hosts instead")
    options = parser.parse_args()
    chosen = LARGE if options.large else BENCHMARKS
    figures: dict[str, float] = {}
    for name in options.benchmark or chosen:
        if name not in chosen:
            parser.error(f"{name} is none of {', '.join(chosen)}")
        print(f"== {name}", file=sys.stderr)
        figures = add(importlib.import_module(name).main(chosen[name]), ROOT / ".bench" / "results.json")
    width = max(map(len, figures))
    for key, value in sorted(figures.items()):
        print(f"{key.ljust(width)}  {value}")


if __name__ == "__main__":
    main()
