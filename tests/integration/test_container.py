"""deploy/container/Containerfile: the image is built without any index of packages, and the service runs from it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from fakes.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 900
NAME = f"slurmscale-test-{os.getpid()}"
BASE = f"localhost/{NAME}-base"
IMAGE = f"localhost/{NAME}"

pytestmark = pytest.mark.long


def run(*command, **options):
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=LIMIT, check=False,
        env=os.environ | {"CONTAINERS_CONF": str(ROOT / "molecule/lab/containers.conf")}, **options,
    )  # fmt: skip
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
            subprocess.run(["podman", "rmi", "--force", name], capture_output=True, timeout=LIMIT, check=False)


@pytest.fixture
def container(image):
    """Return a function that runs the command in a container, with one data directory for all."""
    volume = NAME
    common = ("podman", "run", "--network", "host", "--volume", f"{volume}:/var/lib/slurmscale")

    def command(*arguments, name=None):
        how = ("--detach", "--name", name) if name else ("--rm",)
        return run(*common, *how, image, *arguments).strip()

    yield command
    run("podman", "rm", "--force", "--time", "30", "--ignore", NAME)
    run("podman", "volume", "rm", "--force", volume)


def test_the_service_answers_from_a_container_that_has_no_rights(container):
    assert re.fullmatch(r"slurmscale \d+\.\d+\.\d+", container("--version"))
    container("user", "add", "ada", "--role", "admin", "--no-password")
    token = container("token", "create", "ada")
    container("serve", "--port", "0", name=NAME)
    log = wait_for(lambda: subprocess.run(["podman", "logs", NAME], capture_output=True, text=True, check=True).stderr)
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
    run("podman", "stop", "--time", "60", NAME)
    assert run("podman", "inspect", "--format", "{{.State.ExitCode}}", NAME).strip() == "0"
