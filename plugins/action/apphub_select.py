# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action apphub_select: chooses the AppHub that all hosts of a run use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.apphub import catalog, http_client, key_trust
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure, FailureError
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.failures import failed
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.local_action import LocalAction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ARGUMENTS = {
    **http_client.ARGUMENTS,
    "urls": {"type": "list", "elements": "str", "required": True},
    **key_trust.ARGUMENTS,
}
del ARGUMENTS["url"]
# Bytes of what is no index.
_SMALL = 1 << 20


class ActionModule(LocalAction):
    """Runs on the control machine, from where it asks the addresses."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the first server that can be used, and what was tried; `failed` with `failure` when there is none."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        chosen = choose(options)
        return result | failed([] if chosen["url"] else [refusal(chosen["tried"])]) | chosen | {"changed": False}


def ask(params: dict[str, Any], url: str) -> dict[str, Any]:
    """Return what a server has.

    Args:
        params: The options.
        url: The address.

    Returns:
        catalog and key.

    Raises:
        FailureError: It can't be used as AppHub.
    """
    server = http_client.Server({**params, "url": url})
    key_trust.refuse_unknown_key(server.url, params)
    answers = []
    for path, limit in (
        ("healthz", _SMALL),
        ("pkgs/catalog.json", http_client.MAX_INDEX),
        ("pkgs/apphub.asc", _SMALL),
    ):
        try:
            answers.append(server.get(path, limit))
        except FailureError as error:
            code, reason, remedy = error.failure
            raise FailureError(code, f"/{path}: {reason}", remedy) from None
    _health, content, key = answers
    found = catalog.parse(content)
    key_trust.refuse_other_key(key, params)
    return {"catalog": found, "key": key.decode("utf-8", "replace")}


def choose(params: dict[str, Any]) -> dict[str, Any]:
    """Return the first server that can be used, and what was tried."""
    tried: list[dict[str, str]] = []
    for url in dict.fromkeys(url.rstrip("/") for url in params["urls"]):
        try:
            answer = ask(params, url)
        except FailureError as error:
            tried.append({**error.failure.as_dict(), "url": url, "answer": error.failure.reason})
        else:
            tried.append({"url": url, "answer": "ok"})
            return {**answer, "url": url, "tried": tried}
    return {"url": "", "catalog": {}, "key": "", "tried": tried}


def refusal(tried: Sequence[Mapping[str, str]]) -> Failure:
    """Return why none of the servers that were tried can be used."""
    codes = {attempt["code"] for attempt in tried}
    reason = "No AppHub can be used, and Slurm comes from nowhere else. Nothing was changed. Tried in this order:"
    remedies = " ".join(dict.fromkeys(attempt["remedy"] for attempt in tried))
    return Failure(
        Code(codes.pop()) if len(codes) == 1 else Code.APPHUB_UNREACHABLE,
        "\n".join([reason, *(f"  {attempt['url']}: {attempt['answer']}" for attempt in tried)]),
        f"{remedies} Or publish the packages with playbooks/publish_apphub.yml, or correct apphub_client_urls.",
    )
