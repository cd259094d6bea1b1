"""What is served of client bundles, and its signatures."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub.bundle import archive, sources, store


def test_the_lists_are_signed_when_there_is_a_key(tmp_path: Path) -> None:
    class Signer:
        def sign(self, path: str, signature: str) -> None:
            Path(signature).write_text("signed " + Path(path).name)

    scripts = dict.fromkeys(archive.SCRIPTS, "#!/bin/sh\n")
    bundles = store.Store(str(tmp_path / "bundles"), scripts, "A" * 40)
    bundles.collect(sources.from_trees([]))
    bundles.publish(Signer(), keep=1)  # type: ignore[arg-type] # all that it uses
    folder = tmp_path / "bundles/current/pkgs/slurm-apk"
    assert (folder / "SHA256SUMS.asc").read_text() == "signed SHA256SUMS"
    assert (folder / "index.json.asc").read_text() == "signed index.json"
    assert not store.Store(str(tmp_path / "bundles"), scripts, "A" * 40).changed
    # Another key signs anew.
    assert store.Store(str(tmp_path / "bundles"), scripts, "B" * 40).changed
