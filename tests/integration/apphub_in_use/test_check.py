"""The check of an AppHub: each thing is broken in turn, and must be named with its remedy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import http_client, inspection
from ansible_collections.ai_infra.slurm.plugins.modules import apphub_check

ROOT = Path(__file__).parents[3]
NOBLE, EL9 = "deb/ubuntu/noble", "rpm/el9"
MUNGE = "deb/ubuntu/pool/noble/**/munge_*.deb"
NEEDED = {"deb": ["munge", "slurmd", "slurm-client"], "rpm": ["munge", "slurm", "slurm-slurmd"]}
WEB = {"timeout": 2, "ca": "", "login": "", "proxy": ""}


@pytest.fixture
def look(hub, serve, tmp_path_factory):
    """Return a function that serves the AppHub as it is now and returns what is found."""

    def look(url="", **options):
        params = {**WEB, "insecure": False, "bundles": True, "repositories": [], "needed": NEEDED, "version": ""}
        params |= {"url": url or serve(hub).url, **options}
        if "key_sha256" not in params:
            params["key_sha256"] = hub.key_sha256
        return inspection.inspect(http_client.Server(params), params, str(tmp_path_factory.mktemp("g")))

    return look


def wrong(findings):
    return [one for one in findings if not one["ok"]]


def only(findings):
    """Return the only thing that is wrong."""
    (one,) = wrong(findings)
    return one


def test_nothing_is_wrong_with_what_was_just_published(look):
    found = look(repositories=[NOBLE, EL9], version="")
    assert wrong(found) == []
    seen = {(one["check"], one["subject"]): one["reason"] for one in found}
    assert seen["server", "/healthz"] == "It answers."
    assert "4 packages" in seen["files", f"{NOBLE} amd64"]
    assert "3 packages" in seen["files", f"{EL9} x86_64"]
    assert seen["packages", f"{NOBLE} amd64"] == "Slurm 24.11.5-4 with munge, slurmd, slurm-client."
    assert seen["packages", f"{EL9} x86_64"] == "Slurm 22.05.8-4.el9 with munge, slurm, slurm-slurmd."
    assert seen["bundle", "slurm-client"] == "1 bundles, all as the index says."
    assert len([one for one in found if one["check"] == "signature"]) == 4, "two repositories and two kinds of bundles"


def test_a_stopped_server(look, hub, serve):
    server = serve(hub)
    server.stop()
    found = only(look(server.url))
    assert (found["check"], found["reason"]) == ("server", "Connection refused.")
    assert "systemctl start nginx" in found["remedy"]


def test_a_server_that_never_ends_its_answer(look, hub, serve):
    server = serve(hub)
    server.drip = True
    found = only(look(server.url, timeout=1))
    assert found["reason"].startswith("Not finished within")
    assert "firewall" in found["remedy"]


@pytest.mark.parametrize(
    "pattern",
    [
        MUNGE,
        f"{EL9}/x86_64/packages/**/munge-*.rpm",
        "deb/ubuntu/dists/noble/InRelease",
        "deb/ubuntu/dists/noble/main/binary-amd64/Packages",
        f"{EL9}/x86_64/repodata/repomd.xml.asc",
        "apphub.asc",
        "catalog.json",
        "slurm-client/slurm-client-24.11.5-linux-amd64.tar.gz",
        "slurm-client/index.json",
    ],
)
def test_a_deleted_file_is_named_once_and_put_back_by_publishing(look, hub, pattern):
    path = hub.find(pattern)
    (hub.root / "bundles/current/pkgs" / path if path.startswith("slurm-") else hub.pkgs / path).unlink()
    named = [one for one in wrong(look(bundles=False)) if one["subject"] == path]
    assert len(named) == 1
    assert named[0]["reason"] == "HTTP 404 File not found."
    assert named[0]["remedy"] == "Publish again with playbooks/publish_apphub.yml, which puts lost files back."
    if not path.startswith("slurm-"):
        hub.publish()
        assert wrong(look()) == []


@pytest.mark.parametrize(
    "pattern",
    [
        MUNGE,
        f"{EL9}/x86_64/packages/**/slurm-slurmd-*.rpm",
        "deb/ubuntu/dists/noble/main/binary-amd64/Packages.gz",
        "deb/ubuntu/dists/noble/Release",
        "slurm-client/slurm-client-24.11.5-linux-amd64.tar.gz",
    ],
)
def test_a_flipped_byte_is_named_and_repaired_by_publishing_with_verify(look, hub, pattern):
    path = hub.find(pattern)
    hub.flip(path)
    named = [one for one in wrong(look()) if one["subject"] == path]
    assert len(named) == 1
    assert "Its checksum is" in named[0]["reason"]
    assert "apphub_verify=true" in named[0]["remedy"]
    if not path.startswith("slurm-"):
        hub.publish(verify=True)
        assert wrong(look()) == []


@pytest.mark.parametrize("path", ["deb/ubuntu/dists/noble/InRelease", f"{EL9}/x86_64/repodata/repomd.xml"])
def test_an_index_that_was_changed_after_it_was_signed(look, hub, path):
    file = hub.break_open(path)
    file.write_bytes(
        file.read_bytes().replace(b"Origin: AppHub", b"Origin: AppHup").replace(b"<revision>1", b"<revision>2")
    )
    found = next(one for one in wrong(look()) if one["check"] == "signature")
    assert (found["subject"], found["reason"]) == (path, "It was changed after it was signed.")
    assert "apphub_verify=true" in found["remedy"]


def test_an_expired_key_and_its_remedy(look, hub):
    fingerprint = hub.signer.fingerprint()
    hub.gpg("--quick-set-expire", fingerprint, "seconds=3")
    hub.publish()
    time.sleep(3.5)
    found = next(one for one in wrong(look()) if one["check"] == "key")
    assert found["reason"].startswith("It expired on 20")
    assert f"--quick-set-expire {fingerprint} 0" in found["remedy"]
    assert not [one for one in wrong(look()) if one["check"] == "signature"], "of one cause there is one finding"
    hub.gpg("--quick-set-expire", fingerprint, "0")
    hub.publish()
    assert wrong(look()) == []


def test_a_foreign_key(look, hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    hub.gpg("--quick-generate-key", "Somebody", "ed25519", "sign", "never", home=home)
    hub.break_open("apphub.asc").write_text(hub.gpg("--armor", "--export", home=home))
    found = [one for one in wrong(look()) if one["check"] == "signature"]
    assert [one["subject"] for one in found] == [
        "deb/ubuntu/dists/noble/InRelease",
        f"{EL9}/x86_64/repodata/repomd.xml",
        "slurm-client/index.json",
        "slurm-apk/index.json",
    ]
    assert all("It is signed with the key" in one["reason"] for one in found)
    assert all("apphub_gnupg_home" in one["remedy"] for one in found)


def test_another_key_than_the_one_that_clients_were_told(look):
    found = only(look(key_sha256="0" * 64))
    assert found["code"] == "apphub-key-differs"
    assert "but apphub_client_key_sha256 is 000" in found["reason"]
    assert "set apphub_client_key_sha256" in found["remedy"]


def test_a_key_of_which_nothing_is_known(look):
    found = only(look(key_sha256=""))
    assert (found["check"], found["code"]) == ("key", "apphub-key-unknown")
    assert wrong(look(key_sha256="", insecure=True)) == []


def test_what_should_be_a_key_is_none(look, hub):
    hub.break_open("apphub.asc").write_text("<html>")
    found = next(one for one in wrong(look()) if one["check"] == "key")
    assert found["reason"] == "The file apphub.asc is no public key."


def test_without_gpg_nothing_is_believed(look, hub, monkeypatch):
    known = hub.key_sha256
    monkeypatch.setenv("PATH", "/nowhere")
    found = only(look(key_sha256=known))
    assert found["code"] == "apphub-tool-missing"
    assert "gpg is needed" in found["reason"]
    assert "Install gnupg" in found["remedy"]


@pytest.mark.parametrize(
    ("gone", "subject", "said"),
    [
        ("munge_*", f"{NOBLE} amd64", "no package munge"),
        ("slurm-client_*", f"{NOBLE} amd64", "no package slurm-client"),
        ("libslurm42t64_*", f"{NOBLE} amd64", "needs libslurm42t64 24.11.5-4 or libslurm42 24.11.5-4, which is"),
        ("slurm-slurmd-*", f"{EL9} x86_64", "no package slurm-slurmd"),
        ("slurm-22*", f"{EL9} x86_64", "slurm-slurmd 22.05.8-4.el9 needs slurm 22.05.8-4.el9, which is not there"),
    ],
)  # fmt: skip
def test_a_missing_package_is_named_with_where_to_put_it(look, hub, gone, subject, said):
    for path in hub.sources.rglob(gone):
        path.unlink()
    hub.publish()
    found = [one for one in wrong(look()) if one["check"] == "packages"]
    assert any(one["subject"] == subject and said in one["reason"] for one in found), found
    assert all(one["remedy"].startswith(f"Put what is missing into {subject.split()[0]} below") for one in found)


def test_what_no_node_needs_may_lack_something(look, hub):
    hub.add(NOBLE, "slurm-wlm", depends="slurmctld")
    hub.publish()
    assert wrong(look()) == []


def test_a_version_that_is_there_only_in_part(look, hub):
    hub.add(NOBLE, "slurmd", "25.05.1-1")
    hub.publish()
    found = only(look())
    assert found["reason"] == "There is no slurm-client 25.05.1-1, but other packages of this version."
    assert f"{NOBLE} amd64" not in [one["subject"] for one in wrong(look(version="24.11"))], "nobody wants 25.05"


def test_a_version_that_is_wanted_and_not_there(look):
    found = [one["reason"] for one in wrong(look(version="25.05"))]
    assert found == ["There is no Slurm 25.05, only 24.11.5-4.", "There is no Slurm 25.05, only 22.05.8-4.el9."]


def test_a_repository_that_is_wanted_and_not_there(look):
    found = only(look(repositories=["deb/debian/trixie"]))
    assert found["reason"] == f"It is not published; there are {NOBLE}, {EL9}."
    assert "into deb/debian/trixie below apphub_sources" in found["remedy"]


def test_a_catalog_that_knows_more_than_the_index(look, hub):
    file = hub.break_open("catalog.json")
    catalog = json.loads(file.read_text())
    entry = {"arch": "amd64", "file": "deb/ubuntu/pool/noble/slurmd_26.deb", "sha256": "0"}
    catalog["repositories"][NOBLE]["packages"]["slurmd"]["26.05"] = entry
    file.write_text(json.dumps(catalog))
    found = {one["subject"]: one["reason"] for one in wrong(look())}
    assert found["deb/ubuntu/pool/noble/slurmd_26.deb"] == "The catalog has it, but its index has not."
    assert "Its checksum is" in found["catalog.json"]


@pytest.mark.parametrize(
    ("text", "said"), [("{", "is damaged"), ('{"format": 9, "repositories": {}}', "has format 9, but")]
)
def test_a_catalog_that_can_not_be_read(look, hub, text, said):
    hub.break_open("catalog.json").write_text(text)
    found = next(one for one in wrong(look()) if one["subject"] == "catalog.json")
    assert found["code"] == "apphub-catalog-invalid"
    assert said in found["reason"]


def test_client_bundles_that_are_wanted_and_not_there(look, hub):
    shutil.rmtree(hub.root / "bundles")
    found = only(look())
    assert (found["check"], found["reason"]) == ("bundle", "None is published.")
    assert "apphub_bundles=true" in found["remedy"]
    assert wrong(look(bundles=False)) == []


def test_a_disk_that_is_too_full_to_publish(hub):
    assert apphub_check.check_space(str(hub.root), 1)["ok"]
    full = apphub_check.check_space(str(hub.root), 10**12)
    assert full["code"] == "apphub-disk-full"
    assert "MB are free, less than 1000000000000 MB" in full["reason"]
    assert "enlarge the file system" in full["remedy"]


def test_a_disk_without_room_for_one_more_file(hub, monkeypatch):
    room = os.statvfs(hub.root)
    none_left = SimpleNamespace(f_bavail=room.f_bavail, f_frsize=room.f_frsize, f_files=10, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _: none_left)
    full = apphub_check.check_space(str(hub.root), 1)
    assert "no further file can be made" in full["reason"]


def test_a_machine_on_which_nothing_is_published(tmp_path):
    found = apphub_check.check_space(str(tmp_path), 1)
    assert found["reason"] == "Nothing is published there."
    assert "apphub_root" in found["remedy"]


@pytest.fixture
def playbook(hub, tmp_path):
    """Return a function that runs the playbook against an address, the AppHub's machine being this one."""

    def run(*urls, **variables):
        inventory = {
            "apphub": {
                "hosts": {"hub1": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
            },
            "all": {
                "vars": {
                    "apphub_client_urls": urls,
                    "apphub_root": str(hub.root),
                    "apphub_client_timeout": 2,
                    "apphub_client_key_sha256": hub.key_sha256,
                }
            },
        }
        (tmp_path / "hosts.json").write_text(json.dumps(inventory))
        variables = {"apphub_min_free_mb": 1, "report": str(tmp_path / "report.json"), **variables}
        done = subprocess.run(
            ["ansible-playbook", "-i", tmp_path / "hosts.json", ROOT / "playbooks/check_apphub.yml",
             "-e", json.dumps(variables)],
            cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return done, json.loads((tmp_path / "report.json").read_text()) if (tmp_path / "report.json").exists() else {}

    return run


def test_the_playbook_says_that_all_is_well(playbook, hub, serve):
    url = serve(hub).url
    done, report = playbook(url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (report["kind"], report["well"]) == ("apphub", True)
    assert {one["where"] for one in report["findings"]} == {url, os.uname().nodename}
    assert "nothing is wrong" in done.stdout
    assert "changed=0" in done.stdout


def test_the_playbook_says_what_is_wrong_with_which_server(playbook, hub, serve):
    (hub.pkgs / hub.find(MUNGE)).unlink()
    url = serve(hub).url
    done, report = playbook(url, "http://localhost:1", apphub_min_free_mb=10**9)
    assert done.returncode == 2, done.stdout + done.stderr
    assert not report["well"]
    found = {(one["where"], one["check"]): one for one in wrong(report["findings"])}
    assert set(found) == {(url, "files"), ("http://localhost:1", "server"), (os.uname().nodename, "space")}
    assert all(one["remedy"] and one["remedy"] in done.stdout for one in found.values())
    assert f"Something is wrong with {url}, http://localhost:1, {os.uname().nodename}; see the table." in done.stdout


def test_the_playbook_wants_an_address(playbook):
    done, report = playbook()
    assert done.returncode == 2
    assert "apphub_client_urls is empty" in done.stdout
    assert report == {}


def test_doctor_says_the_same_as_the_playbook(playbook, hub, serve, tmp_path):
    (hub.pkgs / hub.find(MUNGE)).unlink()
    _, report = playbook(serve(hub).url)
    inventory = json.loads((tmp_path / "hosts.json").read_text())
    inventory["slurm_controllers"] = {"hosts": {"ctl1": {}}}
    inventory["all"]["vars"]["apphub_min_free_mb"] = 1
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    command = [sys.executable, "-c", "from slurmscale.cli import main; main()", "doctor", "--json"]
    done = subprocess.run(
        [*command, "--inventory", tmp_path / "hosts.json"],
        cwd=ROOT, env={**os.environ, "SLURMSCALE_DATA_DIR": str(tmp_path / "data")},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    (said,) = [one for one in json.loads(done.stdout) if one["state"] == "failed"]
    found = only(report["findings"])
    assert said["reason"] == f"{found['check']} {found['subject']}: {found['reason']}"
    assert said["code"] == found["code"] == "apphub-file-missing"
    assert said["remedy"] == found["remedy"]
