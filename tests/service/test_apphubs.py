"""AppHubs: whether they answer, for people and for Prometheus, and the check by a playbook."""

from __future__ import annotations

import http.server
import threading
from types import SimpleNamespace

import pytest
from slurmscale.models import Cluster
from slurmscale.service.monitoring import apphubs


@pytest.fixture
def apphub():
    """The address of a server that answers, with an error when it is told to."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(int(self.path.rpartition("/")[2] or 200))
            self.send_header("Location", "http://192.0.2.1/")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_apphub_is_up_when_it_answers_and_leads_nowhere_else(apphub):
    found = apphubs.ask([f"{apphub}/", f"{apphub}/302", f"{apphub}/503", "http://127.0.0.1:1", "http://[::1"])
    assert {answer.url.removeprefix(apphub): (answer.up, bool(answer.detail)) for answer in found} == {
        "/": (True, False), "/302": (True, False), "/503": (False, True), "http://127.0.0.1:1": (False, True),
        "http://[::1": (False, True),
    }  # fmt: skip


def test_everybody_is_told_of_the_apphubs_of_his_own_clusters(scaling, as_role, apphub):
    scaling.add_cluster(Cluster("lab", controller="192.0.2.1", apphub_urls=(f"{apphub}/",)))
    scaling.add_cluster(Cluster("other", controller="192.0.2.2", apphub_urls=(f"{apphub}/", f"{apphub}/503")))
    all_of_them = as_role().get("/api/apphub/health").json()["items"]
    assert [(one["url"].removeprefix(apphub), one["up"], one["clusters"]) for one in all_of_them] == [
        ("/", True, ["lab", "other"]), ("/503", False, ["other"]),
    ]  # fmt: skip
    own = as_role(name="bert", clusters=["lab"]).get("/api/apphub/health").json()["items"]
    assert [(one["up"], one["clusters"]) for one in own] == [(True, ["lab"])]


@pytest.mark.usefixtures("lab")
def test_the_apphubs_of_a_cluster_are_checked_by_a_run(as_role, launches):
    launches.result = {"findings": []}
    answer = as_role("operator").post("/api/apphub/check", json={"cluster": "lab"}, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.json()["run"]["operation"]) == (200, "check-apphub")
    assert launches[0].playbook.name == "check_apphub.yml"
    assert as_role().post("/api/apphub/check", json={"cluster": "lab"}).status_code == 403


def test_prometheus_is_told_of_apphubs_and_workers(app, as_role):
    # in place of the one that looks by itself
    app.state.apphubs = SimpleNamespace(up={"https://one": True, "https://two": False})
    text = as_role().get("/metrics").text
    assert 'slurm_apphub_up{url="https://one"} 1.0' in text
    assert 'slurm_apphub_up{url="https://two"} 0.0' in text
    assert "slurm_scale_workers 1.0" in text
