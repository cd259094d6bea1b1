// What is known of a cluster, and a new look at it.

import { post } from "../api.js";
import { t, word } from "../texts.js";
import { facts, failure, field, filled, html, input, nothing, pill, View, waiting } from "../ui.js";

export const path = (cluster, rest = "") => `api/slurm/clusters/${encodeURIComponent(cluster.id)}${rest}`;

// Whether a cluster answered when it was looked at last.
export const health = ({ health: now }) => (now ? pill(now === "healthy" ? "success" : "failed", word("health", now)) : html`<span class="step">${t("health_unknown")}</span>`);

const on = (value) => (value ? t("yes") : t("no"));

// What a cluster is, as it told.
export const description = (info) => facts([
	["ClusterName", info.cluster_name],
	["version", info.version],
	["system", info.os?.pretty],
	["nodes", Object.entries(info.states ?? {}).map(([name, count]) => `${name} ${count}`).join(", ") || 0],
	["partitions", Object.keys(info.partitions ?? {}).join(", ")],
	["controllers", (info.controllers ?? []).map((one) => `${one.host} (${one.mode}, ${one.up ? t("up") : t("down")})`).join(", ")],
	["slurm.conf", info.conf_file && html`<code>${info.conf_file}</code>`],
	["configless", on(info.configless)],
	["munge", on(info.munge_key)],
	["accounting", info.accounting],
]);

// What a look at a cluster found, stage by stage.
export const stages = (found) => html`<ol class="stages" aria-label=${t("connection")}>${found.stages.map((one) => html`<li>${pill(one.ok ? "success" : "failed", word("stage", one.stage))} <span class="step">${one.found}</span></li>`)}</ol>
	${found.error ? failure(found.error) : nothing}`;

// Looks at a cluster at once with what is known; a login can be given when that was not enough.
export function lookAgain(view, cluster, done) {
	let found = null;
	const asked = new View(view.app);
	const look = (given = {}) => asked.attempt(async () => {
		found = await post(path(cluster, "/refresh"), given);
		await done();
	});
	const again = (event) => {
		event.preventDefault();
		const { user, password } = filled(event.target);
		look({ ...(user && { username: user }), ...(password && { password }) });
	};
	view.app.open(() => html`<h2>${t("refresh")} ${cluster.name}</h2>
		${asked.busy ? waiting("looking") : html`${asked.problem()}${found ? stages(found) : nothing}
			${found?.success ? description(found.info) : html`<form class="filter" @submit=${again}>
				${field("user", input("user"))}${field("password", input("password", { type: "password" }))}
				<button>${t("try_again")}</button></form>`}`}`);
	look();
}
