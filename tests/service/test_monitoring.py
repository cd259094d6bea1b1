"""A real Prometheus takes the alerts, and finds a series for everything that the dashboard shows."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx2
import pytest
import yaml
from slurmscale.models import Cluster, TaskChange
from slurmscale.service.processes.serve import Server
from slurmscale.states import TaskStatus
from slurmscale.store.counters import count_contacts
from slurmscale.store.tables import row_of_change

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
LIMIT = 60
OBJECTS = 3
NAMED_BY_CALLERS = 'slurm_external_cluster_total non-counter metrics should not have "_total" suffix'


def promtool(*arguments, folder, given=None):
    """Run promtool; returns all that it says when it is content, or objects to what it was given."""
    program = shutil.which("promtool")
    if program is None:
        pytest.fail("Alerts and figures are tested with promtool. Install Debian's package prometheus.")
    done = subprocess.run(
        [program, *arguments], cwd=folder, input=given, capture_output=True, text=True, check=False, timeout=LIMIT
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0 or (given is not None and done.returncode == OBJECTS), said
    return said


def shown():
    """Return what the dashboard asks Prometheus for."""
    return [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]


def concrete(expression):
    """Put values in place of the dashboard's variables."""
    for name, value in (("$cluster", ".*"), ("$__range", "1h"), ("$__rate_interval", "1m")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_each_alert_fires_when_it_should_and_not_else(tmp_path):
    shutil.copy(RULES, tmp_path / "rules.yml")
    shutil.copy(Path(__file__).with_name("rules_test.yml"), tmp_path)
    promtool("check", "rules", "rules.yml", folder=tmp_path)
    promtool("test", "rules", "rules_test.yml", folder=tmp_path)
    tested = yaml.safe_load((tmp_path / "rules_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tested for case in test["alert_rule_test"] if case["exp_alerts"]}
    silent = {case["alertname"] for test in tested for case in test["alert_rule_test"] if not case["exp_alerts"]}
    assert fired == silent == {rule["alert"] for rule in rules()}


def test_the_figures_are_named_as_prometheus_wants_it(as_role, scaling, record_run, tmp_path):
    run = record_run()
    ids = {task.node: task.id for task in scaling.store.tasks(run.id)}
    change = TaskChange("n1", TaskStatus.FAILED, 5, "", "", None, updated_at=9.0, started_at=1.0, completed_at=9.0)
    scaling.store.record(run, [{"b_id": ids["n1"], **row_of_change(change)}])
    count_contacts(scaling.store, run, [0.2, 20.0])
    told = as_role().get("/metrics").text
    assert "slurm_node_scale_failed_total" in told
    # but for the one name that others chose
    assert promtool("check", "metrics", folder=tmp_path, given=told).splitlines() == [NAMED_BY_CALLERS]


def rules():
    return yaml.safe_load(RULES.read_text())["groups"][0]["rules"]


def test_alerts_say_what_to_do():
    guide = (ROOT / "docs" / "how-to" / "monitoring.md").read_text()
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"].endswith(f"docs/how-to/monitoring.md#{rule['alert'].lower()}")
        assert f"### {rule['alert']}\n" in guide


def test_the_dashboard_fits_together():
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    cells = [
        (column, row)
        for panel in panels
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < 24


@pytest.fixture
def served(app, config):
    """The address of a real server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(app, config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(LIMIT)


@pytest.fixture
def prometheus(served, token, tmp_path):
    """Return a function that asks a Prometheus, which reads the service's figures."""
    (tmp_path / "token").write_text(token(permissions=["metrics:read"]))
    settings = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": "slurmscale",
                "authorization": {"credentials_file": "token"},
                "static_configs": [{"targets": [served]}],
            }
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus",
        f"--web.listen-address={address}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
    ]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log) as process,
    ):

        def ask(expression):
            answer = httpx2.get(f"http://{address}/api/v1/query", params={"query": expression}, timeout=LIMIT)
            return answer.json()["data"]["result"]

        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            try:
                if len(ask("up[1h]")) and len(ask("count_over_time(up[1h]) > 2")):
                    break
            except httpx2.TransportError:
                assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield ask
        process.terminate()


def test_a_real_prometheus_has_a_series_for_all_that_is_shown(prometheus):
    assert prometheus("up")[0]["value"][1] == "1"
    names = {found["metric"]["__name__"] for found in prometheus('{job="slurmscale"}')}
    for expression in [*shown(), *(rule["expr"] for rule in rules())]:
        for name in re.findall(r"slurm_\w+", expression):
            assert name in names, name
    for expression in shown():
        assert prometheus(concrete(expression)), expression
    for rule in rules():
        left = re.sub(r"\s(>|==) [\d.]+\s*$", "", rule["expr"])
        assert prometheus(left), left


@pytest.fixture(autouse=True)
def _known_cluster(scaling):
    external = Cluster("lab", controller="c1", apphub_urls=("http://a",), cluster_type="external", health="healthy")
    scaling.store.save_cluster(external)
