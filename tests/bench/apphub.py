"""Benchmark of an AppHub of the lab: fifty clients fetch at once, by apt, and the same files by curl.

    python tests/bench/apphub.py [--clients 50] [--pairs 3]

Each client is an apt of its own, with empty lists and an empty cache: it reads the signed index and downloads every
package of the repository. The two take turns, so that whatever else the machine does hits both of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "lab-bench-apphub"
LIMIT = 300


def ansible(*arguments: str) -> None:
    """Run a playbook, its output to a log that is shown only when it fails."""
    log = ROOT / ".bench" / "ansible.log"
    with log.open("w") as output:
        done = subprocess.run(
            ["ansible-playbook", *arguments], cwd=ROOT, stdout=output, stderr=output, timeout=600, check=False
        )
    if done.returncode:
        sys.exit(f"ansible-playbook {' '.join(arguments)} failed:\n{log.read_text()[-6000:]}")


def lab(action: str) -> None:
    """Create or destroy the benchmark's lab."""
    nodes = ["-e", "lab_rocky_nodes=0", "-e", "lab_ubuntu_nodes=0"]
    ansible(f"molecule/lab/{action}.yml", "-e", f"lab_prefix={PREFIX}", "-e", "lab_slurm=24.11", *nodes)


def fetch(url: str) -> bytes:
    """Return what a server answers, by no proxy."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
        content: bytes = answer.read()
        return content


def files(url: str) -> tuple[str, list[str], list[str]]:
    """Return the AppHub's first apt repository, its packages, and the addresses of all that apt fetches of it."""
    repositories = json.loads(fetch(f"{url}/pkgs/catalog.json"))["repositories"]
    name = next(name for name in sorted(repositories) if name.startswith("deb/"))
    base, _, codename = name.rpartition("/")
    packages = repositories[name]["packages"]
    newest = {package: list(versions.values())[-1]["file"] for package, versions in sorted(packages.items())}
    top = f"{base}/dists/{codename}"
    paths = [f"{top}/InRelease", f"{top}/main/binary-amd64/Packages.gz", *newest.values()]
    return name, list(newest), [f"{url}/pkgs/{path}" for path in paths]


def configure(folder: Path, url: str, repository: str) -> None:
    """Make folders and a configuration for an apt of its own."""
    for name in ("state/lists/partial", "cache/archives/partial", "work"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "key.asc").write_bytes(fetch(f"{url}/pkgs/apphub.asc"))
    base, _, codename = repository.rpartition("/")
    (folder / "sources.list").write_text(
        f"deb [arch=amd64 signed-by={folder}/key.asc] {url}/pkgs/{base} {codename} main\n"
    )
    (folder / "apt.conf").write_text(
        f'Dir::Etc "{folder}"; Dir::Etc::sourcelist "{folder}/sources.list"; Dir::Etc::sourceparts "-";'
        f' Dir::Etc::parts "-"; Dir::State "{folder}/state"; Dir::Cache "{folder}/cache";'
        f' Dir::State::status "{folder}/status"; APT::Architecture "amd64"; APT::Sandbox::User "root";'
        ' Acquire::http::Proxy "DIRECT"; Acquire::Languages "none"; APT::Update::Error-Mode "any";\n'
    )


def at_once(commands: list[tuple[list[str], Path]]) -> tuple[float, int]:
    """Start all commands, each in its folder; return the seconds until the last ends, and how many failed."""
    begun = time.monotonic()
    started = []
    for command, folder in commands:
        environment = {"PATH": os.environ["PATH"], "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}
        with (folder / "log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=folder / "work", env=environment, stdout=log, stderr=log))
    failed = [folder for process, (_, folder) in zip(started, commands, strict=True) if process.wait(LIMIT)]
    for folder in failed[:3]:
        print((folder / "log").read_text()[-500:], file=sys.stderr)
    return time.monotonic() - begun, len(failed)


def pair(url: str, clients: int) -> tuple[float, float, int]:
    """Let all clients fetch by apt, then by curl; return the seconds of both, and how many clients failed."""
    repository, packages, urls = files(url)
    taken = []
    errors = 0
    for how in ("apt", "curl"):
        with tempfile.TemporaryDirectory(prefix="apphub-bench-", dir="/tmp") as base:
            folders = [Path(base) / str(number) for number in range(clients)]
            for folder in folders:
                configure(folder, url, repository)
            command = ["sh", "-ec", 'apt-get -qq update; exec apt-get -qq download "$@"', "apt", *packages]
            if how == "curl":
                command = ["curl", "--fail", "--silent", "--show-error", "--noproxy", "*", "--remote-name-all", *urls]
            seconds, failed = at_once([(command, folder) for folder in folders])
            fetched = [len(list((folder / "work").iterdir())) for folder in folders]
            expected = len(packages) if how == "apt" else len(urls)
            # A client that says nothing and has not everything has failed, too.
            errors += max(failed, sum(count < expected for count in fetched))
            taken.append(seconds)
    return taken[0], taken[1], errors


def measure(url: str, clients: int, pairs: int) -> dict[str, Any]:
    """Return the figures of an AppHub."""
    missing = [program for program in ("apt-get", "curl") if shutil.which(program) is None]
    if missing:
        sys.exit(f"The clients need {', '.join(missing)} on this machine: run it on Debian, with curl installed.")
    results = []
    for _ in range(pairs):
        results.append(pair(url, clients))
        print("  {} clients: apt {:.1f} s, curl {:.1f} s, {} errors".format(clients, *results[-1]), file=sys.stderr)
    return {
        f"apphub_{clients}_clients_errors": sum(errors for _, _, errors in results),
        f"apphub_{clients}_clients_seconds": round(statistics.median(ours for ours, _, _ in results), 1),
        f"apphub_{clients}_clients_ratio_to_curl": round(statistics.median(a / c for a, c, _ in results), 2),
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Make an AppHub and measure it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=50, help="how many fetch at once (default: 50)")
    parser.add_argument("--pairs", type=int, default=3, help="how often apt and curl take turns (default: 3)")
    parser.add_argument("--url", help="an AppHub that is there, instead of one made in the lab")
    options = parser.parse_args(argv)
    (ROOT / ".bench").mkdir(exist_ok=True)
    if options.url:
        return measure(options.url, options.clients, options.pairs)
    try:
        lab("create")
        inventory = ROOT / "inventories" / PREFIX / "hosts.yml"
        ansible("-i", str(inventory), "playbooks/publish_apphub.yml")
        address = json.loads(
            subprocess.run(
                ["ansible-inventory", "-i", inventory, "--host", "apphub"], capture_output=True, check=True, timeout=60
            ).stdout
        )["ansible_host"]
        return measure(f"http://{address}:8081", options.clients, options.pairs)
    finally:
        lab("destroy")


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
