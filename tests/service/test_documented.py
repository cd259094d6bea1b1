"""What docs/how-to/service.md and the files beside it say holds, with curl and a real server."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from slurmscale.models import Cluster

DOCS = Path(__file__).resolve().parents[2] / "docs"
DEPLOY = DOCS.parent / "deploy"
LIMIT = 60


@pytest.fixture
def url(app):
    """The address of a real server."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + LIMIT
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(LIMIT)


def blocks(kind):
    return re.findall(rf"(?ms)^```{kind}\n(.*?)^```", (DOCS / "how-to/service.md").read_text())


def test_the_calls_that_are_shown_do_what_is_said(url, scaling, token, tmp_path):
    inventory = tmp_path / "hosts"
    inventory.write_text("[slurm_controllers]\nctl1\n[slurm_nodes]\nnode[07:12] ansible_host=192.0.2.7\n")
    scaling.add_cluster(Cluster("lab", inventory=str(inventory)))
    (script,) = [block for block in blocks("sh") if "curl" in block]
    script = script.replace("TOKEN=slsc_...", f"TOKEN={token('operator')}").replace("http://127.0.0.1:8765", url)
    calls, follow = script.split("# Follow it.")
    done = subprocess.run(
        ["bash", "-euc", calls.replace("curl ", "curl --fail-with-body ")], capture_output=True, text=True,
        timeout=2 * LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = re.findall(r'"/api/slurm/runs/([0-9a-f-]+)"', done.stdout)[-1]
    head = "\n".join(script.splitlines()[:2])
    shown = subprocess.run(
        ["bash", "-uc", f"{head}\n{follow.replace('RUN', run).replace('curl ', 'curl -m 10 ')}"], capture_output=True,
        text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert "event: snapshot" in shown.stdout


def test_every_setting_that_is_named_is_one():
    from slurmscale.service.settings import ServiceSettings  # noqa: PLC0415 - of this test only
    from slurmscale.settings import Settings  # noqa: PLC0415 - likewise

    named = set(re.findall(r"SLURMSCALE_([A-Z_]+)`", (DOCS / "how-to/service.md").read_text()))
    assert {name.lower() for name in named} <= {*ServiceSettings.model_fields, *Settings.model_fields}


@pytest.mark.parametrize("name", ["slurmscale.service", "slurmscale-worker.service"])
def test_systemd_takes_the_unit(tmp_path, name):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd here")
    unit = tmp_path / name
    unit.write_text((DEPLOY / "systemd" / name).read_text().replace("/opt/slurmscale/bin/slurmscale", "/bin/true"))
    done = subprocess.run(
        [program, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert name not in done.stderr, done.stderr
    looked = subprocess.run(
        [program, "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    if "unrecognized option" not in looked.stderr:
        # older versions of systemd look only at what is installed
        assert looked.returncode == 0, looked.stdout
