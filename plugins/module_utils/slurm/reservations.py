# Apache License 2.0 (see LICENSE)
"""Reads the reservations of a cluster."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional

from ansible_collections.ai_infra.slurm.plugins.module_utils.slurm import commands as slurm


class Reservation(NamedTuple):
    """A reservation; `nodes` is a host list as Slurm writes it."""

    nodes: str
    state: str
    start: str
    end: str


def parse(text: str) -> Dict[str, Reservation]:
    """Read `scontrol --oneliner show reservation`; reservations of no nodes, such as of licenses, are left out."""
    found = {}
    for record in slurm.parse_records(text):
        nodes = record.get("Nodes", "(null)")
        if "ReservationName" in record and nodes != "(null)":
            times = (record.get("StartTime", ""), record.get("EndTime", ""))
            found[record["ReservationName"]] = Reservation(nodes, record.get("State", ""), *times)
    return found


def show(timeout: float = 30, conf: Optional[str] = None) -> Dict[str, Dict[str, object]]:
    """Return all reservations, also those to come, each with its nodes by name."""
    text = slurm.scontrol(["--all", "--oneliner", "show", "reservation"], timeout, conf)
    shown: Dict[str, Dict[str, object]] = {}
    for name, reservation in parse(text).items():
        nodes: List[str] = slurm.expand_hosts(reservation.nodes, conf)
        shown[name] = dict(reservation._asdict(), nodes=nodes)
    return shown
