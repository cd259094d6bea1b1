"""What the contract tests read: the sources themselves, nothing is run on a host."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
# What a task may say beside the module that it calls.
TASK_KEYWORDS = re.compile(
    r"name|action|args|async|become\w*|block|rescue|always|changed_when|check_mode|delay|delegate_\w+|diff|environment|failed_when"
    r"|ignore_errors|ignore_unreachable|listen|loop\w*|no_log|notify|poll|register|retries|run_once|tags|throttle|timeout|until|vars|when"
)


class Tree:
    """The checkout, as the tests ask about it."""

    root = ROOT

    def read(self, path: Path) -> Any:
        """Return the content of a YAML file; None when there is no such file."""
        return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None

    def specs(self, role: str) -> dict[str, Any]:
        """Return a role's entry points."""
        content = self.read(ROOT / "roles" / role / "meta/argument_specs.yml") or {}
        return content.get("argument_specs", {})

    def options(self, role: str) -> dict[str, dict[str, Any]]:
        """Return the options of all entry points of a role."""
        return {
            name: option for entry in self.specs(role).values() for name, option in (entry.get("options") or {}).items()
        }

    def prefix(self, role: str) -> str:
        """Return what a role's public variables begin with."""
        return f"{role.replace('-', '_')}_"

    def tasks(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield every task, block and handler of a file of tasks or of plays."""
        content = self.read(path) or []
        for item in content:
            yield from self.tasks_of(item) if "hosts" in item else self._walk([item])

    def tasks_of(self, play: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield every task, block and handler of a play."""
        for section in ("pre_tasks", "tasks", "post_tasks", "handlers"):
            yield from self._walk(play.get(section) or [])

    def _walk(self, tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for task in tasks:
            yield task
            for section in ("block", "rescue", "always"):
                yield from self._walk(task.get(section) or [])

    def action(self, task: dict[str, Any]) -> str | None:
        """Return the module that a task calls; None for a block."""
        names = [name for name in task if not TASK_KEYWORDS.fullmatch(name)]
        assert len(names) == (0 if "block" in task else 1), f"{task.get('name')}: {names}"
        return names[0] if names else None

    def tracked(self) -> list[Path]:
        """Return the files that are or will be committed."""
        answer = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        if answer.returncode:
            pytest.skip(f"not a checkout of git: {answer.stderr.strip()}")
        return sorted(path for name in answer.stdout.split("\0") if name and (path := ROOT / name).is_file())


@pytest.fixture(scope="session")
def tree() -> Tree:
    return Tree()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each role, playbook, module, filter or file that it asks for."""
    sources = {
        # One of variables alone has no entry point.
        "role": [path.parent.name for path in sorted(ROOT.glob("roles/*/tasks"))],
        "playbook": sorted(ROOT.glob("playbooks/*.yml")),
        "any_playbook": sorted(ROOT.glob("playbooks/**/*.yml")),
        "role_tasks": sorted(ROOT.glob("roles/*/tasks/*.yml")) + sorted(ROOT.glob("roles/*/handlers/*.yml")),
        "module": sorted(ROOT.glob("plugins/modules/*.py")),
        # An action has documentation where a module would stand, and no code there.
        "executed_module": [
            path
            for path in sorted(ROOT.glob("plugins/modules/*.py"))
            if not (ROOT / "plugins/action" / path.name).is_file()
        ],
        "filter_plugin": sorted(ROOT.glob("plugins/filter/*.py")),
        "on_managed_host": [
            path
            for folder in ("modules", "module_utils")
            for path in sorted(ROOT.glob(f"plugins/{folder}/**/*.py"))
            if path.name != "__init__.py"
        ],
    }
    for name, values in sources.items():
        if name in metafunc.fixturenames:
            ids = [str(value.relative_to(ROOT)) if isinstance(value, Path) else value for value in values]
            metafunc.parametrize(name, values, ids=ids)
