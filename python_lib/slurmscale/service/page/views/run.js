// One run with all its nodes.

import { post } from "../api.js";
import { ended, FollowedRun } from "../run_model.js";
import { duration, language, t, word } from "../texts.js";
import { bar, button, empty, facts, failure, filterField, fold, html, kind, login, loginDetails, nothing, Part, pill, problem, runLink, statusPill, time, took, View, waiting } from "../ui.js";
import { Log } from "./log.js";

// In the order of the rows: a letter for the map, and the status that says it.
const STATES = { failed: ["F", "failed"], stalled: ["S", "stalled"], active: ["R", "running"], stopped: ["X", "stopped"], waiting: ["P", "pending"], success: ["C", "completed"] };
const ORDER = Object.keys(STATES);
const letter = (state) => STATES[state][0];
const said = (state) => word("status", STATES[state][1]);

export default class RunPage extends View {
	constructor(app, parts) {
		super(app, parts);
		Object.assign(this, { stalled: new Set(), filter: "", showDone: false, map: new Part("div", "map"), rows: new Map(), body: document.createElement("tbody") });
		this.followed = new FollowedRun(this, parts[0], (run) => this.changed(run));
		this.listen("status", (status) => this.mark(status));
	}

	changed(run) {
		if (this.last && this.last !== run.status) this.app.say(`${word("operation", run.operation)}: ${word("status", run.status)}`);
		this.last = run.status;
	}

	mark(status) {
		this.stalled = new Set(status.stalled_tasks.map((task) => task.task_id));
		this.remaining = status.active_operations.find(({ id }) => id === this.parts[0])?.remaining;
		this.update();
	}

	// A node with an error has failed, also while the run goes on with it to report it.
	stateOf(task) {
		if (task.error) return "failed";
		return this.stalled.has(task.task_id) ? "stalled" : kind(task.status);
	}

	template() {
		const { model, error, read } = this.followed;
		if (model) return html`${error ? problem(error, read) : nothing}${this.page(model)}`;
		return html`<h1 tabindex="-1">${t("run")} ${this.parts[0]}</h1>${error ? problem(error, read) : waiting()}`;
	}

	page({ run, tasks }) {
		const sorted = [...tasks.values()].map((task) => [this.stateOf(task), task]).sort((a, b) => ORDER.indexOf(a[0]) - ORDER.indexOf(b[0]));
		return html`${this.header(run)}${this.why(run)}
			${sorted.length ? html`${this.cells([...tasks.values()])}${this.table(sorted)}` : empty("no_tasks")}`;
	}

	header(run) {
		const failed = run.counts.failed;
		const names = fold(run.nodes);
		const left = this.remaining ?? run.remaining;
		const mayScale = this.may("slurm:scale:nodes");
		const about = [
			["cluster", run.cluster],
			["nodes", html`<span title=${names}>${t("node_count", { n: run.nodes.length })}</span>`],
			["started", time(run.started_at)],
			["took", took(run)],
			["requested_by", run.requested_by],
			["worker", run.worker && run.attempt > 1 ? t("worker_attempt", { worker: run.worker, attempt: run.attempt }) : run.worker],
			["retry_of", run.retry_of && runLink(run.retry_of)],
			["run", html`<code>${run.id}</code>`],
		];
		return html`<div class="title"><h1 tabindex="-1">${word("operation", run.operation)} <span class="nodes">${names}</span></h1> ${statusPill(run.status)}</div>
			<section class="card run">
				<div class="overall">${bar(run.progress, t("progress"), run.status === "running" && failed ? "active" : kind(run.status))}
					${left && !ended(run) ? html`<span class="left">${t("about_left", { time: duration(left) })}</span>` : nothing}</div>
				${facts(about)}
				<p class="buttons">
					${!ended(run) && mayScale ? button(t("cancel_run"), () => this.cancel(run), { style: "danger" }) : nothing}
					${ended(run) && failed && mayScale ? button(t("retry_failed", { n: failed }), () => this.retry(run), { style: "primary" }) : nothing}
					${button(t("log_of_run"), () => this.log(run, null))}
					<a class="button" download href="api/slurm/runs/${run.id}/log.txt">${t("download_log")}</a>
				</p>
			</section>`;
	}

	why(run) {
		return html`${run.explanation ? html`<p class="notice">${run.explanation}</p>` : nothing}
			${(run.warnings ?? []).map((warning) => html`<p class="notice warning">${warning}</p>`)}
			${run.error && run.error.code !== "nodes-failed" ? failure(run.error) : nothing}`;
	}

	// One cell per node, in the order of the run; a letter, so that colour is not all.
	cells(tasks) {
		const states = tasks.map((task) => this.stateOf(task));
		const counts = ORDER.map((state) => [state, states.filter((one) => one === state).length]).filter(([, count]) => count);
		return html`<section aria-label=${t("map")}>
			<ul class="legend">${counts.map(([state, count]) => html`<li><span class="cell ${state}" aria-hidden="true">${letter(state)}</span> ${said(state)} <strong>${count}</strong></li>`)}</ul>
			<div aria-hidden="true">${this.map.draw([states.join(), language], () => tasks.map((task, index) => html`<span class="cell ${states[index]}" title="${task.node}: ${said(states[index])}">${letter(states[index])}</span>`))}</div>
		</section>`;
	}

	table(sorted) {
		const wanted = sorted.filter(([, task]) => !this.filter || `${task.node} ${task.error?.reason ?? ""} ${task.phase}`.toLowerCase().includes(this.filter.toLowerCase()));
		const others = wanted.filter(([state]) => state !== "success");
		const shown = others.length && !this.showDone && !this.filter ? others : wanted;
		const folded = wanted.length - shown.length;
		return html`<section>
			<div class="title"><h2>${t("nodes")}</h2>${filterField(this)}</div>
			<table class="tasks" aria-label=${t("nodes")}>
				<thead><tr>${["node", "status", "progress", "what", "took", ""].map((name) => html`<th scope="col">${t(name)}</th>`)}</tr></thead>
				${this.place(shown)}
			</table>
			${shown.length ? nothing : empty("no_match")}
			${folded ? html`<p>${button(t("done_folded", { n: folded }), () => { this.showDone = true; this.update(); }, { style: "more" })}</p>` : nothing}
		</section>`;
	}

	// The rows in their order; one that has not changed is not drawn, and one that stays is not moved.
	place(shown) {
		const wanted = new Set(shown.map(([, task]) => task.node));
		for (const row of [...this.body.children]) if (!wanted.has(row.dataset.node)) row.remove();
		let at = this.body.firstElementChild;
		for (const [state, task] of shown) {
			if (!this.rows.has(task.node)) this.rows.set(task.node, new Part("tr"));
			const row = this.rows.get(task.node).draw([task, state, language], () => this.row(state, task));
			row.className = state;
			row.dataset.node = task.node;
			// one that goes down is taken out here, and comes back at its place
			if (row !== at && row === at?.nextElementSibling) at.remove();
			else if (row !== at) this.body.insertBefore(row, at);
			at = row.nextElementSibling;
		}
		return this.body;
	}

	row(state, task) {
		const now = task.phase ? html`${word("phase", task.phase)}${task.step ? html` <span class="step">${task.step}</span>` : nothing}` : task.step;
		return html`<td data-head=${t("node")}>${task.node}</td>
			<td data-head=${t("status")}>${state === "stalled" ? pill(state, said(state)) : statusPill(state === "failed" ? state : task.status)}</td>
			<td data-head=${t("progress")}>${bar(task.progress, task.node, state)}</td>
			<td data-head=${t("what")}>${task.error ? html`<span class="reason">${task.error.reason}</span> <span class="remedy">${task.error.remedy}</span>` : kind(task.status) === "success" ? nothing : now}</td>
			<td data-head=${t("took")}>${took(task)}</td>
			<td data-head="">${button(t("log"), () => this.log(this.followed.model.run, task), { style: "quiet", label: `${t("log")} ${task.node}` })}</td>`;
	}

	log(run, task) {
		const log = new Log(this.app, run, task);
		this.app.open(() => log.template(), { closed: () => log.leave(), drawn: () => log.drawn() });
	}

	cancel(run) {
		this.app.confirm({
			title: t("cancel_title", { operation: word("operation", run.operation) }),
			text: t("cancel_text"),
			action: t("cancel_run"),
			act: () => post(`api/slurm/runs/${run.id}/cancel`).then(() => this.followed.read()),
		});
	}

	retry(run) {
		const names = this.followed.model.failed().map((task) => task.node);
		this.app.confirm({
			title: t("retry_failed", { n: names.length }),
			text: fold(names),
			action: t("retry_failed", { n: names.length }),
			fields: loginDetails(),
			act: (given) => post(`api/slurm/runs/${run.id}/retry`, { credentials: login(given) }).then((again) => this.app.go(`slurm/runs/${again.run.id}`)),
		});
	}
}
