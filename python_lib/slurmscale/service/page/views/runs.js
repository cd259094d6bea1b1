// All runs, newest first.

import { get } from "../api.js";
import { t, word } from "../texts.js";
import { empty, html, Loaded, nothing, problem, View } from "../ui.js";
import { operations } from "./status.js";

const STATUSES = ["pending", "running", "completed", "failed", "cancelled", "interrupted"];
const OPERATIONS = ["plan", "scale-up", "scale-down", "check", "repair-check", "repair-fix", "repair-test", "upgrade", "rotate-munge-key", "publish-apphub", "check-apphub", "setup-controller"];

export default class Runs extends View {
  constructor(app, parts) {
    super(app, parts);
    this.read();
    this.atEnd(app.live.listen((event, data) => event === "status" && this.merge(data)));
  }

  get filter() {
    return new URLSearchParams(location.search);
  }

  read() {
    this.cursor = null;
    this.runs = new Loaded(this, async () => this.part());
  }

  async part() {
    const query = new URLSearchParams([...this.filter].filter(([, value]) => value));
    query.set("limit", 50);
    if (this.cursor) query.set("cursor", this.cursor);
    const answer = await get(`api/slurm/runs?${query}`);
    this.cursor = answer.next_cursor;
    return answer.items;
  }

  async more() {
    try {
      this.runs.data = [...this.runs.data, ...(await this.part())];
      this.moreError = null;
    } catch (error) {
      this.moreError = error;
    }
    this.update();
  }

  // What the status tells of runs that are shown; one that is new is read.
  merge(status) {
    if (!this.runs.data) return;
    const news = new Map([...status.recent_operations, ...status.active_operations].map((run) => [run.id, run]));
    const known = new Set(this.runs.data.map((run) => run.id));
    this.runs.data = this.runs.data.map((run) => {
      const found = news.get(run.id);
      return found ? { ...run, ...found, counts: { ...run.counts, failed: found.failed_nodes } } : run;
    });
    if ([...news.keys()].some((id) => !known.has(id)) && ![...this.filter.values()].some(Boolean)) this.read();
    this.update();
  }

  choose(event) {
    const query = new URLSearchParams([...new FormData(event.currentTarget)].filter(([, value]) => value));
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
    this.read();
    this.update();
  }

  template() {
    return html`<h1 tabindex="-1">${t("nav_runs")}</h1>
      <form class="filter" @change=${(event) => this.choose(event)} @submit=${(event) => event.preventDefault()}>
        ${this.select("operation", OPERATIONS)}
        ${this.select("status", STATUSES)}
        <label class="field"><span>${t("node")}</span><input data-filter name="node" .value=${this.filter.get("node") ?? ""}></label>
      </form>
      ${this.runs.show((runs) => this.list(runs))}`;
  }

  select(name, values) {
    const chosen = this.filter.get(name);
    return html`<label class="field"><span>${t(name)}</span><select name=${name}>
      <option value="">${t("any")}</option>
      ${values.map((value) => html`<option value=${value} ?selected=${value === chosen}>${word(name, value)}</option>`)}
    </select></label>`;
  }

  list(runs) {
    if (!runs.length) {
      if ([...this.filter.values()].some(Boolean)) return empty(t("no_match"));
      return empty(t("no_runs_ever"), this.may("slurm:scale:nodes") ? html`<a class="button primary" href="slurm/add">${t("nav_add")}</a>` : nothing);
    }
    return html`${operations(runs)}
      ${this.moreError ? problem(this.moreError) : nothing}
      ${this.cursor ? html`<p><button type="button" @click=${() => this.more()}>${t("more")}</button></p>` : nothing}`;
  }
}
