// Where are we: the figures of the last day, what is in progress, and what was.

import { get } from "../api.js";
import { FollowedRun } from "../run_model.js";
import { duration, number, t, word } from "../texts.js";
import { bar, empty, fold, html, kind, Loaded, nothing, pill, problem, svg, table, time, took, View, waiting } from "../ui.js";

const SHAPES = { active: "▶", exception: "✕", success: "✓" };

export default class Status extends View {
  constructor(app, parts) {
    super(app, parts);
    this.status = new Loaded(this, () => get("api/slurm/scaling/status"));
    this.clusters = new Loaded(this, async () => (await get("api/slurm/clusters")).items);
    this.atEnd(app.live.listen((event) => event === "cluster" && this.clusters.load()));
    this.followed = new Map();
    this.open = false;
    this.atEnd(app.live.listen((event, data) => event === "status" && this.changed(data)));
  }

  changed(status) {
    const before = this.status.data;
    this.status.data = status;
    this.status.error = null;
    if (before && before.active !== status.active) this.app.say(t(status.active ? "said_active" : "said_done", { progress: status.progress }));
    if (this.open) this.watch();
    this.update();
  }

  // The active nodes are read only while they are shown.
  unfold(open) {
    this.open = open;
    if (open) this.watch();
    else this.unwatch();
  }

  watch() {
    const active = new Set(this.status.data.active_operations.map((run) => run.id));
    for (const [id, followed] of this.followed) {
      if (active.has(id)) continue;
      followed.stop();
      this.followed.delete(id);
    }
    for (const id of active) if (!this.followed.has(id)) this.followed.set(id, new FollowedRun(this, id));
  }

  unwatch() {
    for (const followed of this.followed.values()) followed.stop();
    this.followed.clear();
  }

  template() {
    return html`<h1 tabindex="-1">${t("nav_status")}</h1>${this.unhealthy(this.clusters.data ?? [])}${this.status.show((status) => this.page(status))}`;
  }

  page(status) {
    const quiet = !status.active && !status.recent_operations.length && !status.success_nodes && !status.failed_nodes;
    if (quiet) return empty(t("no_runs"), this.may("slurm:scale:nodes") ? html`<a class="button primary" href="slurm/add">${t("nav_add")}</a>` : nothing);
    return html`
      ${this.stalled(status.stalled_tasks)}
      ${this.card(status)}
      ${status.active_tasks ? this.running(status) : nothing}
      <section><h2>${t("recent_operations")}</h2>
        ${operations(status.recent_operations)}
        <p><a href="slurm/runs">${t("all_runs")}</a></p>
      </section>`;
  }

  card(status) {
    const state = status.active ? "active" : status.failed_nodes ? "exception" : "success";
    const left = status.active_operations.map((run) => run.remaining).filter((seconds) => seconds != null);
    return html`<section class="card figures" aria-label=${t("figures")}>
      <div class="circle ${state}" role="img" aria-label="${t(`circle_${state}`)}, ${status.progress} %" data-state=${state}>
        <svg viewBox="0 0 36 36" aria-hidden="true">
          ${svg`<circle class="ring" cx="18" cy="18" r="15.9155"></circle><circle class="done" cx="18" cy="18" r="15.9155" stroke-dasharray="${status.progress} 100"></circle>`}
        </svg>
        <strong data-figure="progress">${status.progress} %</strong>
        <span aria-hidden="true">${SHAPES[state]} ${t(`circle_${state}`)}</span>
      </div>
      <dl>
        ${this.figure("active_tasks", status.active_tasks, "active")}
        ${this.figure("success_nodes", status.success_nodes, "success")}
        ${this.figure("failed_nodes", status.failed_nodes, status.failed_nodes ? "failed" : "")}
      </dl>
      <p class="left">${left.length ? t("about_left", { time: duration(Math.max(...left)) }) : nothing}</p>
    </section>`;
  }

  figure(name, value, style) {
    return html`<div class="figure ${style}"><dt>${t(name)}</dt><dd data-figure=${name}>${number(value)}</dd></div>`;
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
      <p class="remedy">${t("stalled_remedy", { time: duration(Math.max(...tasks.map((task) => task.silent_seconds))) })}
        ${[...new Set(tasks.map((task) => task.operation_id))].map((id) => html`<a href="slurm/runs/${id}">${id}</a> `)}</p>
    </div>`;
  }

  running(status) {
    return html`<details class="card running" @toggle=${(event) => this.unfold(event.target.open)}>
      <summary>${t("running_tasks", { n: status.active_tasks })}</summary>
      ${this.open ? status.active_operations.map((run) => this.tasksOf(run)) : nothing}
    </details>`;
  }

  tasksOf(run) {
    const { model, error, read } = this.followed.get(run.id) ?? {};
    if (!model) return error ? problem(error, read) : waiting();
    const tasks = [...model.tasks.values()].filter((task) => ["active", "waiting"].includes(kind(task.status)));
    return html`<h3><a href="slurm/runs/${run.id}">${word("operation", run.type)} ${run.cluster}</a></h3>
      ${table(
        [
          [t("node"), (task) => task.node, "name"],
          [t("progress"), (task) => bar(task.progress, task.node)],
          [t("phase"), (task) => (task.phase ? word("phase", task.phase) : word("status", task.status))],
          [t("step"), (task) => task.step, "wide"],
        ],
        tasks,
        t("running_tasks", { n: tasks.length }),
      )}`;
  }
}

export const operations = (runs) => table(
  [
    [t("operation"), (run) => html`<a data-row href="slurm/runs/${run.id}">${word("operation", run.type ?? run.operation)}</a>`, "name"],
    [t("cluster"), (run) => run.cluster],
    [t("nodes"), (run) => html`<span class="nodes" title=${fold(run.nodes)}>${fold(run.nodes)}</span>`, "wide"],
    [t("status"), (run) => pill(run.status)],
    [t("progress"), (run) => bar(run.progress, word("operation", run.type ?? run.operation), kind(run.status))],
    [t("failed_nodes"), (run) => (run.failed_nodes ?? run.counts.failed) || "", "count"],
    [t("started"), (run) => time(run.started_at)],
    [t("took"), (run) => took(run)],
  ],
  runs,
  t("runs"),
);
