"""What every file of the checkout keeps to, and documentation that is current."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Tree

# Where packages come from unless somebody set up something else, which is nobody's business here.
PUBLIC = {"pypi.org", "deb.debian.org"}
# Directories of the machines that the project is built on, in two parts so that this file passes, too.
MACHINES = ("/" + "work/", "/" + "tmp/w/", "/" + "home/", "/" + "Users/")
# Recorded once on a machine that happened to have such paths.
RECORDED = "tests/events/data/"


def texts(tree: Tree) -> dict[str, str]:
    return {
        str(path.relative_to(tree.root)): path.read_text(encoding="utf-8", errors="replace")
        for path in tree.tracked()
        if not path.is_symlink()
    }


def test_no_path_of_a_building_machine(tree: Tree) -> None:
    paths = re.compile("|".join(rf"(?<![\w.}}*)~-]){re.escape(path)}" for path in MACHINES))
    found = [
        f"{name}:{number}"
        for name, text in texts(tree).items()
        if not name.startswith(RECORDED)
        for number, line in enumerate(text.splitlines(), 1)
        if paths.search(line)
    ]
    assert not found, found


def package_hosts() -> set[str]:
    """Return the hosts that pip on this machine takes packages from."""
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False, timeout=60
    )
    addresses = re.findall(r"https?://[^\s'\"]+", answer.stdout)
    return {host for address in addresses if (host := urlsplit(address).hostname)} - PUBLIC


def test_no_package_server_of_a_building_machine(tree: Tree) -> None:
    hosts = package_hosts()
    found = [name for name, text in texts(tree).items() if any(host in text for host in hosts)]
    assert not found, found


def test_comments_do_not_cite_issue_numbers(tree: Tree) -> None:
    """A comment says why; a number would send the reader elsewhere."""
    cited = re.compile(r"#.*\b(issue|ticket|pull request)s? #?\d", re.IGNORECASE)
    found = [
        f"{name}:{number}"
        for name, text in texts(tree).items()
        if name.endswith((".py", ".yml", ".j2", ".sh", ".cfg", ".toml"))
        for number, line in enumerate(text.splitlines(), 1)
        if cited.search(line)
    ]
    assert not found, found


def test_no_private_key(tree: Tree) -> None:
    begin = "-----BEGIN " + r"(\w+ )*PRIVATE KEY"
    found = [name for name, text in texts(tree).items() if re.search(begin, text)]
    assert not found, found


def test_generated_pages_are_current(tree: Tree) -> None:
    answer = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=tree.root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, f"run `make docs`:\n{answer.stdout}{answer.stderr}"


def anchors(path: Path) -> set[str]:
    """Return the anchors that a renderer makes of a page's headings."""
    heads = re.findall(r"(?m)^#+ (.*)$", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


def test_links_lead_somewhere(tree: Tree) -> None:
    broken = []
    for page in (path for path in tree.tracked() if path.suffix == ".md"):
        text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            address, _, anchor = link.partition("#")
            target = (page.parent / address) if address else page
            if re.match(r"[a-z]+:", link):
                continue
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(tree.root)}: {link}")
    assert not broken, broken


def test_documentation_names_files_and_playbooks_that_exist(tree: Tree) -> None:
    named = re.compile(r"(?<![\w/.])((?:playbooks|molecule|roles|docs|inventories/example|tests)/[\w./-]*\w\.\w+)")
    missing = {
        f"{page.relative_to(tree.root)}: {name}"
        for page in tree.tracked()
        if page.suffix == ".md"
        for name in named.findall(page.read_text(encoding="utf-8"))
        if "NAME" not in name and not (tree.root / name).exists() and not (page.parent / name).exists()
    }
    assert not sorted(missing), sorted(missing)


def test_documentation_names_make_targets_that_exist(tree: Tree) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (tree.root / "Makefile").read_text(encoding="utf-8")))
    named = {
        target
        for page in tree.tracked()
        if page.suffix == ".md"
        for target in re.findall(r"(?:`|^)make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    unknown = sorted(named - targets)
    assert not unknown, unknown


def test_every_make_target_is_explained(tree: Tree) -> None:
    text = (tree.root / "Makefile").read_text(encoding="utf-8")
    silent = re.findall(r"(?m)^([a-z-]+):(?!.*## \w)", text)
    assert not silent, silent


def test_readme_is_short_and_names_the_commands(tree: Tree) -> None:
    text = (tree.root / "README.md").read_text(encoding="utf-8")
    assert 60 <= len(text.splitlines()) <= 100
    assert all(command in text for command in ("make demo", "make test"))


def test_changelog_tells_this_version(tree: Tree) -> None:
    version = yaml.safe_load((tree.root / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    assert f"## {version}" in (tree.root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_collection_and_package_have_one_version(tree: Tree) -> None:
    collection = yaml.safe_load((tree.root / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    package = re.search(r'(?m)^version = "(.*)"', (tree.root / "pyproject.toml").read_text(encoding="utf-8"))
    assert package is not None
    assert package[1] == collection
