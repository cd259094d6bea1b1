# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The tree that an AppHub serves: built beside the one in use, and put in its place by switching one link.

root/current -> generations/N    what is served
root/generations/N/pkgs/         indexes and packages; files that stayed are hard links into N-1
root/generations/N/state.json    what the next run compares with; not served
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Set

from ansible_collections.ai_infra.slurm.plugins.module_utils import apphub_index, apphub_packages

FORMAT = 1


@contextmanager
def lock(root: str) -> Iterator[None]:
    """Let only one run at a time publish below a root folder."""
    os.makedirs(os.path.join(root, "generations"), exist_ok=True)
    with open(os.path.join(root, ".lock"), "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


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
        self.repositories: apphub_packages.Repositories = {}
        self._manifest: Dict[str, Any] = {}
        state = self._load()
        if state.get("signature") == signature:
            self._manifest = state["manifest"]
            self.repositories = {
                name: [apphub_packages.Package(**package) for package in packages]
                for name, packages in state["repositories"].items()
            }
        self.damaged = self._damaged(verify=verify)
        for name in self.damaged:
            self.repositories.pop(name, None)

    def _load(self) -> Dict[str, Any]:
        try:
            with open(os.path.join(self.current, "state.json"), encoding="utf-8") as stream:
                state = json.load(stream)
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) and state.get("format") == FORMAT else {}

    def _damaged(self, *, verify: bool) -> Set[str]:
        owner = {folder + "/": name for name in self.repositories for folder in apphub_index.folders(name)}
        damaged = set()
        for path, entry in self._manifest.items():
            full = os.path.join(self.served, path)
            try:
                whole = os.path.getsize(full) == entry["size"]
                if whole and verify and entry["sha256"]:
                    whole = apphub_packages.sha256(full) == entry["sha256"]
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

    def publish(self, want: apphub_packages.Repositories, signer: apphub_index.Signer, keep: int) -> str:
        """Build the tree anew and serve it.

        Args:
            want: The packages to serve.
            signer: Signs them.
            keep: How many of the trees served before stay, for clients in the middle of a download.

        Returns:
            Path of the new tree.
        """
        generations = os.path.join(self.root, "generations")
        building = os.path.join(generations, ".building")
        # An interrupted run left it.
        shutil.rmtree(building, ignore_errors=True)
        new = os.path.join(building, "pkgs")
        os.makedirs(new)
        known: Dict[str, Any] = {}
        for name, packages in want.items():
            if name in self.repositories and name not in apphub_packages.stale(want, self.repositories):
                known.update(self._link(name, new))
            else:
                self._build(name, packages, new, signer)
        with open(os.path.join(new, "apphub.asc"), "wb") as stream:
            stream.write(signer.public_key())
        state = {
            "format": FORMAT,
            "signature": self.signature,
            "manifest": apphub_index.finish(new, want, known),
            "repositories": {name: [package.state() for package in packages] for name, packages in want.items()},
        }
        with open(os.path.join(building, "state.json"), "w", encoding="utf-8") as stream:
            json.dump(state, stream)
        return self._switch(building, keep)

    def _link(self, name: str, new: str) -> Dict[str, Any]:
        for folder in apphub_index.folders(name):
            shutil.copytree(os.path.join(self.served, folder), os.path.join(new, folder), copy_function=os.link)
        prefixes = tuple(folder + "/" for folder in apphub_index.folders(name))
        return {path: entry for path, entry in self._manifest.items() if path.startswith(prefixes)}

    def _build(self, name: str, packages: List[apphub_packages.Package], new: str, signer: apphub_index.Signer) -> None:
        archs = apphub_index.architectures(name, packages)
        fresh = []
        for package in packages:
            before, package.paths = package.paths, apphub_index.paths(name, package, archs)
            first = os.path.join(new, package.paths[0])
            os.makedirs(os.path.dirname(first), exist_ok=True)
            if package.source:
                shutil.copyfile(package.source, first)
                fresh.append(package)
            else:
                os.link(os.path.join(self.served, before[0]), first)
        deb = name.startswith("deb/")
        if not deb and self.signature["rpms"]:
            signer.sign_rpms([os.path.join(new, package.paths[0]) for package in fresh])
        for package in fresh:
            package.sha256 = apphub_packages.sha256(os.path.join(new, package.paths[0]))
        for package in packages:
            for path in package.paths[1:]:
                os.makedirs(os.path.dirname(os.path.join(new, path)), exist_ok=True)
                os.link(os.path.join(new, package.paths[0]), os.path.join(new, path))
        if deb:
            apphub_index.index_deb(new, name, archs, signer, self.signature["origin"])
        else:
            apphub_index.index_rpm(new, name, archs, signer, self.served)

    def _switch(self, building: str, keep: int) -> str:
        generations = os.path.dirname(building)
        numbers = sorted(int(name) for name in os.listdir(generations) if re.match(r"^[0-9]+$", name))
        target = os.path.join(generations, str(numbers[-1] + 1 if numbers else 1))
        os.rename(building, target)
        link = self.current + ".new"
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(os.path.relpath(target, self.root), link)
        os.replace(link, self.current)
        for number in numbers[: max(0, len(numbers) - keep)]:
            shutil.rmtree(os.path.join(generations, str(number)))
        return target
