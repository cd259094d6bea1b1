// One run with all its nodes.

import { address, post } from "../api.js";
import { ended, FollowedRun } from "../run_model.js";
import { duration, language, t, word } from "../texts.js";
import { bar, empty, failure, fold, html, kind, login, loginDetails, nothing, pill, problem, time, took, View, waiting } from "../ui.js";
import { guard } from "../vendor/lit-html/directives/guard.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { Log } from "./log.js";

const ORDER = { failed: 0, stalled: 1, active: 2, stopped: 3, waiting: 4, success: 5 };
const LETTERS = { failed: "F", stalled: "S", active: "R", stopped: "X", waiting: "P", success: "C" };

export default class RunPage extends View {
  constructor(app, parts) {
    super(app, parts);
    this.stalled = new Set();
    this.filter = "";
    this.showDone = false;
    this.followed = new FollowedRun(this, parts[0], (run) => this.changed(run));
    this.atEnd(app.live.listen((event, data) => event === "status" && this.mark(data)));
  }

  changed(run) {
    if (this.last && this.last !== run.status) this.app.say(`${word("operation", run.operation)}: ${word("status", run.status)}`);
    this.last = run.status;
  }

  mark(status) {
    this.stalled = new Set(status.stalled_tasks.map((task) => task.task_id));
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
    const sorted = [...tasks.values()].map((task) => [this.stateOf(task), task]).sort((a, b) => ORDER[a[0]] - ORDER[b[0]]);
    return html`${this.header(run)}${this.why(run)}
      ${sorted.length ? html`${this.map([...tasks.values()])}${this.table(sorted)}` : empty(t("no_tasks"))}`;
  }

  header(run) {
    const failed = run.counts.failed;
    const names = fold(run.nodes);
    const facts = [
      [t("cluster"), run.cluster],
      [t("nodes"), html`<span title=${names}>${t("node_count", { n: run.nodes.length })}</span>`],
      [t("started"), time(run.started_at)],
      [t("took"), took(run)],
      [t("requested_by"), run.requested_by],
      [t("worker"), run.worker && run.attempt > 1 ? t("worker_attempt", { worker: run.worker, attempt: run.attempt }) : run.worker],
      [t("retry_of"), run.retry_of ? html`<a href="slurm/runs/${run.retry_of}">${run.retry_of}</a>` : null],
      [t("run"), html`<code>${run.id}</code>`],
    ].filter(([, value]) => value && value !== nothing);
    return html`<div class="title"><h1 tabindex="-1">${word("operation", run.operation)} <span class="nodes">${names}</span></h1> ${pill(run.status)}</div>
      <section class="card run">
        <div class="overall">${bar(run.progress, t("progress"), run.status === "running" && failed ? "active" : kind(run.status))}
          ${run.remaining && !ended(run) ? html`<span class="left">${t("about_left", { time: duration(run.remaining) })}</span>` : nothing}</div>
        <dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
        <p class="buttons">
          ${!ended(run) && this.may("slurm:scale:nodes") ? html`<button type="button" class="danger" data-cancel @click=${() => this.cancel(run)}>${t("cancel_run")}</button>` : nothing}
          ${ended(run) && failed && this.may("slurm:scale:nodes") ? html`<button type="button" class="primary" data-retry @click=${() => this.retry(run)}>${t("retry_failed", { n: failed })}</button>` : nothing}
          <button type="button" @click=${() => this.log(run, null)}>${t("log_of_run")}</button>
          <a class="button" download href=${address(`api/slurm/runs/${run.id}/log.txt`)}>${t("download_log")}</a>
        </p>
      </section>`;
  }

  why(run) {
    return html`${run.explanation ? html`<p class="notice">${run.explanation}</p>` : nothing}
      ${(run.warnings ?? []).map((warning) => html`<p class="notice warning">${warning}</p>`)}
      ${run.error && run.error.code !== "nodes-failed" ? failure(run.error) : nothing}`;
  }

  // One cell per node, in the order of the run; a letter, so that colour is not all.
  map(tasks) {
    const states = tasks.map((task) => this.stateOf(task));
    const counts = Object.keys(ORDER).map((state) => [state, states.filter((one) => one === state).length]).filter(([, count]) => count);
    return html`<section aria-label=${t("map")}>
      <ul class="legend">${counts.map(([state, count]) => html`<li><span class="cell ${state}" aria-hidden="true">${LETTERS[state]}</span> ${t(`state_${state}`)} <strong>${count}</strong></li>`)}</ul>
      <div class="map" aria-hidden="true">${guard([states.join(), language], () => tasks.map((task, index) => html`<span class="cell ${states[index]}" title="${task.node}: ${t(`state_${states[index]}`)}">${LETTERS[states[index]]}</span>`))}</div>
    </section>`;
  }

  table(sorted) {
    const wanted = sorted.filter(([, task]) => !this.filter || `${task.node} ${task.error?.reason ?? ""} ${task.phase}`.toLowerCase().includes(this.filter.toLowerCase()));
    const done = wanted.filter(([state]) => state === "success");
    const others = wanted.filter(([state]) => state !== "success");
    const folded = others.length && !this.showDone && !this.filter ? done.length : 0;
    const shown = folded ? others : wanted;
    return html`<section>
      <div class="title"><h2>${t("nodes")}</h2>
        <label class="field inline"><span>${t("filter")}</span><input data-filter type="search" .value=${this.filter} @input=${(event) => { this.filter = event.target.value; this.update(); }}></label></div>
      <table class="tasks" aria-label=${t("nodes")}>
        <thead><tr><th scope="col">${t("node")}</th><th scope="col">${t("status")}</th><th scope="col">${t("progress")}</th><th scope="col" class="wide">${t("what")}</th><th scope="col">${t("took")}</th><th scope="col"><span class="hidden">${t("log")}</span></th></tr></thead>
        <tbody>${repeat(shown, ([, task]) => task.task_id, ([state, task]) => guard([task, state, language], () => this.row(state, task)))}</tbody>
      </table>
      ${shown.length || folded ? nothing : empty(t("no_match"))}
      ${folded ? html`<p><button type="button" data-done @click=${() => { this.showDone = true; this.update(); }}><span aria-hidden="true">▸&nbsp;</span>${t("done_folded", { n: folded })}</button></p>` : nothing}
    </section>`;
  }

  row(state, task) {
    const now = task.phase ? html`${word("phase", task.phase)}${task.step ? html` <span class="step">${task.step}</span>` : nothing}` : task.step;
    return html`<tr class=${state} data-node=${task.node}>
      <td class="name" data-head=${t("node")}>${task.node}</td>
      <td data-head=${t("status")}>${state === "stalled" ? html`<span class="pill stalled"><span aria-hidden="true">!</span> ${t("state_stalled")}</span>` : pill(state === "failed" ? state : task.status)}</td>
      <td data-head=${t("progress")}>${bar(task.progress, task.node, state)}</td>
      <td class="wide" data-head=${t("what")}>${task.error ? html`<span class="reason">${task.error.reason}</span> <span class="remedy">${task.error.remedy}</span>` : kind(task.status) === "success" ? nothing : now}</td>
      <td data-head=${t("took")}>${took(task)}</td>
      <td><button type="button" class="quiet" data-row @click=${() => this.log(this.followed.model.run, task)} aria-label="${t("log")} ${task.node}">${t("log")}</button></td>
    </tr>`;
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
