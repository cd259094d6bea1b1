"""Runs every benchmark, prints a table and writes .bench/results.json."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Each has main(argv), which measures and returns a dict of results.
BENCHMARKS = ("scale", "replay", "wrapper")


def main() -> None:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Example: python tests/bench/run.py scale")
    parser.add_argument("benchmark", nargs="*", default=list(BENCHMARKS), metavar="|".join(BENCHMARKS))
    results = ROOT / ".bench" / "results.json"
    results.parent.mkdir(exist_ok=True)
    figures = json.loads(results.read_text()) if results.exists() else {}
    for name in parser.parse_args().benchmark:
        if name not in BENCHMARKS:
            parser.error(f"{name} is none of {', '.join(BENCHMARKS)}")
        print(f"== {name}", file=sys.stderr)
        figures.update(importlib.import_module(name).main([]))
        results.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    width = max(map(len, figures))
    for key, value in sorted(figures.items()):
        print(f"{key.ljust(width)}  {value}")


if __name__ == "__main__":
    main()
