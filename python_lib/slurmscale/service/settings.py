"""Settings of the service from the environment, prefix SLURMSCALE_, beside those of the library."""

from __future__ import annotations

import ipaddress
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

Words = Annotated[tuple[str, ...], NoDecode]
"""Texts, in the environment with commas between them."""


class ServiceSettings(BaseSettings):
    """What can be set, with its defaults."""

    model_config = SettingsConfigDict(env_prefix="SLURMSCALE_")

    host: str = "127.0.0.1"
    """Address that is listened on."""
    port: int = Field(default=8765, ge=0, le=65_535)
    """Port that is listened on."""
    trusted_proxies: Words = ()
    """Addresses or networks of proxies whose X-Forwarded headers are believed."""
    allowed_hosts: Words = ()
    """Names by which the service is called, besides those of the loopback interface."""
    allowed_networks: Words = ()
    """Networks in which nodes may lie that are in no inventory."""
    root_path: str = Field(default="", pattern=r"^(/[A-Za-z0-9._~-]+)*$")
    """Path under which a proxy publishes the service, such as /slurmscale."""
    secret_key_file: Path | None = None
    """File of secret keys, one a line, readable by its owner only; one is made in the data directory when unset."""
    session_hours: float = Field(default=12, gt=0, le=24 * 30)
    """How long a login lasts."""
    token_days: float = Field(default=90, gt=0, le=3650)
    """How long a token lasts when its maker does not say."""
    requests_per_second: float = Field(default=200, ge=0)
    """Requests to the API that one address may make in a second; any number when 0."""
    stop_seconds: float = Field(default=900, ge=0)
    """How long a service that is stopped waits for active runs."""

    @field_validator("trusted_proxies", "allowed_hosts", "allowed_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value

    @field_validator("trusted_proxies", "allowed_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            ipaddress.ip_network(word, strict=False)
        return value

    @property
    def hosts(self) -> frozenset[str]:
        """All names by which the service may be called."""
        return frozenset(name.lower() for name in (*_LOOPBACK_NAMES, self.host, *self.allowed_hosts))

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach the address that is listened on."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True
