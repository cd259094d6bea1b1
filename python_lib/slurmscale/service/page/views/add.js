// Adding nodes: which, whether they are ready, what would be done, and doing exactly that.

import { get, newKey, post } from "../api.js";
import { ended, FollowedRun } from "../run_model.js";
import { t, word } from "../texts.js";
import { bar, button, clusterField, empty, expand, failure, filled, fold, html, kind, Loaded, login, loginDetails, nodesField, nothing, ofClusters, pill, problem, statusPill, table, View, waiting } from "../ui.js";

const STEPS = ["nodes", "readiness", "plan"];
const READY = { success: "ready", failed: "not_ready" };

export default class Add extends View {
	constructor(app) {
		super(app);
		Object.assign(this, { step: 0, text: "", form: {} });
		this.clusters = this.list("api/slurm/clusters");
	}

	get names() {
		return expand(this.text);
	}

	// The nodes as a request has them: names that the inventory knows, or each with its login.
	request(names) {
		const { cluster } = this.form;
		const given = login(this.form);
		const nodes = Object.keys(given).length ? names.map((name) => ({ name, host: name, ...given })) : names;
		return { ...(cluster && { cluster }), nodes };
	}

	start(step, send) {
		return this.attempt(async () => {
			const { run } = await send();
			this.followed?.stop();
			this.followed = new FollowedRun(this, run.id, (now) => this.changed(now));
			this.step = step;
		});
	}

	changed(run) {
		if (!ended(run) || this.step !== 2 || this.plan) return;
		this.plan = new Loaded(this, () => get(`api/slurm/runs/${run.id}/plan`));
	}

	check(event) {
		event.preventDefault();
		this.form = filled(event.target);
		this.start(1, () => post("api/slurm/nodes/check", this.request(this.names)));
	}

	makePlan(ready) {
		this.plan = null;
		this.key = newKey();
		this.start(2, () => post("api/slurm/plan", { operation: "scale-up", ...this.request(ready) }));
	}

	apply(names) {
		return this.attempt(async () => {
			const { run } = await post("api/slurm/scale-up", { ...this.request(names), plan_id: this.followed.id }, this.key);
			this.app.go(`slurm/runs/${run.id}`);
		});
	}

	back() {
		this.followed?.stop();
		Object.assign(this, { step: 0, followed: null, plan: null, error: null });
		this.update();
	}

	template() {
		return html`<ol class="steps">${STEPS.map((name, index) => html`<li aria-current=${index === this.step ? "step" : nothing}>${index + 1}. ${t(`step_${name}`)}</li>`)}</ol>
			${this.problem()}
			${this.step === 0 ? ofClusters(this.clusters, (clusters) => this.first(clusters)) : this.followed.model ? this.later(this.followed.model) : this.followed.error ? problem(this.followed.error, this.followed.read) : waiting()}`;
	}

	first(clusters) {
		const names = this.names;
		return html`<form class="card" @submit=${(event) => this.check(event)}>
			${clusterField(clusters, this.form.cluster)}
			${nodesField(this.text, (event) => { this.text = event.target.value; this.update(); })}
			${loginDetails(this.form)}
			<p class="buttons"><button class="primary" ?disabled=${this.busy || !names?.length}>${t("check_nodes")}</button></p>
		</form>`;
	}

	later({ run, tasks }) {
		const rows = [...tasks.values()];
		const failed = run.status !== "completed" && run.error && run.error.code !== "nodes-failed" ? failure(run.error) : nothing;
		if (!ended(run)) return html`${bar(run.progress, word("operation", run.operation))}${this.readiness(rows)}`;
		return html`${failed}${this.step === 1 ? this.ended(rows) : this.plan ? this.plan.show((plan) => this.planned(plan)) : waiting()}`;
	}

	readiness(rows) {
		return table([
			["node"],
			["readiness", (task) => READY[kind(task.status)] ? pill(kind(task.status), t(READY[kind(task.status)])) : statusPill(task.status)],
			["reason", (task) => (task.error ? html`${task.error.reason} <span class="remedy">${task.error.remedy}</span>` : ""), "wide"],
	], rows, "readiness");
	}

	ended(rows) {
		const ready = rows.filter((task) => kind(task.status) === "success").map((task) => task.node);
		return html`${this.readiness(rows)}
			<p class="buttons">${ready.length ? button(t("plan_nodes", { n: ready.length }), () => this.makePlan(ready), { style: "primary", disabled: this.busy }) : nothing}
			${button(t("back"), () => this.back(), { disabled: this.busy })}</p>`;
	}

	planned({ nodes, controller }) {
		const rows = Object.entries(nodes);
		const names = rows.filter(([, row]) => row.ready).map(([name]) => name);
		return html`${table([
				["node", ([name]) => name],
				["slurm.conf", ([, row]) => row.registration],
				["what", ([, row]) => (row.ready ? row.steps.join(", ") || t("nothing_to_do") : html`${row.reason} <span class="remedy">${row.remedy}</span>`), "wide"],
	], rows, "step_plan")}
			${controller?.action ? html`<section><h2>${t("controller")} ${controller.host}</h2><p>${t(`controller_${controller.action}`)}</p>
				${(controller.diff ?? []).map((change) => html`<pre aria-label="slurm.conf">${change.text.trimEnd().split("\n").map((line) => html`<span class=${/^(---|\+\+\+) /.test(line) ? "wait" : line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : nothing}>${line}\n</span>`)}</pre>`)}</section>` : nothing}
			${names.length ? nothing : empty("nothing_to_add")}
			<p class="buttons">${names.length ? button(t("add_nodes", { n: names.length }), () => this.apply(names), { style: "primary", disabled: this.busy }) : nothing}
			${button(t("back"), () => this.back(), { disabled: this.busy })}</p>`;
	}
}
