"""The look at a cluster holds what the contract names, whether or not slurmctld answers."""

import pathlib
import socket
from collections.abc import Callable
from platform import freedesktop_os_release

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.cluster_facts import describe
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller.installation import Installation

Host = tuple[pathlib.Path, Callable[[str, str], None]]
DATA = pathlib.Path(__file__).parents[1] / "data"
UNIT = """LoadState=loaded
ActiveState={active}
SubState=running
UnitFileState=enabled
FragmentPath=/lib/systemd/system/slurmctld.service
MainPID=0
Result=success
NRestarts=0
InvocationID=abc"""
CONF = """ClusterName=t
SlurmctldHost=c1(10.0.0.1)
SlurmctldHost=c2
SlurmctldParameters=enable_configless
SlurmctldPort=6820-6822
SlurmUser=nobody
PartitionName=DEFAULT Nodes=ALL
PartitionName=main Default=YES
PartitionName=big Nodes=n[1-2] State=DOWN
"""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Host:
    """A host whose programs are scripts that say what real ones said."""
    programs = tmp_path / "bin"
    programs.mkdir()
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "slurm.conf").write_text(CONF)
    (etc / "slurmdbd.conf").write_text("StoragePass=secret\n")
    (tmp_path / "munge.key").write_bytes(b"not for anybody")
    (tmp_path / "munge.key").chmod(0o400)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def program(name: str, body: str) -> None:
        (programs / name).write_text("#!/bin/sh\n" + body)
        (programs / name).chmod(0o755)

    program("systemctl", f"cat <<'X'\n{UNIT.format(active='active')}\nX\n")
    program("journalctl", "echo 'fatal: the last word'\n")
    program("slurmctld", "echo slurm 24.11.5\n")
    program("ip", "echo '2: eth0 inet 10.1.2.3/24 brd x'\n")
    return tmp_path, program


def describe_host(tmp_path: pathlib.Path) -> dict:
    installation = Installation("slurmctld", str(tmp_path / "etc/slurm.conf"), "")
    return describe(installation, str(tmp_path / "munge.key"), 5)


@pytest.mark.parametrize("generation", ["22.05", "24.11"])
def test_an_answering_cluster_is_told_by_slurmctld(host: Host, generation: str) -> None:
    tmp_path, program = host
    program(
        "scontrol",
        f"""case "$*" in
        ping) cat {DATA}/{generation}-ping.txt;;
        "show config") cat {DATA}/{generation}-show-config.txt;;
        *partition) cat {DATA}/{generation}-show-partition.txt;;
        *node) cat {DATA}/{generation}-show-node.txt;;
        *reservation) cat {DATA}/show-reservation.txt;;
        *"hostnames "*) printf 'n1\nn2\n';;
        esac""",
    )
    cluster = describe_host(tmp_path)
    assert cluster["answering"] is True
    assert cluster["message"] == ""
    assert cluster["version"].startswith(generation)
    assert (cluster["name"], cluster["configless"]) == ("t", True)
    assert (cluster["port"], cluster["slurmd_port"]) == (6817, 6818)
    assert cluster["nodes"]["n1"]["state"] == ["IDLE"]
    assert cluster["partitions"]["main"]["default"] is True
    assert cluster["reservations"]["upkeep"]["nodes"] == ["n1", "n2"]
    assert cluster["nodes"]["n1"]["defined_in"] == ""
    assert cluster["addresses"]["ips"] == ["10.1.2.3"]
    assert cluster["daemon"]["load"] == "loaded"


def test_a_silent_cluster_is_told_by_its_files(host: Host) -> None:
    tmp_path, program = host
    program("scontrol", "echo 'Slurmctld(primary) at c1 is DOWN'; exit 1")
    cluster = describe_host(tmp_path)
    assert cluster["answering"] is False
    assert cluster["nodes"] == {}
    assert (cluster["version"], cluster["name"], cluster["port"]) == ("24.11.5", "t", 6820)
    assert cluster["controllers"] == [{"host": "c1", "mode": "primary", "up": False, "addresses": ["10.0.0.1"]}]
    assert cluster["cluster_name"] == "t"
    assert cluster["failure"]["code"] == "controller-not-answering"
    assert cluster["partitions"]["main"]["nodes"] == "ALL"
    assert cluster["partitions"]["big"]["state"] == "DOWN"
    assert cluster["users"]["slurm"]["name"] == "nobody"
    assert "does not answer: it is not running, slurmctld.service is active/running" in cluster["message"]
    assert "fatal: the last word" in cluster["message"]


def test_a_file_that_slurm_cannot_parse_is_told_in_slurms_words(host: Host) -> None:
    tmp_path, program = host
    program("scontrol", "echo 'scontrol: error: Parsing error at unrecognized key: Foo' >&2; exit 1")
    cluster = describe_host(tmp_path)
    assert "unrecognized key: Foo" in cluster["message"]
    assert [one["host"] for one in cluster["controllers"]] == ["c1", "c2"]


def test_a_host_without_slurmctld_says_where_to_look(host: Host) -> None:
    tmp_path, program = host
    program("scontrol", "exit 127")
    program("systemctl", "echo LoadState=not-found; echo MainPID=0")
    cluster = describe_host(tmp_path)
    message = cluster["message"]
    assert cluster["failure"]["code"] == "service-missing"
    assert "slurmctld is not on this host" in message
    assert "slurm_controllers" in message


def test_a_missing_slurm_conf_is_told(host: Host) -> None:
    tmp_path, program = host
    program("scontrol", "exit 1")
    (tmp_path / "etc/slurm.conf").unlink()
    cluster = describe_host(tmp_path)
    assert "slurm.conf is missing" in cluster["message"]
    assert cluster["failure"]["code"] == "configuration-unreadable"
    assert cluster["partitions"] == {}


def test_the_system_of_the_controller_is_told(host: Host) -> None:
    tmp_path, program = host
    program("scontrol", "exit 1")
    release = freedesktop_os_release()
    found = describe_host(tmp_path)["os"]
    assert found == {
        "id": release["ID"], "version_id": release.get("VERSION_ID"), "pretty": release["PRETTY_NAME"],
    }  # fmt: skip


def test_the_key_is_known_by_its_fingerprint_only(host: Host) -> None:
    tmp_path, program = host
    program("scontrol", "exit 1")
    cluster = describe_host(tmp_path)
    assert cluster["munge_key"]["mode"] == "0400"
    assert len(cluster["munge_key"]["sha256"]) == 64
    assert "not for anybody" not in str(cluster)


def test_files_of_the_database_are_not_listed(host: Host) -> None:
    tmp_path, program = host
    program("scontrol", "exit 1")
    assert list(describe_host(tmp_path)["files"]) == ["slurm.conf"]


def test_a_node_tells_where_it_is_defined(host: Host) -> None:
    tmp_path, program = host
    with (tmp_path / "etc/slurm.conf").open("a") as stream:
        stream.write("NodeName=n1 CPUs=2\n")
    program(
        "scontrol",
        f"""case "$*" in
        ping) cat {DATA}/24.11-ping.txt;;
        *node) cat {DATA}/24.11-show-node.txt;;
        esac""",
    )
    cluster = describe_host(tmp_path)
    assert cluster["nodes"]["n1"]["defined_in"].endswith("etc/slurm.conf line 10")
    assert (cluster["registered"], cluster["interrupted"]) == ({}, False)


def test_a_cluster_tells_what_was_registered(host: Host) -> None:
    tmp_path, program = host
    with (tmp_path / "etc/slurm.conf").open("a") as stream:
        stream.write("NodeName=old CPUs=2\nInclude slurmscale-nodes.conf\n")
    (tmp_path / "etc/slurmscale-nodes.conf").write_text(
        'NodeName=n1 CPUs=4 Reason="a b"\nNodeSet=slurmscale Nodes=n1\n'
    )
    gres = "NodeName=n1 Name=gpu File=/dev/nvidia0"
    (tmp_path / "etc/gres.conf").write_text(
        f"# BEGIN slurmscale: Gres of the nodes that it manages\n{gres}\n# END slurmscale\n"
    )
    (tmp_path / "etc/slurmscale-backup").mkdir()
    (tmp_path / "etc/slurmscale-backup" / "in-progress.json").write_text("{}")
    program(
        "scontrol",
        f"""case "$*" in
        ping) cat {DATA}/24.11-ping.txt;;
        *node) cat {DATA}/24.11-show-node.txt;;
        esac""",
    )
    cluster = describe_host(tmp_path)
    assert cluster["registered"] == {"n1": {"params": {"CPUs": "4", "Reason": "a b"}, "gres_lines": [gres]}}
    assert cluster["nodes"]["n1"]["managed"] is True
    assert cluster["interrupted"] is True


def test_the_controller_itself_is_known_by_all_its_addresses(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slurmd that was pointed to one of them belongs to this cluster."""
    tmp_path, program = host
    program("scontrol", f'case "$*" in ping) cat {DATA}/24.11-ping.txt;; esac')
    program("ip", "printf '2: eth0 inet 10.1.2.3/24 brd x\\n3: ib0 inet 10.9.2.3/24 brd x\\n'\n")
    monkeypatch.setattr(socket, "gethostname", lambda: "ctl.example.org")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(2, 1, 6, "", ("127.0.1.1", 0))])
    assert describe_host(tmp_path)["controllers"] == [
        {"host": "ctl", "mode": "primary", "up": True, "addresses": ["10.1.2.3", "10.9.2.3"]}
    ]


def test_the_programs_that_nodes_must_have_are_told(host: Host) -> None:
    tmp_path, program = host
    (tmp_path / "etc/plugstack.conf").write_text(
        "# all\nrequired /opt/spank/a.so x=1\noptional /opt/b.so\nrequired c.so\n"
        f"include {tmp_path}/etc/more.d/*.conf\n"
    )
    (tmp_path / "etc/more.d").mkdir()
    (tmp_path / "etc/more.d/d.conf").write_text("  required  /opt/spank/d.so\n")
    program(
        "scontrol",
        """case "$*" in
        ping) echo "Slurmctld(primary) at c1 is UP";;
        "show config") printf '%s\\n' 'SlurmUser = root(0)' 'Prolog[0] = /etc/site/prolog.d/*' 'Epilog = rel' \\
            'TaskProlog = /opt/task';;
        esac""",
    )
    assert describe_host(tmp_path)["node_programs"] == {
        "Prolog[0]": "/etc/site/prolog.d",
        "TaskProlog": "/opt/task",
        "plugin a.so": "/opt/spank/a.so",
        "plugin d.so": "/opt/spank/d.so",
    }


def test_how_slurmd_finds_gpus_is_told_by_what_the_administrator_wrote(host: Host) -> None:
    tmp_path, program = host
    program(
        "scontrol",
        """case "$*" in
        ping) echo "Slurmctld(primary) at c1 is UP";;
        "show hostnames n[1-2]") printf 'n1\\nn2\\n';;
        esac""",
    )
    assert describe_host(tmp_path)["gres_autodetect"] == {}
    (tmp_path / "etc/gres.conf").write_text(
        "# AutoDetect=rsmi\nautodetect = NVML # all\nName=gpu NodeName=n[1-2] AutoDetect=off\n"
        "# BEGIN slurmscale: Gres of the nodes that it manages\nNodeName=n3 AutoDetect=nvml\n# END slurmscale\n"
    )
    assert describe_host(tmp_path)["gres_autodetect"] == {"": "nvml", "n1": "off", "n2": "off"}
