// Removing nodes: which, what happens to the jobs on them, and the number of nodes typed as a confirmation.

import { get, newKey, post } from "../api.js";
import { t } from "../texts.js";
import { check, clusterField, expand, field, filled, html, input, Loaded, nodesField, nothing, ofClusters, table, View } from "../ui.js";

const JOBS = ["wait", "requeue", "cancel"];

export default class Remove extends View {
	constructor(app) {
		super(app);
		Object.assign(this, { text: "", typed: "", key: newKey() });
		this.running = this.may("slurm:jobs:read") ? new Loaded(this, async () => (await get("api/jobs?limit=200")).items.filter((job) => !job.ended && job.nodes)) : null;
		this.clusters = this.list("api/slurm/clusters");
	}

	async remove(event) {
		event.preventDefault();
		const { cluster, jobs, uninstall } = filled(event.target);
		await this.attempt(async () => {
			const body = { ...(cluster && { cluster }), nodes: expand(this.text), options: { jobs, ...(uninstall && { uninstall: true }) } };
			const { run } = await post("api/slurm/scale-down", body, this.key);
			this.app.go(`slurm/runs/${run.id}`);
		});
		// what was answered was not done; what was not answered may have been, and is asked for again as the same
		if (this.error?.status) this.key = newKey();
	}

	// The jobs known here that run on these nodes of a cluster.
	onThem(names) {
		const wanted = new Set(names);
		const jobs = (this.running?.data ?? []).filter((job) => expand(job.nodes)?.some((name) => wanted.has(name)));
		if (!jobs.length) return nothing;
		const columns = [["job", (job) => job.name || job.job_id], ["cluster"], ["user"], ["status", (job) => job.state], ["nodes"]];
		return html`<p class="remedy">${t("jobs_known")}</p>${table(columns, jobs, t("jobs_on_nodes"))}`;
	}

	template() {
		return html`${this.problem()}${ofClusters(this.clusters, (clusters) => this.form(clusters))}`;
	}

	form(clusters) {
		const count = expand(this.text)?.length ?? 0;
		const typed = (event) => {
			this[event.target.name === "nodes" ? "text" : "typed"] = event.target.value;
			this.update();
		};
		return html`<form class="card" @submit=${(event) => this.remove(event)}>
			${clusterField(clusters)}
			${nodesField(this.text, typed)}
			<div role="radiogroup" aria-labelledby="jobs"><p id="jobs"><strong>${t("jobs_on_nodes")}</strong></p>
				${count ? this.onThem(expand(this.text)) : nothing}
				${JOBS.map((one) => check(t(`jobs_${one}`), "jobs", { type: "radio", value: one, checked: one === "wait" }))}</div>
			${check(t("uninstall"), "uninstall")}
			${count ? field(t("type_number", { n: count }), input("typed", { value: this.typed, typed })) : nothing}
			<p class="buttons"><button class="danger" ?disabled=${this.busy || !count || this.typed.trim() !== String(count)}>${t("remove_nodes", { n: count })}</button></p>
		</form>`;
	}
}
