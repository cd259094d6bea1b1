// Adding nodes: which, whether they are ready, what would be done, and doing exactly that.

import { get, newKey, post } from "../api.js";
import { ended, FollowedRun } from "../run_model.js";
import { t, word } from "../texts.js";
import { bar, clusterField, empty, expand, failure, filled, fold, html, kind, Loaded, login, loginDetails, nodesField, nothing, pill, problem, table, View, waiting } from "../ui.js";

const STEPS = ["nodes", "readiness", "plan"];
const ACTIONS = { none: "controller_none", reconfigure: "controller_reconfigure", restart: "controller_restart" };

export default class Add extends View {
  constructor(app, parts) {
    super(app, parts);
    Object.assign(this, { step: 0, text: "", login: false, form: {}, busy: false, error: null });
    this.clusters = new Loaded(this, async () => (await get("api/slurm/clusters")).items);
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

  back(step) {
    this.followed?.stop();
    Object.assign(this, { step, followed: null, plan: null, error: null });
    this.update();
  }

  template() {
    return html`<h1 tabindex="-1">${t("nav_add")}</h1>
      <ol class="steps">${STEPS.map((name, index) => html`<li aria-current=${index === this.step ? "step" : nothing}>${index + 1}. ${t(`step_${name}`)}</li>`)}</ol>
      ${this.error ? problem(this.error) : nothing}
      ${this.step === 0 ? this.clusters.show((clusters) => this.first(clusters)) : this.followed.model ? this.later(this.followed.model) : this.followed.error ? problem(this.followed.error, this.followed.read) : waiting()}`;
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
    return table(
      [
        [t("node"), (task) => task.node, "name"],
        [t("readiness"), (task) => (kind(task.status) === "success" ? html`<span class="pill success"><span aria-hidden="true">✓</span> ${t("ready")}</span>` : kind(task.status) === "failed" ? html`<span class="pill failed"><span aria-hidden="true">✕</span> ${t("not_ready")}</span>` : pill(task.status))],
        [t("reason"), (task) => (task.error ? html`${task.error.reason} <span class="remedy">${task.error.remedy}</span>` : ""), "wide"],
      ],
      rows,
      t("readiness"),
    );
  }

  ended(rows) {
    const ready = rows.filter((task) => kind(task.status) === "success").map((task) => task.node);
    return html`${this.readiness(rows)}
      <p class="buttons">${ready.length ? html`<button type="button" class="primary" ?disabled=${this.busy} @click=${() => this.makePlan(ready)}>${t("plan_nodes", { n: ready.length })}</button>` : nothing}
      <button type="button" @click=${() => this.back(0)}>${t("back")}</button></p>`;
  }

  planned({ nodes, controller }) {
    const rows = Object.entries(nodes);
    const names = rows.filter(([, row]) => row.ready).map(([name]) => name);
    return html`${table(
        [
          [t("node"), ([name]) => name, "name"],
          ["slurm.conf", ([, row]) => row.registration],
          [t("what"), ([, row]) => (row.ready ? row.steps.join(", ") || t("nothing_to_do") : html`${row.reason} <span class="remedy">${row.remedy}</span>`), "wide"],
        ],
        rows,
        t("step_plan"),
      )}
      ${controller?.action ? html`<section><h2>${t("controller")} ${controller.host}</h2><p>${t(ACTIONS[controller.action])}</p>
        ${(controller.diff ?? []).map((change) => html`<pre aria-label="slurm.conf">${change.text.trimEnd().split("\n").map((line) => html`<span class=${/^(---|\+\+\+) /.test(line) ? "wait" : line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : nothing}>${line}\n</span>`)}</pre>`)}</section>` : nothing}
      ${names.length ? nothing : empty(t("nothing_to_add"))}
      <p class="buttons">${names.length ? html`<button type="button" class="primary" data-apply ?disabled=${this.busy} @click=${() => this.apply(names)} title=${fold(names)}>${t("add_nodes", { n: names.length })}</button>` : nothing}
      <button type="button" @click=${() => this.back(0)}>${t("back")}</button></p>`;
  }
}
