# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The tree that an AppHub serves: built beside the one in use, and put in its place by switching one link.

root/current -> generations/N    what is served
root/generations/N/pkgs/         indexes and packages; files that stayed are hard links into N-1
root/generations/N/state.json    what the next run compares with; not served

A client that has read an index of N-1 goes on with it while N takes its place. So N has the files of the trees before
it as well, but for those that clients begin with. No index of N names them, and they are removed with the trees that
they are part of.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Set

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import repositories
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.gpg import Signer
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.packages import (
    Package,
    Repositories,
    changed_repositories,
    sha256,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError, fail

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

FORMAT = 2


@contextmanager
def lock(root: str) -> Iterator[None]:
    """Let only one run at a time publish below a root folder."""
    os.makedirs(os.path.join(root, "generations"), exist_ok=True)
    with open(os.path.join(root, ".lock"), "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def run_publisher(module: AnsibleModule, publish: Callable[..., Dict[str, Any]]) -> None:
    """Run a module that publishes.

    Args:
        module: The module; `root` and `gnupg_home` are among its options.
        publish: Takes the options' values, the signer and check_mode; returns the module's result.
    """
    # The web server's user has to read what is written, whatever the login user's habits are.
    os.umask(0o022)
    signer = Signer(module.params["gnupg_home"])
    try:
        if module.check_mode:
            result = publish(module.params, signer, check_mode=True)
        else:
            with lock(module.params["root"]):
                result = publish(module.params, signer, check_mode=False)
    except FailureError as error:
        fail(module, error.failure)
    except OSError as error:
        code = Code.APPHUB_DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else Code.TASK_FAILED
        fail(
            module,
            Failure(code, f"{error}.", "Nothing was published; the packages that were served before are still served."),
        )
    finally:
        signer.close()
    module.exit_json(**result)


@contextmanager
def building(root: str) -> Iterator[str]:
    """Give a folder to build the next tree in; what is left of it when that fails is removed.

    Args:
        root: The root folder.
    """
    folder = os.path.join(root, "generations", ".building")
    # An interrupted run left it.
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "pkgs"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def serve(root: str, built: str, state: Dict[str, Any], keep: int) -> str:
    """Serve a new tree.

    Args:
        root: The root folder.
        built: The folder of the tree, from building().
        state: What the next run has to know; the keys of `manifest` are the files of the tree.
        keep: How many of the trees served before stay, with what clients may still ask for.

    Returns:
        Path of the new tree.
    """
    with open(os.path.join(built, "state.json"), "w", encoding="utf-8") as stream:
        json.dump(state, stream)
    generations = os.path.dirname(built)
    numbers = sorted(int(name) for name in os.listdir(generations) if re.match(r"^[0-9]+$", name))
    kept = numbers[max(0, len(numbers) - keep) :]
    for number in reversed(kept):
        _carry_over(os.path.join(generations, str(number)), built)
    target = os.path.join(generations, str(numbers[-1] + 1 if numbers else 1))
    os.rename(built, target)
    current = os.path.join(root, "current")
    if os.path.lexists(current + ".new"):
        os.unlink(current + ".new")
    os.symlink(os.path.relpath(target, root), current + ".new")
    os.replace(current + ".new", current)
    for number in set(numbers) - set(kept):
        shutil.rmtree(os.path.join(generations, str(number)))
    return target


def _carry_over(old: str, new: str) -> None:
    """Link into a new tree what an old one had and this one has not, for clients in the middle of a download."""
    for path in load(old).get("manifest", {}):
        source, target = (os.path.join(folder, "pkgs", path) for folder in (old, new))
        if not repositories.is_entry(path) and os.path.isfile(source) and not os.path.lexists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.link(source, target)


def load(tree: str) -> Dict[str, Any]:
    """Return what is known of a tree; empty when there is none, or one of another format."""
    try:
        with open(os.path.join(tree, "state.json"), encoding="utf-8") as stream:
            state = json.load(stream)
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) and state.get("format") == FORMAT else {}


class Tree:
    """What is published below a root folder.

    Attributes:
        repositories: The packages published, by repository; without those of damaged ones.
        damaged: Repositories that miss files, and an empty name when files beside them are missing.
    """

    def __init__(self, root: str, signature: Dict[str, Any], *, verify: bool) -> None:
        """Load what is published.

        Args:
            root: The root folder; it need not exist.
            signature: How everything has to be signed. What was signed otherwise counts as not published.
            verify: Compare checksums, too, to find damage; sizes are compared always.
        """
        self.root = root
        self.signature = signature
        self.current = os.path.join(root, "current")
        self.served = os.path.join(self.current, "pkgs")
        self.repositories: Repositories = {}
        self._manifest: Dict[str, Any] = {}
        state = load(self.current)
        if state.get("signature") == signature:
            self._manifest = state["manifest"]
            self.repositories = {
                name: [Package(**package) for package in packages] for name, packages in state["repositories"].items()
            }
        self.damaged = self._damaged(verify=verify)
        for name in self.damaged:
            self.repositories.pop(name, None)

    def _damaged(self, *, verify: bool) -> Set[str]:
        owner = {folder + "/": name for name in self.repositories for folder in repositories.folders(name)}
        damaged = set()
        for path, entry in self._manifest.items():
            full = os.path.join(self.served, path)
            try:
                whole = os.path.getsize(full) == entry["size"]
                if whole and verify and entry["sha256"]:
                    whole = sha256(full) == entry["sha256"]
            except OSError:
                whole = False
            if not whole:
                damaged.add(next((name for folder, name in owner.items() if path.startswith(folder)), ""))
        return damaged

    def key(self) -> bytes:
        """Return the public key that is served; nothing when there is none."""
        try:
            with open(os.path.join(self.served, "apphub.asc"), "rb") as stream:
                return stream.read()
        except OSError:
            return b""

    def publish(self, want: Repositories, signer: Signer, keep: int) -> str:
        """Rebuild the tree and serve it.

        Args:
            want: The packages to serve.
            signer: Signs them.
            keep: How many of the trees served before stay, for clients in the middle of a download.

        Returns:
            Path of the new tree.
        """
        with building(self.root) as folder:
            new = os.path.join(folder, "pkgs")
            known: Dict[str, Any] = {}
            for name, packages in want.items():
                if name in self.repositories and name not in changed_repositories(want, self.repositories):
                    known.update(self._link(name, new))
                else:
                    self._build(name, packages, new, signer)
            with open(os.path.join(new, "apphub.asc"), "wb") as stream:
                stream.write(signer.public_key())
            state = {
                "format": FORMAT,
                "signature": self.signature,
                "manifest": repositories.write_lists(new, want, known),
                "repositories": {name: [package.state() for package in packages] for name, packages in want.items()},
            }
            return serve(self.root, folder, state, keep)

    def _link(self, name: str, new: str) -> Dict[str, Any]:
        prefixes = tuple(folder + "/" for folder in repositories.folders(name))
        known = {path: entry for path, entry in self._manifest.items() if path.startswith(prefixes)}
        for path in known:
            target = os.path.join(new, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.link(os.path.join(self.served, path), target)
        return known

    def _build(self, name: str, packages: List[Package], new: str, signer: Signer) -> None:
        archs = repositories.architectures(name, packages)
        deb = name.startswith("deb/")
        with tempfile.TemporaryDirectory(dir=os.path.dirname(new)) as work:
            fresh = {package.name: os.path.join(work, package.name) for package in packages if package.source}
            for package in packages:
                if package.source:
                    shutil.copyfile(package.source, fresh[package.name])
            if not deb and self.signature["rpms"]:
                signer.sign_rpms(list(fresh.values()))
            for package in packages:
                source = fresh.get(package.name) or os.path.join(self.served, package.paths[0])
                if package.source:
                    package.sha256 = sha256(source)
                package.paths = repositories.paths(name, package, archs)
                for path in package.paths:
                    target = os.path.join(new, path)
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.link(source, target)
        if deb:
            repositories.index_deb(new, name, archs, signer, self.signature["origin"])
        else:
            repositories.index_rpm(new, name, archs, signer, self.served)
