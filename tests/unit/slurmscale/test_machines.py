"""A machine is told by its address, whatever it is called."""

from __future__ import annotations

import socket
import threading

import pytest
from slurmscale.inventory import machines
from slurmscale.inventory.machines import machine_ids


def test_a_machine_is_its_address_and_port():
    variables = {
        "a": {"ansible_host": "10.0.0.1"},
        "b": {"ansible_ssh_host": "10.0.0.1", "ansible_port": 2222},
        "c": {"ansible_host": "2001:DB8:0::1"},
        "d": {"ansible_connection": "local"},
        "e": {"ansible_connection": "containers.podman.podman", "ansible_host": "box"},
    }
    assert machine_ids(variables, variables, "10.0.0.9") == (
        "10.0.0.1 port 22", "10.0.0.1 port 2222", "2001:db8::1 port 22", "10.0.0.9/d", "containers.podman.podman box"
    )  # fmt: skip


def test_names_are_resolved(monkeypatch):
    answers = {"n1": ["10.0.0.2", "10.0.0.1"], "n1.example.org": ["10.0.0.1", "10.0.0.2"]}

    def getaddrinfo(host, _):
        if host not in answers:
            raise OSError
        return [(None, None, None, "", (address, 0)) for address in answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    one, other = machine_ids(["n1", "x"], {"x": {"ansible_host": "n1.example.org"}}, "ctl")
    assert one == other == "10.0.0.1 port 22"
    assert machine_ids(["Unknown"], {}, "ctl") == ("unknown port 22",)


def test_a_name_service_that_does_not_answer_is_not_waited_for(monkeypatch):
    answers = threading.Event()
    monkeypatch.setattr(machines, "_RESOLVE_SECONDS", 0.1)
    # It answers only when the test has its result, or else gives up.
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [] if answers.wait(60) else pytest.fail("it was waited for"))
    try:
        assert machine_ids(["n1"], {}, "ctl") == ("n1 port 22",)
        assert not answers.is_set()
    finally:
        answers.set()
