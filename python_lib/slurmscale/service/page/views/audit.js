// Who did what, and with which result.

import { get } from "../api.js";
import { t, word } from "../texts.js";
import { empty, fold, html, Loaded, nothing, problem, table, time, View } from "../ui.js";

const STATUSES = ["success", "failed", "denied"];
const MARKS = { success: "✓", failed: "✕", denied: "■" };
const STYLES = { success: "success", failed: "failed", denied: "stopped" };

export default class Audit extends View {
  constructor(app, parts) {
    super(app, parts);
    this.filter = {};
    this.read();
  }

  read() {
    this.cursor = null;
    this.rows = new Loaded(this, () => this.part());
  }

  async part() {
    const query = new URLSearchParams({ ...this.filter, limit: 100, ...(this.cursor && { cursor: this.cursor }) });
    const answer = await get(`api/audit?${query}`);
    this.cursor = answer.next_cursor;
    return answer.items;
  }

  async more() {
    try {
      this.rows.data = [...this.rows.data, ...(await this.part())];
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    this.update();
  }

  choose(event) {
    this.filter = Object.fromEntries([...new FormData(event.currentTarget)].filter(([, value]) => value));
    this.read();
    this.update();
  }

  template() {
    return html`<h1 tabindex="-1">${t("nav_audit")}</h1>
      <form class="filter" @change=${(event) => this.choose(event)} @submit=${(event) => event.preventDefault()}>
        <label class="field"><span>${t("result")}</span><select name="status"><option value="">${t("any")}</option>${STATUSES.map((one) => html`<option value=${one}>${word("result", one)}</option>`)}</select></label>
        <label class="field"><span>${t("user")}</span><input name="user" data-filter></label>
        <button type="button" @click=${() => { this.read(); this.update(); }}>${t("refresh")}</button>
      </form>
      ${this.rows.show((rows) => this.list(rows))}`;
  }

  list(rows) {
    if (!rows.length) return empty(t("no_match"));
    return html`${table(
        [
          [t("when"), (row) => time(row.timestamp), "name"],
          [t("user"), (row) => row.user_name ?? ""],
          [t("action"), (row) => row.action],
          [t("nodes"), (row) => fold(row.nodes)],
          [t("result"), (row) => html`<span class="pill ${STYLES[row.status]}"><span aria-hidden="true">${MARKS[row.status]}</span> ${word("result", row.status)}</span>`],
          [t("run"), (row) => (row.run_id ? html`<a data-row href="slurm/runs/${row.run_id}">${row.run_id}</a>` : "")],
          [t("source"), (row) => row.source],
          [t("resource"), (row) => row.resource, "wide"],
        ],
        rows,
        t("nav_audit"),
      )}
      ${this.error ? problem(this.error) : nothing}
      ${this.cursor ? html`<p><button type="button" @click=${() => this.more()}>${t("more")}</button></p>` : nothing}`;
  }
}
