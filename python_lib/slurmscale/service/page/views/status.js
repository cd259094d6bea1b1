// Where are we: the figures of the last day, what is in progress, and what was.

import { get } from "../api.js";
import { FollowedRun } from "../run_model.js";
import { duration, number, t, word } from "../texts.js";
import { bar, empty, fold, html, kind, Loaded, nothing, pill, problem, runLink, statusPill, svg, table, time, took, View, waiting } from "../ui.js";

export default class Status extends View {
	constructor(app) {
		super(app);
		this.status = new Loaded(this, () => get("api/slurm/scaling/status"));
		this.clusters = this.list("api/slurm/clusters");
		this.listen("cluster", () => this.clusters.load());
		this.followed = new Map();
		this.open = false;
		this.ends.push(() => this.unfold(false));
		this.listen("status", (data) => this.changed(data));
	}

	changed(status) {
		const before = this.status.data;
		this.status.take(status);
		if (before && before.active !== status.active) this.app.say(t(status.active ? "said_active" : "said_done", { progress: status.progress }));
		if (this.open) this.unfold(true);
	}

	// The active nodes are read only while they are shown.
	unfold(open) {
		this.open = open;
		const active = new Set(open ? this.status.data.active_operations.map((run) => run.id) : []);
		for (const [id, followed] of this.followed) {
			if (active.has(id)) continue;
			followed.stop();
			this.followed.delete(id);
		}
		for (const id of active) if (!this.followed.has(id)) this.followed.set(id, new FollowedRun(this, id));
	}

	template() {
		return html`${this.unhealthy(this.clusters.data ?? [])}${this.status.show((status) => this.page(status))}`;
	}

	page(status) {
		if (!status.active && !status.recent_operations.length) return empty("no_runs", this.may("slurm:scale:nodes") && "slurm/add", "add");
		return html`
			${this.stalled(status.stalled_tasks)}
			${this.card(status)}
			${status.active_tasks ? html`<details class="card running" @toggle=${(event) => this.unfold(event.target.open)}>
				<summary>${t("running_tasks", { n: status.active_tasks })}</summary>
				${this.open ? status.active_operations.map((run) => this.tasksOf(run)) : nothing}
			</details>` : nothing}
			<section><h2>${t("recent_operations")}</h2>
				${operations(status.recent_operations)}
				<p><a href="slurm/runs">${t("all_runs")}</a></p>
			</section>`;
	}

	card(status) {
		const state = status.active ? "active" : status.failed_nodes ? "exception" : "success";
		const left = status.active_operations.map((run) => run.remaining).filter((seconds) => seconds > 0);
		const figure = (name, style) => html`<div class="figure"><dt>${t(name)}</dt><dd class=${style} data-figure=${name}>${number(status[name])}</dd></div>`;
		return html`<section class="card figures" aria-label=${t("figures")}>
			<div class="circle ${state}" role="img" aria-label="${t(`circle_${state}`)}, ${status.progress} %" data-state=${state}>
				<svg viewBox="0 0 36 36" aria-hidden="true">
					${svg`<circle class="ring" cx="18" cy="18" r="15.9155"></circle><circle class="done" cx="18" cy="18" r="15.9155" stroke-dasharray="${status.progress} 100"></circle>`}
				</svg>
				<strong data-figure="progress">${status.progress} %</strong>
				<span aria-hidden="true">${pill(state, t(`circle_${state}`))}</span>
			</div>
			<dl>${figure("active_tasks", "")}${figure("success_nodes", "success")}${figure("failed_nodes", status.failed_nodes ? "failed" : "")}</dl>
			<p class="left">${left.length ? t("about_left", { time: duration(Math.max(...left)) }) : nothing}</p>
		</section>`;
	}

	unhealthy(clusters) {
		const found = clusters.filter((cluster) => cluster.health === "unhealthy");
		if (!found.length) return nothing;
		return html`<div class="notice warning" role="status">
			<p><strong>${t("unhealthy", { n: found.length })}</strong> ${found.map((cluster) => html`<a href="slurm/nodes?cluster=${cluster.id}">${cluster.name}</a> ${cluster.seen_at ? html`<span class="step">${t("seen")} ${time(cluster.seen_at)}</span> ` : nothing}`)}</p>
		</div>`;
	}

	stalled(tasks) {
		if (!tasks.length) return nothing;
		return html`<div class="notice warning" role="status">
			<p><strong>${t("stalled", { n: tasks.length })}</strong> ${fold(tasks.map((task) => task.node))}</p>
			<p>${t("stalled_remedy", { time: duration(Math.max(...tasks.map((task) => task.silent_seconds))) })}
				${[...new Set(tasks.map((task) => task.operation_id))].map((id) => html`${runLink(id)} `)}</p>
		</div>`;
	}

	tasksOf(run) {
		const { model, error, read } = this.followed.get(run.id) ?? {};
		if (!model) return error ? problem(error, read) : waiting();
		const tasks = [...model.tasks.values()].filter((task) => ["active", "waiting"].includes(kind(task.status)));
		return html`<h3>${runLink(run.id, `${word("operation", run.type)} ${run.cluster}`)}</h3>
			${table([
				["node"],
				["progress", (task) => bar(task.progress, task.node)],
				["phase", (task) => (task.phase ? word("phase", task.phase) : word("status", task.status))],
				["step", (task) => task.step, "wide"],
	], tasks, t("running_tasks", { n: tasks.length }))}`;
	}
}

export const operations = (runs) => table([
	["operation", (run) => runLink(run.id, word("operation", run.type ?? run.operation))],
	["cluster"],
	["nodes", (run) => html`<span class="nodes" title=${fold(run.nodes)}>${fold(run.nodes)}</span>`, "wide"],
	["status", (run) => statusPill(run.status)],
	["progress", (run) => bar(run.progress, word("operation", run.type ?? run.operation), kind(run.status))],
	["failed_nodes", (run) => (run.failed_nodes ?? run.counts.failed) || ""],
	["started", (run) => time(run.started_at)],
	["took", (run) => took(run)],
], runs, "runs");
