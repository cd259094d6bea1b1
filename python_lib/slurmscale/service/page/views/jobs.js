// Jobs on clusters, in Slurm's own words.

import { get, newKey, post } from "../api.js";
import { t } from "../texts.js";
import { button, choice, clusterField, empty, facts, field, filled, html, input, Loaded, more, nothing, ofClusters, pill, table, time, View, waiting } from "../ui.js";

const KINDS = [[/^(PENDING|CONFIGURING|SUSPENDED|REQUEUE)/, "waiting"], [/^(RUNNING|COMPLETING|STAGE_OUT|RESIZING|SIGNALING)/, "active"], [/^COMPLETED/, "success"], [/^CANCELLED/, "stopped"], [/^/, "failed"]];
const NAME = "[A-Za-z0-9_.\\-]{1,64}";
const path = (job, rest = "") => `api/jobs/${encodeURIComponent(job.id)}${rest}`;

const state = (job) => pill(job.lost ? "stalled" : KINDS.find(([words]) => words.test(job.state))[1], job.state);

export default class Jobs extends View {
	constructor(app) {
		super(app);
		Object.assign(this, { cluster: "", refresh: false, key: newKey() });
		this.clusters = this.list("api/slurm/clusters");
		this.jobs = new Loaded(this, (before) => this.known(before));
		this.listen("job", () => this.read(false));
	}

	// As they were seen last, or as Slurm says now.
	async read(refresh) {
		this.asking = this.refresh = refresh;
		await this.jobs.load();
		this.asking = false;
		this.update();
	}

	async known(before) {
		const query = new URLSearchParams({ limit: 200, refresh: this.refresh, ...(this.cluster && { cluster: this.cluster }), ...(before && { cursor: before.cursor }) });
		const found = await get(`api/jobs?${query}`);
		return { items: [...(before?.items ?? []), ...found.items], cursor: found.next_cursor };
	}

	async submit(event) {
		event.preventDefault();
		const form = event.target;
		const { cluster, ...job } = filled(form);
		const done = await this.attempt(async () => {
			await post("api/jobs/submit", { ...job, ...(cluster && { cluster_id: cluster }) }, this.key);
			form.reset();
			this.read(false);
			return true;
		});
		if (done || this.error?.status) this.key = newKey();
	}

	// One job: as it was seen last at once, then as Slurm says now, and its output when wanted.
	show(job) {
		let [now, output] = [job, null];
		const asked = new View(this.app);
		if (!job.ended) asked.attempt(async () => (now = await get(path(job, "/status"))));
		const read = () => asked.attempt(async () => (output = await get(path(job, "/output"))));
		const cancel = () => asked.attempt(async () => {
			now = await post(path(job, "/cancel"));
			this.read(false);
		});
		this.app.open(() => html`<h2>${t("job")} ${now.name || now.job_id}</h2>
			${facts(this.columns().slice(1).map(([name, value]) => [name, value ? value(now) : now[name]]))}
			${now.note ? html`<p class="notice warning">${now.note}</p>` : nothing}
			${asked.problem()}${asked.busy ? waiting() : nothing}
			${output ? html`<p class="step"><code>${output.host}:${output.path}</code></p><pre class="output" tabindex="0" aria-label=${t("output")}>${output.text || t("no_output")}</pre>` : nothing}
			<p class="buttons">${button(t("output"), read, { disabled: asked.busy })}
			${!now.ended && !now.lost && this.may("slurm:jobs:cancel") ? button(t("cancel_job"), cancel, { style: "danger", disabled: asked.busy }) : nothing}</p>`);
	}

	columns() {
		return [
			["job", (job) => button(job.name || job.job_id, () => this.show(job), { style: "link" })],
			["status", state],
			["cluster"],
			["job_id"],
			["user"],
			["partition"],
			["nodes"],
			["exit_code"],
			["reason", (job) => job.note || (job.reason === "None" ? "" : job.reason)],
			["submitted", (job) => time(job.submitted_at)],
		];
	}

	template() {
		return html`${ofClusters(this.clusters, (clusters) => html`
			<form class="filter" @change=${(event) => { this.cluster = event.target.value; this.read(false); }} @submit=${(event) => event.preventDefault()}>
				${clusters.length > 1 ? choice("cluster", "", [["", t("any")], ...clusters.map(({ id }) => [id, id])]) : nothing}
				${button(t("refresh"), () => this.read(true), { disabled: this.asking })}
				${this.asking ? html`<span role="status" class="step">${t("asking")}</span>` : nothing}
			</form>
			${this.jobs.show((jobs) => (jobs.items.length ? html`${table(this.columns(), jobs.items, t("jobs"))}${more(jobs.cursor, () => this.jobs.load(jobs))}` : empty("no_jobs")))}
			${this.may("slurm:jobs:submit") ? this.form(clusters) : nothing}`)}`;
	}

	form(clusters) {
		return html`<form class="card" aria-label=${t("submit_job")} @submit=${(event) => this.submit(event)}>
			<h2>${t("submit_job")}</h2>
			${field("command", html`<textarea name="command" required rows="4" spellcheck="false"></textarea>`, t("command_hint"))}
			<fieldset>${clusterField(clusters)}
				${field("name", input("name", { pattern: NAME }))}
				${field("partition", input("partition", { pattern: NAME }))}
				${field("nodes", input("nodes", { pattern: "[0-9]{1,6}(-[0-9]{1,6})?", placeholder: "1" }))}
				${field("time_limit", input("time", { pattern: "[0-9:\\-]{1,20}", placeholder: "1-12:00:00" }))}</fieldset>
			${this.problem()}
			${this.busy ? html`<p role="status" class="step">${t("asking")}</p>` : nothing}
			<p class="buttons"><button class="primary" ?disabled=${this.busy}>${t("submit_job")}</button></p>
		</form>`;
	}
}
