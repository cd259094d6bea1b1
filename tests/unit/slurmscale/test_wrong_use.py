"""Wrong use: an exit code, a reason and a remedy, and never a traceback, whatever the arguments are."""

from __future__ import annotations

import functools
import json
import os
import random
import stat
import subprocess
import sys
import time

import pytest
import typer
from slurmscale.cli import app, cluster_commands, commands_from_operations, doctor, job_commands, main, option_values
from slurmscale.errors import RefusedError, StoreError
from slurmscale.inventory.names import check_variables
from slurmscale.runner.fake import FakeJob
from slurmscale.runner.secret_socket import SecretSocket
from slurmscale.runs import apphub_check
from slurmscale.scaling import Scaling
from slurmscale.store.repository import Store

EXIT_CODES = {0, 1, 2, 130}


def no_terminal(*_, **__):
    raise EOFError


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Return a function that runs the command in this process, with a replay in the place of Ansible."""
    for name in os.environ:
        if name.startswith("SLURMSCALE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SLURMSCALE_DATA_DIR", str(tmp_path / "data"))
    for module in (cluster_commands, job_commands, commands_from_operations):
        monkeypatch.setattr(module, "Scaling", functools.partial(Scaling, make_job=lambda _: FakeJob([], [])))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("getpass.getpass", no_terminal)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: PTH123, SIM115 - as long as the test
    (tmp_path / "hosts.yml").write_text("slurm_controllers: {hosts: {ctl: }}\nslurm_nodes: {hosts: {a: , b: }}\n")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "list.yml").write_text("[1, 2]\n")
    (tmp_path / "itself.yml").write_text("a: &a [*a]\n")
    (tmp_path / "bomb.yml").write_text(
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    )
    (tmp_path / "deep.yml").write_text("a: " + "[" * 5000)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["slurmscale", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("-e", "{1: 2}"), ("-e", "a='b"), ("-e", "@binary"), ("-e", "@/nowhere"), ("-e", "@."), ("-e", "@list.yml"),
        ("-e", "@itself.yml"), ("-e", "@bomb.yml"), ("-e", "@deep.yml"), ("-e", "@/dev/zero"),
        ("-e", "{d: 2026-01-02}"),
        ("-e", "{x: .nan}"), ("-e", "{x: !!binary aGk=}"), ("-e", "a-b=1"), ("-e", "{" + "9" * 5000 + ": 1}"),
        ("-e", "{x: " + "9" * 5000 + "}"), ("-e", "word"), ("-e", "slurmscale_secrets=1"),
        ("--host", "a=x:abc"), ("--host", "a=[::1"), ("--host", "a="), ("--host", "b=10.0.0.1"), ("--host", "a"),
        ("--host", "a=-oProxyCommand=x"), ("--host", "a=10.0.0.1:99999"), ("--timeout", "nan"), ("--timeout", "inf"),
        ("--user", "a b"), ("--private-key", "/nowhere"), ("--forks", "99999999999999999999"),
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)  # fmt: skip
def test_wrong_options_are_refused_with_reason_and_remedy(command, arguments):
    code, out, err = command("up", "a", "-i", "hosts.yml", "--json", *arguments)
    assert code == 2, err
    failure = json.loads(out)["error"]
    assert failure["code"] == "request-invalid"
    assert failure["reason"] in err
    assert failure["remedy"] in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs", "-n", "99999999999999999999"), ("up", "@group:x", "-i", "hosts.yml"), ("up", "*", "-i", "hosts.yml"),
        ("up", "node[1-10000000]", "-i", "hosts.yml"), ("up", "slurm_nodes", "-i", "hosts.yml"),
        ("up", "a", "-i", "x" * 5000), ("up", "a", "-c", "\udcff"), ("log", "a\udcff"), ("up",), (), ("nonsense",),
        ("cluster", "add", "lab/../x", "-i", "hosts.yml"),
        ("cluster", "add", "x", "-i", "hosts.yml", "-e", "{db: {password: x}}"),
        ("cluster", "add", "x", "--controller", "c", "--apphub", "http://u:secret-word@hub"),
        ("down", "a", "-i", "hosts.yml"),
    ],
    ids=lambda arguments: " ".join(arguments).encode(errors="replace").decode()[:40],
)  # fmt: skip
def test_wrong_commands_are_refused(command, arguments):
    code, out, err = command(*arguments)
    assert code == 2
    assert bool(out) is not bool(arguments), "help is the answer to no arguments at all"
    assert err or not arguments
    assert "Traceback" not in err
    assert "secret-word" not in err


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://u:secret-word@host:port/x", "nonsense", "mysql+no://x", "sqlite:////proc/no/x.db",
     "postgresql+psycopg://u:secret-word@ho:st:5:6/x"],
)  # fmt: skip
def test_a_wrong_database_url_is_refused_without_its_password(command, monkeypatch, url):
    monkeypatch.setenv("SLURMSCALE_DATABASE_URL", url)
    code, out, err = command("runs", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "database-unavailable"
    assert "secret-word" not in out + err


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("10.0.0.1", "10.0.0.1", None), ("10.0.0.1:22", "10.0.0.1", 22), ("[::1]:22", "::1", 22), ("[::1]", "::1", None),
     ("fe80::1", "fe80::1", None), ("n1.example.org:2222", "n1.example.org", 2222)],
)  # fmt: skip
def test_addresses(text, host, port):
    node = option_values.nodes_of_options("a", [f"a={text}"])["a"]
    assert (node.host, node.credentials.port) == (host, port)


def test_a_mistake_of_ours_is_shown_without_traceback_and_locals(command, monkeypatch):
    def fail(*_, **__):
        password = "secret-word"  # noqa: F841 - must not be shown
        raise KeyError("secret-word")

    monkeypatch.setattr(Store, "runs", fail)
    code, out, err = command("tasks", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "internal-error"
    assert "KeyError in test_wrong_use.py" in err
    assert "secret-word" not in out + err


def test_doctor_gives_no_secret_to_the_programs_it_runs(command, monkeypatch, tmp_path):
    monkeypatch.setenv("SLURMSCALE_SSH_PASSWORD", "secret-word")
    monkeypatch.setenv("SLURMSCALE_VAULT_PASSWORD", "secret-word")
    program = tmp_path / "inventory.sh"
    program.write_text(f'#!/bin/sh\nenv > {tmp_path}/environment\necho \'{{"slurm_controllers": ["c"]}}\'\n')
    program.chmod(0o755)
    command("doctor", "-i", str(program))
    environment = (tmp_path / "environment").read_text()
    assert "SLURMSCALE_SSH_PASSWORD=" in environment
    assert "secret-word" not in environment


def test_a_quote_in_a_path_is_no_quote_in_a_command(tmp_path):
    directory = tmp_path / 'it\'s "$HOME"'
    directory.mkdir()
    channel = SecretSocket(directory, {"x": 1})
    try:
        done = subprocess.run([channel.inventory_script], capture_output=True, text=True, check=True)
    finally:
        channel.close()
    assert json.loads(done.stdout) == {"x": 1}


def test_the_database_is_readable_by_its_owner_only_also_in_a_directory_that_existed(tmp_path):
    old = os.umask(0)
    try:
        folder = tmp_path / "data"
        folder.mkdir(mode=0o755)
        store = Store(f"sqlite:///{folder}/slurmscale.db")
        store.runs()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
        store.close()
    finally:
        os.umask(old)
    assert modes.pop("data") == 0o700
    assert "slurmscale.db" in modes
    assert set(modes.values()) == {0o600}


def test_a_directory_that_others_use_keeps_its_mode(tmp_path):
    (tmp_path / "other").touch()
    tmp_path.chmod(0o755)
    Store(f"sqlite:///{tmp_path}/slurmscale.db").close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_variables_that_refer_to_themselves_end():
    endless = {}
    endless["a"] = endless
    with pytest.raises(RefusedError, match="more than"):
        check_variables(endless)


# -- random command lines

# what watches never ends by itself
ENDLESS = {"--watch", "-w", "serve", "worker"}


def words(command):
    """Yield the names of a command, of its options, and of all commands below it."""
    for parameter in command.params:
        yield from parameter.opts if parameter.param_type_name == "option" else ()
    for name, one in getattr(command, "commands", {}).items():
        yield name
        yield from words(one)


COMMANDS = sorted(set(typer.main.get_command(app).commands) - ENDLESS)
WORDS = [*sorted(set(words(typer.main.get_command(app))) - ENDLESS), "--", "-", ""]
VALUES = [
    "hosts.yml", "binary", "/", ".", "/nowhere", "/dev/null", "a", "a,b", "n[1-3]", "node[1-10000000]", "@all",
    "*", "[", "]",
    "{1: 2}", "{a: 1}", "a='b", "x=1", "@binary", "@hosts.yml", "@bomb.yml", "a=x:abc", "a=[::1]:22", "a=10.0.0.1",
    "99999999999999999999", "-1", "0", "1", "1e309", "nan", "lab", "lab/../x", "{{ 7 * 7 }}", "$(id)", "`id`",
    "\n", "\t",
    "\x1b]0;x\x07", "\udcff", "\u202e", "ünïcode", "x" * 3000, "20260101-120000-a1b2c3", "http://u:p@h", "%s%n",
    "'", '"',
]  # fmt: skip


def random_arguments(generator):
    def text():
        return "".join(chr(generator.choice([generator.randrange(1, 128), generator.randrange(1, 0x3000)]))
                       for _ in range(generator.randrange(8)))  # fmt: skip

    begin = [generator.choice(COMMANDS)] if generator.random() < 0.8 else []
    begin += ["a,b", "-i", "hosts.yml"] if generator.random() < 0.3 else []
    length = generator.randrange(7)
    return begin + [
        generator.choice(VALUES) if generator.random() < 0.45 else text() if generator.random() < 0.1
        else generator.choice(WORDS)
        for _ in range(length)
    ]  # fmt: skip


def fuzz(command, seeds):
    for seed in seeds:
        arguments = random_arguments(random.Random(seed))  # noqa: S311 - to be repeated
        begun = time.process_time()
        code, out, err = command(*arguments)
        # of this process; what ansible-inventory takes is Ansible's
        took = time.process_time() - begun
        what = f"seed {seed}: {arguments!r}: {code}\n{out}{err}"
        assert code in EXIT_CODES, what
        assert "Traceback" not in out + err, what
        assert "internal-error" not in out + err, what
        assert "A mistake in slurmscale" not in err, what
        assert "\x1b]" not in out + err, what
        assert took < 2, f"{took:.1f} s, {what}"


@pytest.fixture(autouse=True)
def _no_playbook(monkeypatch):
    """Leave out of doctor what takes seconds and no arguments."""
    monkeypatch.setattr(apphub_check, "AnsibleJob", lambda _: FakeJob([], []))
    monkeypatch.setattr(doctor, "_ansible", lambda _: "")


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """Let the process that would leave the terminal be the test's own."""
    monkeypatch.setattr(commands_from_operations.background, "run", lambda work, *, apart: work(lambda: None))  # noqa: ARG005 - its name


def test_random_command_lines(command):
    fuzz(command, range(300))


@pytest.mark.long
def test_many_random_command_lines(command):
    fuzz(command, range(1_000, 11_000))


def test_the_app_itself_is_what_the_console_command_runs():
    assert app.info.name == "slurmscale"


def test_an_error_of_the_store_has_a_remedy():
    assert StoreError("a", "b").as_dict() == {"code": "database-unavailable", "reason": "a", "remedy": "b"}
