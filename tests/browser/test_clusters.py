"""A cluster that somebody else set up, from the form to the list: each step of it by itself."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from slurmscale.models import Cluster
from slurmscale.operations import Operation

from .service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .visitor import Visitor

KEY = "SHA256:0Vq7cqrV4wXbcrhHPAK8VvwV6a6jd9C3qKx1xCJr2lQ"
INFO = {
    "cluster_name": "old", "version": "23.11.4", "conf_file": "/etc/slurm/slurm.conf", "configless": True,
    "controllers": [{"host": "ctl9", "mode": "primary", "up": True}], "partitions": {"main": {}},
    "nodes": {"n1": {"state": "IDLE", "reason": ""}, "n2": {"state": "DOWN", "reason": "Not responding"}},
    "states": {"IDLE": 1, "DOWN": 1}, "accounting": "accounting_storage/none", "munge_key": True,
}  # fmt: skip
UNKNOWN = {"code": "host-key-unknown", "reason": "The host key of ctl9 is not known.", "remedy": "Compare it."}
SILENT = {"code": "host-unreachable", "reason": "ctl9 does not answer on port 22.", "remedy": "Check the address."}


def looked(*passed: str, error: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the report of a look that passed some stages and, with an error, failed at the next."""
    names = ("resolve", "tcp", "hostkey", "auth", "sudo", "slurm")
    stages: list[dict[str, Any]] = [{"stage": name, "ok": True, "found": "", "error": None} for name in passed]
    if error:
        stages.append({"stage": names[len(passed)], "ok": False, "found": "", "error": error})
    info = None if error else INFO
    answer = {"success": not error, "stage": stages[-1]["stage"], "stages": stages, "fingerprint": KEY}
    return {**answer, "host_keys": ["ctl9 ssh-ed25519 AAAA"], "info": info, "error": error}


GOOD = looked("resolve", "tcp", "hostkey", "auth", "slurm")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Service]:
    """Yield one service for all tests here."""
    folder = tmp_path_factory.mktemp("clusters")
    shutil.copy(empty_database, folder)
    service = Service(folder)
    service.start()
    yield service
    service.close()


@pytest.fixture(autouse=True)
def report(service: Service) -> Iterator[dict[str, Any]]:
    """Yield what a look at a cluster finds, to be changed."""
    recording = service.recordings[Operation.DISCOVER_CLUSTER]
    recording.steps, recording.report = (("checking", "", "Probe the cluster"),), dict(GOOD)
    yield recording.report
    for cluster in service.scaling.store.clusters():
        if cluster.name != "lab":
            service.scaling.store.remove_cluster(cluster.name)


@pytest.fixture
def form(visit: Callable[..., Visitor]) -> Visitor:
    visitor = visit("ada", "slurm/external-clusters")
    # the list moves the form when it comes, away from where a click goes
    rows(visitor).first.wait_for()
    return visitor


def fill(visitor: Visitor, **values: str) -> None:
    for name, value in ({"name": "old", "host": "ctl9", "user": "root", "password": "s3cret words"} | values).items():
        visitor.find(f"form [name={name}]").fill(value)


def rows(visitor: Visitor) -> Any:
    return visitor.page.get_by_role("table", name="Clusters").locator("tbody tr")


def known(service: Service) -> list[str]:
    return [cluster.name for cluster in service.scaling.store.clusters()]


def add(service: Service) -> None:
    found = service.scaling.clusters.test(Cluster("old", controller="ctl9"))
    service.scaling.clusters.connect(Cluster("old", controller="ctl9"), found)


def test_the_page_opens(form: Visitor) -> None:
    form.heading("Clusters")
    expect(form.page.get_by_role("form", name="Add cluster")).to_be_visible()
    expect(form.page.get_by_label("External:")).to_be_checked()


def test_the_form_is_filled(form: Visitor) -> None:
    fill(form, port="2222")
    form.find("[name=max_nodes]").fill("100")
    for name, value in (("name", "old"), ("host", "ctl9"), ("user", "root"), ("port", "2222"), ("max_nodes", "100")):
        expect(form.find(f"form [name={name}]")).to_have_value(value)
    expect(form.button("Add cluster")).to_have_count(0)  # not before it was tested


def test_the_connection_is_tested_and_its_fingerprint_confirmed(form: Visitor, report: dict[str, Any]) -> None:
    report.update(looked("resolve", "tcp", error=UNKNOWN))
    fill(form)
    form.button("Test connection").click()
    stages = form.page.get_by_role("list", name="Connection").get_by_role("listitem")
    expect(stages).to_have_count(3)
    expect(stages.last).to_contain_text("Host key")
    expect(form.find("form")).to_contain_text(KEY)
    report.update(GOOD)
    form.page.get_by_label("I have compared it").check()
    with form.page.expect_request("**/test-connection") as asked:
        form.button("Test connection").click()
    assert asked.value.post_data_json["fingerprint"] == KEY
    expect(stages).to_have_count(5)
    expect(form.find("form .facts")).to_contain_text("23.11.4")
    expect(form.find("form .facts")).to_contain_text("IDLE 1, DOWN 1")


def test_it_is_added(form: Visitor, service: Service) -> None:
    fill(form)
    form.button("Test connection").click()
    form.button("Add cluster").click()
    expect(rows(form)).to_have_count(2)
    expect(form.find("form [name=host]")).to_have_value("")
    [cluster] = [one for one in service.scaling.store.clusters() if one.name == "old"]
    assert (cluster.cluster_type, cluster.health, cluster.credentials.password) == ("external", "healthy", None)


def test_the_list_shows_it(form: Visitor, service: Service) -> None:
    add(service)
    form.page.reload()
    row = rows(form).filter(has_text="old")
    for text in ("external", "healthy", "ctl9", "23.11.4", "2"):
        expect(row).to_contain_text(text)
    row.get_by_role("link", name="old").click()
    form.heading("Nodes")
    nodes = form.page.get_by_role("table", name="Nodes").locator("tbody tr")
    expect(nodes).to_have_text(["n2DOWNNot responding", "n1IDLE"])
    form.page.get_by_label("Filter").fill("idle")
    expect(nodes).to_have_count(1)


def test_it_is_refreshed(form: Visitor, service: Service, report: dict[str, Any]) -> None:
    add(service)
    form.page.reload()
    report.update(looked("resolve", error=SILENT))
    form.button("Refresh old").click()
    dialog = form.page.get_by_role("dialog")
    expect(dialog).to_contain_text("ctl9 does not answer on port 22. Check the address.")
    expect(rows(form).filter(has_text="old")).to_contain_text("unhealthy")
    report.update(GOOD)
    dialog.get_by_label("User").fill("root")
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog).to_contain_text("23.11.4")
    form.page.keyboard.press("Escape")
    expect(rows(form).filter(has_text="old")).to_contain_text("healthy")


def test_it_is_deleted(form: Visitor, service: Service) -> None:
    add(service)
    form.page.reload()
    form.button("Forget old").click()
    dialog = form.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nothing is changed on the cluster.")
    dialog.get_by_role("button", name="Forget").click()
    expect(rows(form)).to_have_count(1)
    assert known(service) == ["lab"]


def test_options_of_what_is_used_as_it_is(form: Visitor, service: Service) -> None:
    fill(form)
    for name in ("slurm.conf", "munge key", "accounting database"):
        expect(form.page.get_by_label(name)).to_be_checked()
    form.page.get_by_label("munge key").uncheck()
    form.button("Test connection").click()
    form.button("Add cluster").click()
    expect(form.page.get_by_role("alert")).to_contain_text("munge key of an external cluster is used as it is")
    form.page.get_by_label("munge key").check()
    form.button("Add cluster").click()
    expect(rows(form)).to_have_count(2)
    [cluster] = [one for one in service.scaling.store.clusters() if one.name == "old"]
    assert cluster.config["reuse_existing_munge"] is True


def test_the_form_is_reset(form: Visitor) -> None:
    fill(form)
    form.page.get_by_label("munge key").uncheck()
    form.button("Test connection").click()
    expect(form.find("form .facts")).to_be_visible()
    form.button("Reset").click()
    for name in ("name", "host", "user", "password"):
        expect(form.find(f"form [name={name}]")).to_have_value("")
    expect(form.page.get_by_label("munge key")).to_be_checked()
    expect(form.find("form .facts")).to_have_count(0)


def test_fields_that_are_required(form: Visitor, service: Service) -> None:
    asked: list[str] = []
    form.page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    form.button("Test connection").click()
    expect(form.find("form [name=name]")).to_be_focused()
    form.find("form [name=name]").fill("Not A Name")
    form.find("form [name=host]").fill("ctl9")
    form.button("Test connection").click()
    assert form.find("form [name=name]").evaluate("field => field.validity.patternMismatch")
    assert not asked
    assert known(service) == ["lab"]


def test_a_connection_that_failed_is_shown(form: Visitor, report: dict[str, Any]) -> None:
    report.update(looked("resolve", error=SILENT))
    fill(form)
    form.button("Test connection").click()
    stages = form.page.get_by_role("list", name="Connection").get_by_role("listitem")
    expect(stages).to_have_text(["Name", "Port"])
    expect(form.find("form .notice")).to_contain_text("ctl9 does not answer on port 22. Check the address.")
    expect(form.button("Add cluster")).to_have_count(0)
    expect(form.find("form [name=password]")).to_have_value("s3cret words")


def test_it_appears_where_clusters_are_chosen(visit: Callable[..., Visitor], service: Service) -> None:
    add(service)
    visitor = visit("ada", "slurm/clusters")
    expect(rows(visitor).filter(has_text="external")).to_contain_text("old")
    visitor.page.get_by_role("link", name="Add nodes").click()
    expect(visitor.page.get_by_label("Cluster").locator("option")).to_have_text(["lab", "old"])


def test_a_managed_cluster_is_added_by_the_address_of_its_controller(
    visit: Callable[..., Visitor], service: Service
) -> None:
    visitor = visit("ada", "slurm/clusters")
    visitor.find("form [name=name]").fill("second")
    visitor.find("form [name=host]").fill("ctl2")
    visitor.page.get_by_label("AppHub").fill("https://apphub.example")
    visitor.button("Add cluster").click()
    expect(rows(visitor).filter(has_text="second")).to_contain_text("managed")
    assert known(service) == ["lab", "second"]
    visitor.page.get_by_role("link", name="second").click()
    expect(visitor.find(".empty")).to_contain_text("was not looked at yet")
