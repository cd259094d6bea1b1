// Jobs on clusters, in Slurm's own words.

import { get, newKey, post } from "../api.js";
import { t } from "../texts.js";
import { clusterField, empty, field, filled, html, Loaded, nothing, problem, table, time, View, waiting } from "../ui.js";

const KINDS = [[/^(PENDING|CONFIGURING|SUSPENDED|REQUEUE)/, "waiting", "…"], [/^(RUNNING|COMPLETING|STAGE_OUT|RESIZING|SIGNALING)/, "active", "▶"], [/^COMPLETED/, "success", "✓"], [/^CANCELLED/, "stopped", "■"], [/^/, "failed", "✕"]];
const path = (job, rest = "") => `api/jobs/${encodeURIComponent(job.id)}${rest}`;

function state(job) {
  const [, style, mark] = job.lost ? [null, "stalled", "?"] : KINDS.find(([words]) => words.test(job.state));
  return html`<span class="pill ${style}"><span aria-hidden="true">${mark}</span> ${job.state}</span>`;
}

export default class Jobs extends View {
  constructor(app, parts) {
    super(app, parts);
    Object.assign(this, { cluster: "", refresh: false, key: newKey() });
    this.clusters = new Loaded(this, async () => (await get("api/slurm/clusters")).items);
    this.jobs = new Loaded(this, () => this.list());
    this.atEnd(app.live.listen((event) => event === "job" && this.read(false)));
  }

  // As they were seen last, or as Slurm says now.
  async read(refresh) {
    this.asking = this.refresh = refresh;
    await this.jobs.load();
    this.asking = false;
    this.update();
  }

  async list() {
    const query = new URLSearchParams({ limit: 200, refresh: this.refresh, ...(this.cluster && { cluster: this.cluster }) });
    return (await get(`api/jobs?${query}`)).items;
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
    let [now, output, error] = [job, null, null];
    let busy = !job.ended;
    const ask = async (act) => {
      [error, busy] = [null, true];
      this.update();
      try {
        await act();
      } catch (refused) {
        if (refused.status === undefined) throw refused;
        error = refused;
      }
      busy = false;
      this.update();
    };
    if (busy) ask(async () => (now = await get(path(job, "/status"))));
    const cancel = () => ask(async () => {
      now = await post(path(job, "/cancel"));
      this.read(false);
    });
    this.app.open(() => html`<h2>${t("job")} ${now.name || now.job_id}</h2>
      <dl class="facts">${this.columns().slice(1).map(([name, value]) => [name, value(now)]).filter(([, value]) => value && value !== nothing).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      ${now.note ? html`<p class="notice warning">${now.note}</p>` : nothing}
      ${error ? problem(error) : nothing}${busy ? waiting() : nothing}
      ${output ? html`<p class="step"><code>${output.host}:${output.path}</code></p><pre class="output" tabindex="0" aria-label=${t("output")}>${output.text || t("no_output")}</pre>` : nothing}
      <p class="buttons"><button type="button" ?disabled=${busy} @click=${() => ask(async () => (output = await get(path(job, "/output"))))}>${t("output")}</button>
      ${!now.ended && !now.lost && this.may("slurm:jobs:cancel") ? html`<button type="button" class="danger" ?disabled=${busy} @click=${cancel}>${t("cancel_job")}</button>` : nothing}</p>`);
  }

  columns() {
    return [
      [t("job"), (job) => html`<button type="button" class="link" data-row @click=${() => this.show(job)}>${job.name || job.job_id}</button>`, "name"],
      [t("status"), state],
      [t("cluster"), (job) => job.cluster],
      [t("job_id"), (job) => job.job_id, "count"],
      [t("user"), (job) => job.user],
      [t("partition"), (job) => job.partition],
      [t("nodes"), (job) => job.nodes],
      [t("exit_code"), (job) => job.exit_code, "count"],
      [t("reason"), (job) => job.note || (job.reason === "None" ? "" : job.reason)],
      [t("submitted"), (job) => time(job.submitted_at)],
    ];
  }

  template() {
    return html`<h1 tabindex="-1">${t("nav_jobs")}</h1>${this.clusters.show((clusters) => html`
      <form class="filter" @change=${(event) => { this.cluster = event.target.value; this.read(false); }} @submit=${(event) => event.preventDefault()}>
        ${clusters.length > 1 ? field(t("cluster"), html`<select data-filter><option value="">${t("any")}</option>${clusters.map(({ id }) => html`<option>${id}</option>`)}</select>`) : nothing}
        <button type="button" ?disabled=${this.asking} @click=${() => this.read(true)}>${t("refresh")}</button>
        ${this.asking ? html`<span role="status" class="step">${t("asking")}</span>` : nothing}
      </form>
      ${this.jobs.show((jobs) => (jobs.length ? table(this.columns(), jobs, t("nav_jobs")) : empty(t("no_jobs"))))}
      ${this.may("slurm:jobs:submit") ? this.form(clusters) : nothing}`)}`;
  }

  form(clusters) {
    return html`<form class="card" aria-label=${t("submit_job")} @submit=${(event) => this.submit(event)}>
      <h2>${t("submit_job")}</h2>
      ${field(t("command"), html`<textarea name="command" required rows="4" spellcheck="false"></textarea>`, t("command_hint"))}
      <fieldset>${clusterField(clusters)}
        ${field(t("name"), html`<input name="name" pattern="[A-Za-z0-9_.\\-]{1,64}" autocomplete="off">`)}
        ${field(t("partition"), html`<input name="partition" pattern="[A-Za-z0-9_.\\-]{1,64}" autocomplete="off">`)}
        ${field(t("nodes"), html`<input name="nodes" pattern="[0-9]{1,6}(-[0-9]{1,6})?" placeholder="1" autocomplete="off">`)}
        ${field(t("time_limit"), html`<input name="time" pattern="[0-9:\\-]{1,20}" placeholder="1-12:00:00" autocomplete="off">`)}</fieldset>
      ${this.error ? problem(this.error) : nothing}
      ${this.busy ? html`<p role="status" class="step">${t("asking")}</p>` : nothing}
      <p class="buttons"><button class="primary" ?disabled=${this.busy}>${t("submit_job")}</button></p>
    </form>`;
  }
}
