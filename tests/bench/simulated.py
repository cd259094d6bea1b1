"""Benchmark of the control machine alone: 100 and 1,000 simulated nodes that are right already.

    python tests/bench/simulated.py [--few 100] [--many 1000]

Nodes and controller are a connection plugin (connection_plugins/simulated.py), which answers modules at once. The
AppHub is a thread of this process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from connection_plugins.simulated import PACKAGES
from lab import Cost, Inventory

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGINS = Path(__file__).parent / "connection_plugins"
_PACKAGES = {name: {version: {"arch": "x86_64", "file": "a.rpm", "sha256": "0"}} for name, version in PACKAGES.items()}
CATALOG = {"format": 1, "repositories": {"rpm/el9": {"packages": _PACKAGES}}}


class _AppHub(BaseHTTPRequestHandler):
    """Answers with the catalog, whatever it is asked for."""

    def do_GET(self) -> None:
        content = json.dumps(CATALOG).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keep the output for the figures."""


@contextlib.contextmanager
def apphub() -> Iterator[str]:
    """Serve the packages that the nodes have; return the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _AppHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def fleet(count: int) -> Iterator[Inventory]:
    """Return the inventory of so many nodes, which are right."""
    names = [f"n{number:04}" for number in range(1, count + 1)]
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder, apphub() as address:
        state, hosts = Path(folder) / "fleet.json", Path(folder) / "hosts.yml"
        state.write_text(json.dumps({"names": names, "files": {}}))
        simulated = {
            "ansible_connection": "simulated",
            "ansible_python_interpreter": sys.executable,
            "simulated_fleet": str(state),
            "apphub_client_urls": [address],
            "apphub_insecure": True,
        }
        groups = {"slurm_controllers": {"hosts": {"ctl1": {}}}, "slurm_nodes": {"hosts": {name: {} for name in names}}}
        hosts.write_text(yaml.safe_dump({"all": {"vars": simulated, "hosts": {"localhost": {}}, "children": groups}}))
        inventory = Inventory(hosts)
        # What this writes on one node, all of them have.
        scale_up(inventory, nodes=names[0])
        yield inventory


def scale_up(inventory: Inventory, **variables: Any) -> Cost:
    """Scale up, by default all nodes; return what it cost."""
    return inventory.playbook("playbooks/scale_up.yml", variables=variables, ANSIBLE_CONNECTION_PLUGINS=str(PLUGINS))


def measure(count: int) -> Cost:
    """Return what a run costs on so many nodes that need nothing."""
    with fleet(count) as inventory:
        cost = scale_up(inventory)
        if f"{count} of {count} nodes succeeded" not in (log := inventory.log.read_text()) or " changed=1 " in log:
            wrong = [
                line for line in log.splitlines() if re.search(r"changed=[1-9]|failed(?!=0)|fatal|succeeded", line)
            ]
            sys.exit("not all simulated nodes were right:\n" + "\n".join(line[:300] for line in wrong[:40]))
        print(
            f"  {count} right nodes: {cost.seconds:.0f} s, {cost.cpu:.1f} s of CPU, {cost.pss_mb:.0f} MB",
            file=sys.stderr,
        )
        return cost


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Measure few and many nodes and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--few", type=int, default=100, help="nodes to compare with (default: 100)")
    parser.add_argument("--many", type=int, default=1000, help="nodes (default: 1000)")
    options = parser.parse_args(argv)
    few, many = measure(options.few), measure(options.many)
    return {
        "growth_1000_nodes": round((many.cpu / options.many) / (few.cpu / options.few), 2),
        "control_rss_mb_1000_nodes": round(many.pss_mb),
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
