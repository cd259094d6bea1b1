# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The client bundles that an AppHub serves, with their index, checksums and `latest` links.

root/current -> generations/N              what is served
root/generations/N/pkgs/slurm-client/      bundles for glibc
root/generations/N/pkgs/slurm-apk/         bundles for Alpine
root/generations/N/state.json              what the next run compares with; not served
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Tuple

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import generations
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import archive, contents, index
from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.packages import sha256
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, FailureError

if TYPE_CHECKING:
    from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle.sources import Origin, Source
    from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.gpg import Signer

# Raised whenever the same sources give other bundles.
FORMAT = 1

Bundles = Dict[str, Dict[str, Any]]


class Store:
    """What is served below a root folder, and what is to be served.

    Attributes:
        served: The bundles that are served whole, by their path below /pkgs.
        wanted: Those that are to be served, after collect().
        fresh: Content of those that had to be made.
    """

    def __init__(self, root: str, scripts: Dict[str, str], fingerprint: str) -> None:
        """Load what is served.

        Args:
            root: The root folder; it need not exist.
            scripts: The files that go into each bundle.
            fingerprint: Key that signs the checksums; empty for none.
        """
        self.root = root
        self.pkgs = os.path.join(root, "current", "pkgs")
        self.scripts = scripts
        made_by = json.dumps([FORMAT, sorted(scripts.items())])
        self._made = {"by": hashlib.sha256(made_by.encode("utf-8")).hexdigest(), "signed_by": fingerprint}
        self._state = generations.load(os.path.join(root, "current"))
        self._origins: Dict[str, Any] = {}
        self.served: Bundles = {path: info for path, info in self._known().items() if self._is_whole(path, info)}
        self.wanted: Bundles = {}
        self.fresh: Dict[str, bytes] = {}

    def _known(self) -> Bundles:
        bundles: Bundles = self._state.get("manifest", {})
        return bundles

    def _is_whole(self, path: str, info: Dict[str, Any]) -> bool:
        try:
            return bool(sha256(os.path.join(self.pkgs, path)) == info["sha256"])
        except OSError:
            return False

    def collect(self, origins: Iterable[Origin]) -> None:
        """Find out what is to be served, and build what is missing.

        Args:
            origins: The repositories and trees.

        Raises:
            FailureError: A bundle can't be made.
        """
        origins = list(origins)
        before = self._state.get("origins", {}) if self._made["by"] == self._state.get("made", {}).get("by") else {}
        same = {origin.name for origin in origins if before.get(origin.name, {}).get("stamp") == origin.stamp}
        for origin in origins:
            paths = before[origin.name]["bundles"] if origin.name in same else []
            # A bundle that two origins have is made of one of them.
            if origin.name in same and all(self.served.get(path, {}).get("origin") in same for path in paths):
                bundles = {path: (self.served[path], b"") for path in paths}
            else:
                bundles = dict(self._make(source, origin.name) for source in origin.read())
            self._origins[origin.name] = {"stamp": origin.stamp, "bundles": sorted(bundles)}
            for path, (info, data) in bundles.items():
                self._take(path, info, data)

    def _make(self, source: Source, origin: str) -> Tuple[str, Tuple[Dict[str, Any], bytes]]:
        picked = contents.pick(source.files, source.where)
        if picked.libc not in (source.kind, "static"):
            raise FailureError(
                Code.CLIENT_BUNDLE_INPUT_INVALID,
                f"{source.where} is linked with {picked.libc}, but this bundle is for {source.kind}.",
                "DEBs make bundles for glibc, install trees those for Alpine.",
            )
        files = archive.layout(picked, source.version, source.kind, self.scripts)
        data = archive.pack(files)
        info = archive.facts(picked, source.version, source.kind)
        info.update(
            from_host=picked.from_host,
            libraries=sorted(picked.libraries),
            origin=origin,
            sha256=hashlib.sha256(data).hexdigest(),
            # What an installation is known by.
            sums=hashlib.sha256(files["SHA256SUMS"][0]).hexdigest(),
            size=len(data),
        )
        name = archive.file_name(source.version, picked.arch, source.kind)
        return f"{index.FOLDERS[source.kind]}/{name}", (info, data)

    def _take(self, path: str, info: Dict[str, Any], data: bytes) -> None:
        """Add a bundle to be served; of two with one name, the one that runs on older systems."""
        other = self.wanted.get(path)
        if other is not None and info["libc"] == "musl":
            raise FailureError(
                Code.CLIENT_BUNDLE_INPUT_INVALID,
                f"{other['origin']} and {info['origin']} both give {os.path.basename(path)}.",
                "Remove one.",
            )
        if other is not None and _age(other) <= _age(info):
            return
        self.wanted[path] = info
        self.fresh.pop(path, None)
        if data:
            self.fresh[path] = data

    @property
    def changed(self) -> bool:
        """Whether the bundles to be served differ from those that are served now."""
        lost = not all(self._is_whole(path, info) for path, info in self._state.get("texts", {}).items())
        damaged = len(self.served) < len(self._known())
        return lost or damaged or self.wanted != self.served or self._made != self._state.get("made")

    def states(self) -> Dict[str, str]:
        """Return for each bundle whether it is new, rebuilt, unchanged or removed."""
        result = {}
        for path in sorted(set(self.wanted) | set(self._known())):
            if path not in self.wanted:
                result[path] = "removed"
            elif path not in self._known():
                result[path] = "new"
            else:
                same = self.wanted[path]["sha256"] == self.served.get(path, {}).get("sha256")
                result[path] = "unchanged" if same else "rebuilt"
        return result

    def publish(self, signer: Signer, keep: int) -> str:
        """Rebuild the tree and serve it.

        Args:
            signer: Signs the checksums, when it has a key.
            keep: How many of the trees served before stay, for clients in the middle of a download.

        Returns:
            Path of the new tree.
        """
        with generations.building(self.root) as folder:
            pkgs = os.path.join(folder, "pkgs")
            texts: Bundles = {}
            for name in sorted(index.FOLDERS.values()):
                os.makedirs(os.path.join(pkgs, name))
                for path in self._fill(pkgs, name, signer):
                    texts[path] = {"sha256": sha256(os.path.join(pkgs, path))}
            state = {
                "format": generations.FORMAT,
                "made": self._made,
                "origins": self._origins,
                "manifest": self.wanted,
                "texts": texts,
            }
            return generations.serve(self.root, folder, state, keep)

    def remember(self) -> None:
        """Record the state of the origins when they gave nothing new."""
        if self._state and self._origins != self._state.get("origins"):
            path = os.path.join(self.root, "current", "state.json")
            Path(path + ".new").write_bytes(json.dumps(dict(self._state, origins=self._origins)).encode("utf-8"))
            os.replace(path + ".new", path)

    def _fill(self, pkgs: str, folder: str, signer: Signer) -> List[str]:
        """Put the bundles of a folder in place, with what describes them; return the paths of the latter."""
        bundles = {os.path.basename(path): info for path, info in self.wanted.items() if path.startswith(folder + "/")}
        for name, info in bundles.items():
            path = f"{folder}/{name}"
            if info == self.served.get(path):
                os.link(os.path.join(self.pkgs, path), os.path.join(pkgs, path))
            else:
                Path(pkgs, path).write_bytes(self.fresh[path])
        newest = latest(bundles)
        for link, name in newest.items():
            os.symlink(name, os.path.join(pkgs, folder, link))
        # Clients need not know the folders of the server.
        public = {name: {key: info[key] for key in info if key != "origin"} for name, info in bundles.items()}
        described = {"format": index.FORMAT, "bundles": public, "latest": newest}
        sums = "".join(f"{info['sha256']}  {name}\n" for name, info in sorted(bundles.items()))
        texts = {"index.json": json.dumps(described, indent=1, sort_keys=True) + "\n", "SHA256SUMS": sums}
        for name, text in texts.items():
            Path(pkgs, folder, name).write_text(text, encoding="utf-8")
        if self._made["signed_by"]:
            for name in list(texts):
                path = os.path.join(pkgs, folder, name)
                signer.sign(path, path + ".asc")
                texts[name + ".asc"] = ""
        return [f"{folder}/{name}" for name in texts]


def _age(info: Dict[str, Any]) -> Tuple[Any, ...]:
    return (index.numbers(info["glibc"]), info["origin"])


def latest(bundles: Bundles) -> Dict[str, str]:
    """Return the links to the newest bundle of each architecture."""
    result: Dict[str, str] = {}
    for name, info in sorted(bundles.items(), key=lambda item: index.numbers(item[1]["version"])):
        result[archive.file_name("latest", info["arch"], info["libc"])] = name
    return result


def listing(bundles: Bundles) -> str:
    """Return the bundles as text, for a diff."""
    return "".join(f"{path} {info['sha256']}\n" for path, info in sorted(bundles.items()))
