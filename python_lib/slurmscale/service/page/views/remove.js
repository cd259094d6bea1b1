// Removing nodes: which, what happens to the jobs on them, and the number of nodes typed as a confirmation.

import { get, newKey, post } from "../api.js";
import { t } from "../texts.js";
import { clusterField, expand, field, filled, html, Loaded, nodesField, nothing, problem, table, View } from "../ui.js";

const JOBS = ["wait", "requeue", "cancel"];

export default class Remove extends View {
  constructor(app, parts) {
    super(app, parts);
    Object.assign(this, { text: "", typed: "", jobs: "wait", busy: false, error: null, key: newKey() });
    this.running = this.may("slurm:jobs:read") ? new Loaded(this, async () => (await get("api/jobs?limit=200")).items.filter((job) => !job.ended && job.nodes)) : null;
    this.clusters = new Loaded(this, async () => (await get("api/slurm/clusters")).items);
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
    const columns = [[t("job"), (job) => job.name || job.job_id, "name"], [t("cluster"), (job) => job.cluster], [t("user"), (job) => job.user], [t("status"), (job) => job.state], [t("nodes"), (job) => job.nodes]];
    return html`<p class="remedy">${t("jobs_known")}</p>${table(columns, jobs, t("jobs_on_nodes"))}`;
  }

  template() {
    return html`<h1 tabindex="-1">${t("nav_remove")}</h1>${this.error ? problem(this.error) : nothing}${this.clusters.show((clusters) => this.form(clusters))}`;
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
        ${JOBS.map((one) => html`<label class="check"><input type="radio" name="jobs" value=${one} ?checked=${one === "wait"}><span>${t(`jobs_${one}`)}</span></label>`)}</div>
      <label class="check"><input type="checkbox" name="uninstall"><span>${t("uninstall")}</span></label>
      ${count ? field(t("type_number", { n: count }), html`<input name="typed" inputmode="numeric" autocomplete="off" .value=${this.typed} @input=${typed}>`) : nothing}
      <p class="buttons"><button class="danger" ?disabled=${this.busy || !count || this.typed.trim() !== String(count)}>${t("remove_nodes", { n: count })}</button></p>
    </form>`;
  }
}
