"""The command `slurmscale`: a thin skin over the library; the only part that prints and exits."""

from __future__ import annotations

from slurmscale.cli.app import app, main

__all__ = ["app", "main"]
