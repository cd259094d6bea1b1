"""The operations that runs perform: all that the library, the command and a service have to know of each.

A new option of a playbook is a line in the file of its operation, of which the command, its help and the API are made;
a new operation is an entry there and in `operation.py`, and a command in `cli/commands_from_operations.py`.
"""

from __future__ import annotations

from slurmscale.operations.definition import Definition, Option, Result, Scope, Stage, Uncut
from slurmscale.operations.operation import DEFINITIONS, Operation, of_playbook

__all__ = ["DEFINITIONS", "Definition", "Operation", "Option", "Result", "Scope", "Stage", "Uncut", "of_playbook"]
