"""Benchmark of a scale-up on the lab: module runs, time against ssh alone, restarts and outage of the controller."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import progress
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "lab-bench"
INVENTORY = ROOT / "inventories" / PREFIX
OLD = "ubuntu1"
FRESH = ["rocky1", "rocky2", "rocky3", "ubuntu2", "ubuntu3", "ubuntu4"]
STARTED = "MESSAGE_ID=39f53479d3a045ac8e11786248231fbf UNIT=slurmctld.service"
POLL = (
    "while :; do t=$(date +%s.%N); timeout 5 scontrol ping >/tmp/ping 2>&1;"
    " echo $t $(grep -c 'is UP' /tmp/ping); sleep 0.2; done"
)


def ansible(*arguments: str, **environment: str) -> float:
    """Run a playbook, its output to a log that is shown only when it fails; return the seconds it took."""
    begun = time.monotonic()
    log = ROOT / ".bench" / "ansible.log"
    with log.open("w") as output:
        done = subprocess.run(
            ["ansible-playbook", *arguments],
            cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output, timeout=600, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"ansible-playbook {' '.join(arguments)} failed:\n{log.read_text()[-6000:]}")
    return time.monotonic() - begun


def lab(action: str, generation: str) -> None:
    """Create or destroy the benchmark's lab."""
    parameters = [
        "-e",
        f"lab_prefix={PREFIX}",
        "-e",
        f"lab_slurm={generation}",
        "-e",
        "lab_rocky_nodes=3",
        "-e",
        "lab_ubuntu_nodes=4",
    ]
    ansible(f"molecule/lab/{action}.yml", *parameters)


def play(name: str, **variables: Any) -> dict[str, Any]:
    """Run one of the product's playbooks; return its seconds and the module runs per host."""
    with tempfile.NamedTemporaryFile(suffix=".json") as counted:
        seconds = ansible(
            "-i", str(INVENTORY / "hosts.yml"), f"playbooks/{name}.yml", "-e", json.dumps(variables),
            ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).parent / "callback_plugins"), MODULE_RUNS_FILE=counted.name,
        )  # fmt: skip
        return {"seconds": seconds, **json.loads(Path(counted.name).read_text())}


def addresses() -> dict[str, str]:
    """Return the addresses of the lab's hosts."""
    groups = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["all"]["children"].values()
    return {name: host["ansible_host"] for group in groups for name, host in group["hosts"].items()}


def controller(command: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command on the controller."""
    ssh = [
        "ssh",
        "-i",
        f"{INVENTORY}/id_ed25519",
        "-o",
        f"UserKnownHostsFile={INVENTORY}/known_hosts",
        f"root@{addresses()['ctl1']}",
    ]
    return subprocess.Popen([*ssh, command], text=True, stdout=subprocess.PIPE, **options)


def ask(command: str) -> str:
    """Return what a command on the controller prints."""
    return controller(command).communicate(timeout=60)[0].strip()


@contextlib.contextmanager
def outage() -> Iterator[dict[str, float]]:
    """Poll the controller five times a second; the longest gap between two answers stands in the result afterwards."""
    found: dict[str, float] = {}
    poll = controller(POLL)
    try:
        time.sleep(1)
        yield found
        time.sleep(1)
    finally:
        poll.terminate()
        lines = [line.split() for line in poll.communicate(timeout=20)[0].splitlines()]
        ask("pkill -f 'while :; do t=' || true")
    up = [float(line[0]) for line in lines if line[1:] == ["1"]]
    steps = [later - earlier for earlier, later in itertools.pairwise(up)]
    # Two answers in a row are some 0.2 s apart; only what is more than that is outage.
    found["seconds"] = round(max(0.0, max(steps) - statistics.median(steps)), 2)


def reset(generation: str) -> None:
    """Make the fresh nodes bare again: their containers anew, and the controller without them."""
    nodes = json.dumps([{"name": name} for name in FRESH])
    subprocess.run(
        ["ansible", "-i", str(INVENTORY / "hosts.yml"), "ctl1", "-m", "ai_infra.slurm.slurm_nodes",
         "-a", json.dumps({"nodes": json.loads(nodes), "state": "absent"})],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    names = [f"slurmscale-{PREFIX}-{name}" for name in FRESH]
    subprocess.run(
        ["podman", "rm", "--force", "--time", "0", *names], check=True, stdout=subprocess.DEVNULL, timeout=120
    )
    lab("create", generation)


def over_ssh() -> float:
    """Install the fresh nodes by the plain script; return its seconds."""
    hosts = addresses()
    script = Path(__file__).parent / "install_over_ssh.sh"
    begun = time.monotonic()
    subprocess.run(
        [str(script), str(INVENTORY), f"http://{hosts['apphub']}:8081", hosts["ctl1"],
         *(f"{name}={hosts[name]}" for name in FRESH)],
        check=True, stdout=subprocess.DEVNULL, timeout=600,
    )  # fmt: skip
    seconds = time.monotonic() - begun
    idle = ask(f"sinfo --noheader --Node --states idle --nodes {','.join(FRESH)} --format %N | wc -l")
    if idle != str(len(FRESH)):
        sys.exit(f"the ssh script brought only {idle} of {len(FRESH)} nodes to IDLE")
    return seconds


def measure(generation: str, pairs: int) -> dict[str, Any]:
    """Return the figures of one Slurm generation; the comparison with ssh only for pairs > 0."""
    key = generation.replace(".", "_")
    lab("create", generation)
    play("publish_apphub")
    play("setup_controller")
    play("scale_up", nodes=OLD)
    begun = ask("date +%s")
    with outage() as gap:
        first = play("scale_up", nodes=",".join(FRESH))
    restarts = ask(f"journalctl --unit slurmctld --since @{begun} --output cat {STARTED} | wc -l")
    second = play("scale_up", nodes=",".join(FRESH))
    figures: dict[str, Any] = {
        "module_runs_fresh_node": max(first["runs"].get(node, 0) for node in FRESH),
        "module_runs_right_node": max(second["runs"].get(node, 0) for node in FRESH),
        "module_runs_old_node": first["runs"].get(OLD, 0) + second["runs"].get(OLD, 0),
        "second_run_seconds": round(second["seconds"], 1),
        f"controller_restarts_{key}": int(restarts),
        f"controller_outage_seconds_{key}": gap["seconds"],
    }
    timed = []
    for _ in range(pairs):
        reset(generation)
        ours = play("scale_up", nodes=",".join(FRESH))["seconds"]
        reset(generation)
        timed.append((ours, over_ssh()))
        print(f"  6 fresh nodes: {timed[-1][0]:.1f} s, by ssh alone {timed[-1][1]:.1f} s", file=sys.stderr)
    if timed:
        reset(generation)
        inventory = str(INVENTORY / "hosts.yml")
        figures.update(
            progress.main(["--inventory", inventory, "--learn", "rocky1,ubuntu2", "--watch", "rocky2,ubuntu3"])
        )
        figures["wall_ratio_to_ssh"] = round(statistics.median(ours / plain for ours, plain in timed), 2)
    return figures


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measure both generations and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2, help="pairs of runs against the ssh script (default: 2)")
    options = parser.parse_args(argv)
    (ROOT / ".bench").mkdir(exist_ok=True)
    figures: dict[str, Any] = {}
    for generation, pairs in (("22.05", 0), ("24.11", options.pairs)):
        try:
            figures.update(measure(generation, pairs))
        finally:
            lab("destroy", generation)
    return figures


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
