"""The image of deploy/container, built without an index of packages; the service runs in it, and by its units."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from fakes.postgresql import Postgresql
from fakes.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 900
NAME = f"slurmscale-test-{os.getpid()}"
BASE = f"localhost/{NAME}-base"
IMAGE = f"localhost/{NAME}"

pytestmark = pytest.mark.long


def attempt(*command, **options):
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=LIMIT, check=False,
        env=os.environ | {"CONTAINERS_CONF": str(ROOT / "molecule/lab/containers.conf")}, **options,
    )  # fmt: skip


def run(*command, **options):
    done = attempt(*command, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Build the image on a Debian made of its packages, with what it needs beside it."""
    if os.geteuid() != 0 or not shutil.which("podman") or not shutil.which("mmdebstrap"):
        pytest.skip("needs root, podman and mmdebstrap")
    wheels = tmp_path_factory.mktemp("wheels")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, ROOT)
    wheel = next(wheels.glob("slurmscale-*.whl"))
    run(
        sys.executable, "-m", "pip", "download", "--only-binary", ":all:", "--python-version", "3.11",
        "--dest", wheels, f"{wheel}[service,postgresql]", cwd=wheels,
    )  # fmt: skip
    try:
        run(
            "bash", "-o", "pipefail", "-c",
            "mmdebstrap --quiet --variant=minbase --include=ca-certificates bookworm -"
            f" | podman import --quiet - {BASE}",
        )  # fmt: skip
        run(
            "podman", "build", "--quiet", "--network", "host", "--tag", IMAGE, "--build-arg", f"BASE={BASE}",
            "--build-arg", "PIP_NO_INDEX=1", "--file", ROOT / "deploy/container/Containerfile", wheels,
        )  # fmt: skip
        yield IMAGE
    finally:
        for name in (IMAGE, BASE):
            attempt("podman", "rmi", "--force", name)


@pytest.fixture
def container(image):
    """Return a function that runs the command in a container, with one data directory for all."""
    volume = NAME
    common = ("podman", "run", "--read-only", "--network", "host", "--volume", f"{volume}:/var/lib/slurmscale")
    names = []

    def command(*arguments, name=None, more=()):
        how = ("--detach", "--name", name) if name else ("--rm",)
        names.extend(filter(None, [name]))
        return run(*common, *how, *more, image, *arguments).strip()

    yield command
    run("podman", "rm", "--force", "--time", "30", "--ignore", *names)
    run("podman", "volume", "rm", "--force", volume)


def test_the_service_answers_from_a_container_that_has_no_rights(container):
    assert re.fullmatch(r"slurmscale \d+\.\d+\.\d+", container("--version"))
    container("user", "add", "ada", "--role", "admin", "--no-password")
    token = container("token", "create", "ada")
    container("serve", "--port", "0", name=NAME)
    log = wait_for(lambda: attempt("podman", "logs", NAME).stderr)
    url = json.loads(log.splitlines()[0])["url"]
    assert url.startswith("http://127.0.0.1:")
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        assert client.get("readyz").json() == {"ready": True, "database": True, "worker": True}
        assert client.get("api/auth/me").json()["name"] == "ada"
        assert client.get("slurm").status_code == httpx2.codes.OK
    inside = run(
        "podman", "exec", NAME, "sh", "-c", "id -u; stat -c %a /var/lib/slurmscale/slurmscale.db; slurmscale doctor"
    )
    assert inside.splitlines()[:2] == ["8765", "600"]
    assert attempt("podman", "exec", "--user", "0", NAME, "touch", "/opt/slurmscale/written").returncode != 0
    run("podman", "stop", "--time", "60", NAME)
    assert run("podman", "inspect", "--format", "{{.State.ExitCode}}", NAME).strip() == "0"


INVENTORY = """\
all:
  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}
  children:
    slurm_controllers: {hosts: {ctl1: }}
    slurm_nodes: {hosts: {n1: }}
"""


def test_a_worker_in_a_container_carries_what_a_service_in_another_one_is_asked_for(container, tmp_path):
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    (tmp_path / "keys").write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)) + b"\n")
    (tmp_path / "keys").chmod(0o600)
    for path in (tmp_path, *tmp_path.iterdir()):
        os.chown(path, 8765, 8765)
    with Postgresql() as server:
        sockets = Path(server.url.partition("host=")[2])
        sockets.chmod(0o755)
        more = (
            "--env", f"SLURMSCALE_DATABASE_URL={server.url.format('postgres')}",
            "--env", "SLURMSCALE_SECRET_KEY_FILE=/etc/slurmscale/keys",
            "--volume", f"{sockets}:{sockets}", "--volume", f"{tmp_path}:/etc/slurmscale",
        )  # fmt: skip
        container("cluster", "add", "lab", "--inventory", "/etc/slurmscale/hosts.yml", more=more)
        container("user", "add", "ada", "--role", "admin", "--no-password", more=more)
        token = container("token", "create", "ada", more=more)
        container("serve", "--port", "0", name=NAME, more=more)
        container("worker", name=f"{NAME}-worker", more=more)
        log = wait_for(lambda: attempt("podman", "logs", NAME).stderr)
        headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=120"}
        with httpx2.Client(base_url=json.loads(log.splitlines()[0])["url"], headers=headers, timeout=180) as client:
            wait_for(lambda: client.get("readyz").json()["worker"])
            checked = client.post("api/slurm/nodes/check", json={"cluster": "lab", "nodes": "n1"})
        # there is no Slurm; what counts is that Ansible came so far as to say so
        assert "slurmctld" in checked.text, checked.text
        assert "Read-only file system" not in checked.text
        for name in (f"{NAME}-worker", NAME):
            assert run("podman", "exec", name, "id", "-u").strip() == "8765"
            run("podman", "stop", "--time", "60", name)
            assert run("podman", "inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"


WITH_SYSTEMD = f"""\
FROM {IMAGE}
USER root
RUN apt-get -q update \\
 && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends systemd systemd-sysv postgresql curl
COPY *.service /etc/systemd/system/
COPY setup /root/
ENTRYPOINT ["/sbin/init"]
CMD []
"""
SETUP = """\
set -eu
PATH=$PATH:/usr/sbin:/sbin
# as /etc/slurmscale/service.env and a file of keys are made by hand
umask 077
mkdir /etc/slurmscale
python3 -c 'import base64, secrets; print(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())' \\
    > /etc/slurmscale/keys
chown --recursive slurmscale: /etc/slurmscale
cat > /etc/slurmscale/service.env << END
SLURMSCALE_SECRET_KEY_FILE=/etc/slurmscale/keys
SLURMSCALE_DATABASE_URL=postgresql+psycopg://slurmscale@/slurmscale?host=/run/postgresql
END
systemctl start postgresql
runuser -u postgres -- createuser slurmscale
runuser -u postgres -- createdb --owner slurmscale slurmscale
runuser -u slurmscale -- tee /var/lib/slurmscale/hosts.yml > /dev/null << END
all:
  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}
  children:
    slurm_controllers: {hosts: {ctl1: }}
    slurm_nodes: {hosts: {n1: }}
END
systemctl start slurmscale slurmscale-worker
as_user() { (
    set -a
    . /etc/slurmscale/service.env
    runuser -u slurmscale -- slurmscale "$@"
); }
as_user cluster add lab --inventory /var/lib/slurmscale/hosts.yml
as_user user add ada --role admin --no-password
echo "Authorization: Bearer $(as_user token create ada)" > /root/token
"""
ASK = "curl --silent --header @/root/token --header 'Prefer: wait=120' http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def machine(image, tmp_path_factory):
    """Return a function that runs a script on a machine with the units as they are."""
    folder = tmp_path_factory.mktemp("machine")
    assert image in WITH_SYSTEMD
    (folder / "Containerfile").write_text(WITH_SYSTEMD)
    (folder / "setup").write_text(SETUP)
    for unit in (ROOT / "deploy/systemd").glob("*.service"):
        shutil.copy(unit, folder)
    name = f"{NAME}-machine"
    try:
        run("podman", "build", "--quiet", "--network", "host", "--tag", f"localhost/{name}", folder)
        run("podman", "run", "--detach", "--systemd=always", "--privileged", "--name", name, f"localhost/{name}")
        booted = ("podman", "exec", name, "systemctl", "is-system-running", "--wait")
        wait_for(lambda: attempt(*booted).stdout.strip() in ("running", "degraded"), 180)
        yield lambda script: run("podman", "exec", name, "bash", "-c", script)
    finally:
        attempt("podman", "rm", "--force", "--time", "5", name)
        attempt("podman", "rmi", "--force", f"localhost/{name}")


def test_service_and_worker_run_by_their_units_and_ansible_is_not_kept_from_its_work(machine):
    machine("bash /root/setup")
    ready = wait_for(lambda: (found := json.loads(machine(f"{ASK}/readyz || true") or "{}")).get("worker") and found)
    assert ready == {"ready": True, "database": True, "worker": True}
    checked = json.loads(machine(f"""{ASK}/api/slurm/nodes/check --json '{{"cluster": "lab", "nodes": "n1"}}'"""))
    # there is no Slurm; what counts is that Ansible came so far as to say so
    assert "slurmctld" in json.dumps(checked), checked
    assert "not permitted" not in json.dumps(checked)
    units = ("slurmscale", "slurmscale-worker")
    for unit in units:
        assert machine(f"systemctl show --property=User --property=NRestarts {unit}").split() in (
            ["NRestarts=0", "User=slurmscale"], ["User=slurmscale", "NRestarts=0"],
        )  # fmt: skip
    machine("systemctl stop slurmscale-worker slurmscale")
    for unit in units:
        assert machine(f"systemctl show --property=Result {unit}").strip() == "Result=success"
