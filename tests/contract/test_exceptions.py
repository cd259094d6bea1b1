"""Every exception from a linter has its reason beside it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Tree

# A code in brackets or after a colon, and then a reason; two exceptions on one line share it.
BARE = re.compile(r"# (noqa(: [A-Z0-9, ]+)?|type: ignore(\[[a-z-]+\])?)$")


def test_exceptions_from_linters_have_a_reason(tree: Tree) -> None:
    found = [
        f"{path.relative_to(tree.root)}:{number}"
        for path in tree.tracked()
        if path.suffix == ".py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if BARE.search(line.rstrip())
    ]
    assert not found, found
