# ruff: noqa: T201 - programs print
"""scontrol, squeue, systemctl and journalctl of a fake controller, chosen by the name that this file is called by.

What slurmctld has loaded, and how it behaves, stands in the file `state` of the fake's directory; see
slurmctld.FakeController. A slurm.conf with the word Deadly ends it, one with DiesLater a moment after it was started,
and one with Unparsable is refused by its parser.
"""

import json
import os
import pathlib
import re
import sys
import time

home = pathlib.Path(sys.argv[0]).parents[1]
state = json.loads((home / "state").read_text())
conf = pathlib.Path(os.environ.get("SLURM_CONF", home / "etc/slurm.conf"))
args = sys.argv[1:]
name = pathlib.Path(sys.argv[0]).name


def text() -> str:
    """Return slurm.conf with the file that it includes."""
    main = conf.read_text()
    own = conf.parent / "slurmscale-nodes.conf"
    return main + (own.read_text() if "Include slurmscale" in main and own.exists() else "")


def names(source: str) -> list:
    return [n for n in re.findall(r"^NodeName=(\S+)", source, re.MULTILINE) if "placeholder" not in n]


def load() -> None:
    state["loads"] += 1
    state["up"] = "Deadly" not in text()
    state["loaded"] = text() if state["up"] else ""
    state["dies"] = time.time() + 0.3 if "DiesLater" in text() else 0
    state["states"] = {n: s for n, s in state["states"].items() if n in names(text())}


def save() -> None:
    (home / "state").write_text(json.dumps(state))


if state["dies"] and time.time() > state["dies"]:
    state.update(up=False, dies=0)
    save()
with (home / "calls").open("a") as calls:
    calls.write(" ".join([name, *args]) + "\n")
if name == "systemctl":
    if args[0] == "show":
        active = "active" if state["up"] else "failed"
        print("LoadState=loaded\nActiveState=" + active + "\nSubState=x\nMainPID=" + str(state["pid"]))
    elif args[0] == "restart":
        time.sleep(state["slow"])
        state["pid"] += 1
        load()
        save()
elif name == "journalctl":
    print("slurmctld: fatal: a deadly parameter" if "Deadly" in text() else "slurmctld: fine")
elif name == "squeue":
    print(state["jobs"])
elif name == "scontrol":
    if "Unparsable" in text():
        sys.exit("scontrol: error: Parsing error at unrecognized key: Unparsable")
    if args[:2] in (["show", "hostlistsorted"], ["show", "hostnames"]):
        print(args[2])
    elif args == ["ping"]:
        print("Slurmctld(primary) at ctl is " + ("UP" if state["up"] else "DOWN"))
    elif not state["up"]:
        sys.exit("slurm_load error: Unable to contact slurm controller (connect failure)")
    elif args == ["reconfigure"]:
        if "Deadly" in text():
            sys.exit("slurm_reconfigure error: Unspecified error")
        load()
        save()
    elif "config" in args:
        print("SLURM_VERSION = " + state["version"] + "\nSlurmctldParameters = enable_configless")
        print("HASH_VAL = " + ("Match" if state["loaded"] == text() else "Different Ours=0x1 Slurmctld=0x2"))
    else:
        for n in names(state["loaded"]):
            address = state["addresses"].get(n, "127.0.0.1")
            print("NodeName=" + n + " NodeAddr=" + address + " CPUAlloc=0 State=" + state["states"].get(n, "IDLE"))
