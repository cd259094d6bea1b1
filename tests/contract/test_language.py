"""Plain technical English: task names are imperative, and no text holds idioms that only the authors understood."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Tree

# First words of task names. A new verb is welcome; "Nodes", "The" or "Look" are none.
VERBS = re.compile(
    r"Add|Apply|Ask|Assess|Cancel|Check|Choose|Collect|Commit|Compare|Configure|Confirm|Continue|Create|Decode|"
    r"Define|Delete|Deploy|Distribute|Drain|Fetch|Find|Fix|Gather|Group|Install|Keep|Kill|Let|List|Load|Mirror|"
    r"Plan|Prepare|Probe|Publish|Reach|Read|Record|Refuse|Register|Reload|Remove|Rename|Report|Require|Resolve|"
    r"Restart|Restore|Restrict|Resume|Return|Run|Schedule|Select|Serve|Set|Show|Stage|Start|Stop|Summarize|"
    r"Switch|Test|Uninstall|Update|Upgrade|Validate|Verify|Wait|Write"
)
# In names, docstrings, messages and documents; what to say instead.
IDIOMS = {
    r"ask nothing": "do not ask for confirmation",
    r"is of no use": "what is wrong with it",
    r"it has the order": "is scheduled",
    r"keep the reason": "record the failure reason",
    r"last words": "the last lines of the journal",
    r"mend(s|ed|ing)?": "fix, correct",
    r"nodes are well": "nodes succeeded",
    r"part those that go": "remove",
    r"settles?": "record the result",
    r"what came of it": "result",
}
TEXT = {".cfg", ".j2", ".md", ".py", ".sh", ".toml", ".yml"}


def task_names(tree: Tree, path: Path) -> Iterator[str]:
    for item in tree.read(path) or []:
        if "hosts" in item or "ansible.builtin.import_playbook" in item:
            yield item["name"]
    if not any("ansible.builtin.import_playbook" in item for item in tree.read(path) or []):
        yield from (task["name"] for task in tree.tasks(path))


def test_names_of_tasks_and_plays_are_imperative(tree: Tree) -> None:
    folders = ("playbooks/**/*.yml", "roles/*/tasks/*.yml", "roles/*/handlers/*.yml")
    wrong = {
        f"{path.relative_to(tree.root)}: {name}"
        for folder in folders
        for path in tree.root.glob(folder)
        for name in task_names(tree, path)
        if not VERBS.fullmatch(name.split()[0])
    }
    assert not sorted(wrong), sorted(wrong)


def test_no_idiom_of_our_own(tree: Tree) -> None:
    idioms = re.compile("|".join(rf"\b{idiom}\b" for idiom in IDIOMS), re.IGNORECASE)
    found = [
        f"{path.relative_to(tree.root)}:{number}: {line.strip()}"
        for path in tree.tracked()
        if path.suffix in TEXT and path.name != "test_language.py" and "events" not in path.parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if idioms.search(line)
    ]
    assert not found, found
