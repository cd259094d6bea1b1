"""Settings from the environment, prefix SLURMSCALE_."""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import Any, TypeVar

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from slurmscale.errors import RefusedError
from slurmscale.models import Credentials

_S = TypeVar("_S", bound=BaseSettings)
_SECRETS = ("SSH_PASSWORD", "BECOME_PASSWORD", "VAULT_PASSWORD", "DATABASE_URL")


class Settings(BaseSettings):
    """What can be set, with its defaults."""

    model_config = SettingsConfigDict(env_prefix="SLURMSCALE_")

    data_dir: Path = Field(default_factory=lambda: user_data_path("slurmscale"))
    """Where the SQLite database lies."""
    database_url: str | None = None
    """SQLAlchemy URL; replaces the SQLite database."""
    project_dir: Path | None = None
    """Checkout whose playbooks are used instead of the installed ones."""
    inventory: str | None = None
    """Inventory to use when neither a cluster nor an inventory is named."""
    forks: int = Field(default=50, ge=1)
    """Nodes worked on at the same time."""
    max_runs: int = Field(default=4, ge=1)
    """Runs that a service executes at the same time; the others wait."""
    max_runs_per_cluster: int = Field(default=4, ge=1)
    """Likewise of one cluster."""
    shard_size: int = Field(default=100, ge=1)
    """Nodes that a worker takes of one run; larger ones that make nodes are shared by all workers, if there are any."""
    lease_seconds: float = Field(default=60, ge=20, le=3600)
    """Silence after which a run's process on another machine is taken for gone."""
    window_hours: float = Field(default=24, gt=0)
    """How far the scaling status looks back."""
    stalled_minutes: float = Field(default=10, gt=0)
    """Silence after which a task counts as stalled."""
    recent_operations: int = Field(default=5, ge=0)
    """Number of recent operations in the scaling status."""
    log_days: float = Field(default=90, gt=0)
    """Days for which logs and the durations of tasks are kept; runs and their results stay."""
    ssh_user: str | None = None
    """Login name for nodes whose inventory and cluster name none; likewise the following ones."""
    ssh_password: SecretStr | None = None
    ssh_private_key_file: str | None = None
    become_password: SecretStr | None = None
    vault_password: SecretStr | None = None
    """Password of Ansible Vault."""

    @property
    def url(self) -> str:
        """URL of the database."""
        return self.database_url or f"sqlite:///{self.data_dir.expanduser().absolute() / 'slurmscale.db'}"

    @property
    def credentials(self) -> Credentials:
        """The widest level of credentials."""
        return Credentials(
            user=self.ssh_user,
            password=self.ssh_password.get_secret_value() if self.ssh_password else None,
            private_key_file=self.ssh_private_key_file,
            become_password=self.become_password.get_secret_value() if self.become_password else None,
        )


def load() -> Settings:
    """Read the settings of the library from the environment; raises as `read`."""
    return read(Settings)


def read(kind: type[_S], **given: Any) -> _S:
    """Read the environment.

    Args:
        kind: Which settings.
        given: What was given otherwise, which wins.

    Raises:
        RefusedError: A setting has no sensible value.
    """
    try:
        return kind(**given)
    except ValidationError as exc:
        first = exc.errors()[0]
        name = f"SLURMSCALE_{'_'.join(map(str, first['loc'])).upper()}"
        raise RefusedError(f"{name}={os.environ.get(name)}: {first['msg']}. Correct it, or unset it.") from exc


def blanked_environment() -> dict[str, str]:
    """Return our own secrets of the environment, emptied: Ansible's processes have no use for them."""
    return {f"SLURMSCALE_{name}": "" for name in _SECRETS if f"SLURMSCALE_{name}" in os.environ}
