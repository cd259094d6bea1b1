# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""The action node_plan: returns what has to be done to make a machine a node, or why it can't be one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, Failure
from ansible_collections.ai_infra.slurm.plugins.plugin_utils import node_address, plan_from_facts, readiness
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.failures import failed
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.firewall import needed_ports
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.local_action import LocalAction
from ansible_collections.ai_infra.slurm.plugins.plugin_utils.results import facts_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(LocalAction):
    """Runs on the control machine and connects to nothing."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan, `failed` with `failure` and `failures` when the machine is not ready."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            argument_spec={
                "controller": {"type": "str", "required": True},
                "name": {"type": "str", "required": True},
                "version": {"type": "str", "default": ""},
                "registration": {"type": "str", "default": "static"},
                "dynamic": {"type": "bool", "default": False},
                "defined": {"type": "dict"},
                "thresholds": {"type": "dict", "default": {}},
                "take_over": {"type": "bool", "default": False},
                "checks": {"type": "list", "elements": "str", "default": list(plan_from_facts.CHECKS)},
                "repository": {"type": "str", "default": ""},
                "packages": {"type": "list", "elements": "str", "default": []},
                "open_firewall": {"type": "bool", "default": False},
                "write_hosts": {"type": "bool", "default": False},
                "beside": {"type": "list", "elements": "str", "default": []},
                "steps": {"type": "list", "elements": "str", "default": []},
            }
        )
        variables = task_vars or {}
        controller, local = (facts_of(host, variables["hostvars"]) for host in (options["controller"], "localhost"))
        cluster = controller.get("preflight_cluster") or {}
        node, common = variables["preflight_node"], local.get("scale_common_checks") or []
        reach = self._reach(variables, node, cluster) | {
            "ports": needed_ports(
                cluster, ((options["defined"] or {}).get("definition") or {}).get("params", {}).get("Port")
            ),
            "opens": options["open_firewall"],
        }
        ansible_host = str(self._templar.template(variables.get("ansible_host") or ""))
        address = node_address.default_address(ansible_host, options["name"], node, cluster, reach)
        made = plan_from_facts.plan(
            plan_from_facts.Request(
                options["name"],
                options["version"],
                options["registration"],
                options["dynamic"],
                options["take_over"],
                readiness.Thresholds(**options["thresholds"]),
            ),
            node,
            cluster,
            defined=options["defined"],
            catalog=local.get("apphub_client_catalog"),
            packages=plan_from_facts.Packages(options["repository"], options["packages"], options["beside"])
            if options["repository"]
            else None,
            reach=reach,
            address=address,
            # Recorded when the controller was asked for them.
            addresses=variables.get("preflight_addresses") if options["write_hosts"] else None,
            common=common,
            joining=variables.get("ansible_play_hosts") or (),
            steps=options["steps"],
            checks=options["checks"],
            apphub_failure=local.get("scale_apphub_missing"),
        )
        failures = [
            Failure(Code(found["code"]), found["reason"], found["remedy"])
            for found in (*common, *made["findings"])
            if not found["ok"]
        ]
        return result | failed(failures) | made | {"dynamic": options["dynamic"], "changed": False}

    @staticmethod
    def _reach(variables: Mapping[str, Any], node: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, Any]:
        asked = variables.get("preflight_reach") or {"skipped": True}
        answered = asked.get("skipped") or "network" in asked
        return {
            "name": node["address"],
            "state": node["state"],
            "own": (cluster.get("addresses") or {}).get("hostname") == node["hostname"],
            "network": asked.get("network") or {},
            "problem": "" if answered else str(asked.get("msg") or "no answer"),
        }
