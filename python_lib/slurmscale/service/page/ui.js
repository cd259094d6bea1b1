// Parts that all views are made of.

import { html, nothing, svg } from "./vendor/lit-html/lit-html.js";
import { t, word, moment, duration } from "./texts.js";

export { html, nothing, svg };

const FAILED = new Set(["failed", "error"]);
const SUCCEEDED = new Set(["completed", "success"]);

// How a status counts: active, waiting, success, failed or stopped.
export function kind(status) {
  if (SUCCEEDED.has(status)) return "success";
  if (FAILED.has(status)) return "failed";
  if (status === "pending") return "waiting";
  return status === "cancelled" || status === "interrupted" ? "stopped" : "active";
}

const MARKS = { active: "▶", waiting: "…", success: "✓", failed: "✕", stopped: "■" };
export const pill = (status) => html`<span class="pill ${kind(status)}"><span aria-hidden="true">${MARKS[kind(status)]}</span> ${word("status", status)}</span>`;

export const bar = (value, label, state = "active") => html`<span class="bar ${state}"><progress max="100" .value=${value} aria-label=${label}></progress><span class="percent">${value} %</span></span>`;

export const time = (iso) => (iso ? html`<time datetime=${iso} title=${new Date(iso).toLocaleString()}>${moment(iso)}</time>` : nothing);

export function took(run) {
  if (!run.started_at || !run.completed_at) return "";
  return duration((new Date(run.completed_at) - new Date(run.started_at)) / 1000);
}

// Names of nodes as Slurm writes them: node[07-09,12].
export function fold(names) {
  const groups = new Map();
  for (const name of names) {
    const [, prefix, digits, rest] = /^(.*?)(\d*)(\D*)$/.exec(name) ?? [null, name, "", ""];
    const key = JSON.stringify([prefix, rest]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(digits);
  }
  const folded = [];
  for (const [key, found] of groups) {
    const [prefix, rest] = JSON.parse(key);
    // with zeros in front, numbers of one width belong together
    const widths = found.some((digits) => digits.startsWith("0")) ? [...new Set(found.map((digits) => digits.length))] : [null];
    for (const width of widths) {
      const digits = found.filter((one) => width === null || one.length === width);
      folded.push(prefix + (digits.length > 1 ? `[${ranges(digits)}]` : digits[0]) + rest);
    }
  }
  return folded.join(",");
}

function ranges(digits) {
  const sorted = [...new Set(digits)].sort((a, b) => a - b);
  const parts = [];
  let first = sorted[0];
  sorted.forEach((one, index) => {
    if (index + 1 < sorted.length && Number(sorted[index + 1]) === Number(one) + 1) return;
    parts.push(first === one ? one : `${first}-${one}`);
    first = sorted[index + 1];
  });
  return parts.join(",");
}

// The names that a host list stands for, or null when it is not one: n[1-3,7],login.
export function expand(text) {
  const names = [];
  if (/\[[^\]]*$|^[^[]*\]/.test(text)) return null;
  for (const part of text.match(/(?:[^,\s[\]]|\[[^\]]*\])+/g) ?? []) {
    const pieces = part.split(/\[([^\]]*)\]/);
    let found = [pieces[0]];
    for (let index = 1; index < pieces.length; index += 2) {
      const numbers = numbersOf(pieces[index]);
      if (!numbers || found.length * numbers.length > 100_000) return null;
      found = found.flatMap((name) => numbers.map((digits) => name + digits + pieces[index + 1]));
    }
    names.push(...found);
  }
  return names.every((name) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) ? [...new Set(names)] : null;
}

function numbersOf(text) {
  const numbers = [];
  for (const range of text.split(",")) {
    const found = /^(\d+)(?:-(\d+))?$/.exec(range.trim());
    if (!found) return null;
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (last < first || last - first > 100_000) return null;
    for (let value = first; value <= last; value += 1) numbers.push(String(value).padStart(found[1].length, "0"));
  }
  return numbers;
}

// Why something failed and what to do.
export function problem(error, retry) {
  const reason = error.code === "unreachable" ? t("unreachable") : error.message;
  return html`<div class="notice failed" role="alert">
    <p>${reason}</p>
    ${error.remedy ? html`<p class="remedy">${error.remedy}</p>` : nothing}
    ${(error.body?.errors ?? []).map((one) => html`<p class="remedy">${one.pointer ? html`<code>${one.pointer}</code> ` : nothing}${one.detail}</p>`)}
    ${retry ? html`<p><button type="button" @click=${retry}>${t("try_again")}</button></p>` : nothing}
  </div>`;
}

// Whether a cluster answered when it was looked at last.
export const health = ({ health: now }) => (now ? html`<span class="pill ${now === "healthy" ? "success" : "failed"}"><span aria-hidden="true">${now === "healthy" ? "✓" : "✕"}</span> ${word("health", now)}</span>` : html`<span class="step">${t("health_unknown")}</span>`);

// Why a run, a node or a look failed, as its record tells.
export const failure = ({ reason, remedy }) => html`<div class="notice failed"><p>${reason}</p> <p class="remedy">${remedy}</p></div>`;

export const forbidden = (permission) => html`<div class="notice"><p>${t("forbidden")}</p><p class="remedy">${t("forbidden_remedy", { permission })}</p></div>`;

export const empty = (text, next = nothing) => html`<div class="empty"><p>${text}</p>${next}</div>`;

export const waiting = () => html`<p class="wait" role="status">${t("loading")}</p>`;

// Something that is read once: it is loading, failed, forbidden, or there.
export class Loaded {
  constructor(view, read) {
    Object.assign(this, { view, read, data: null, error: null });
    this.first = this.load();
  }

  load = async () => {
    this.error = null;
    try {
      this.data = await this.read();
    } catch (error) {
      if (error.status === undefined) throw error;
      this.error = error;
    }
    this.view.update();
  };

  show(template) {
    if (this.error) {
      if (this.error.status === 403) return forbidden(this.error.body.permission ?? this.error.message);
      return html`${problem(this.error, this.load)}${this.data === null ? nothing : template(this.data)}`;
    }
    return this.data === null ? waiting() : template(this.data);
  }
}

// What a view has besides: its place in the page, and what it has to end when it is left.
export class View {
  constructor(app, parts) {
    this.app = app;
    this.parts = parts;
    this._ends = [];
  }

  update = () => this.app.update();

  atEnd(end) {
    this._ends.push(end);
  }

  leave() {
    for (const end of this._ends) end();
    this._ends = [];
    this.left = true;
  }

  // Does something that the service may refuse; why it did is kept to be shown.
  async attempt(act) {
    Object.assign(this, { busy: true, error: null });
    this.update();
    try {
      return await act();
    } catch (error) {
      if (error.status === undefined) throw error;
      return void (this.error = error);
    } finally {
      this.busy = false;
      this.update();
    }
  }

  may(permission) {
    return this.app.user?.permissions.includes(permission);
  }
}

// A table whose rows become cards on a narrow screen; a column is [head, cell] or [head, cell, class].
export const table = (columns, rows, label) => html`<table aria-label=${label}>
  <thead><tr>${columns.map(([head, , style]) => html`<th scope="col" class=${style ?? nothing}>${head}</th>`)}</tr></thead>
  <tbody>${rows.map((row) => html`<tr>${columns.map(([head, cell, style]) => html`<td data-head=${head} class=${style ?? nothing}>${cell(row)}</td>`)}</tr>`)}</tbody>
</table>`;

export const field = (label, input, hint = nothing) => html`<label class="field"><span>${label}</span>${input}${hint === nothing ? nothing : html`<small>${hint}</small>`}</label>`;

export const clusterField = (clusters, chosen) => (clusters.length > 1 ? field(t("cluster"), html`<select name="cluster" required>${clusters.map(({ id }) => html`<option value=${id} ?selected=${id === chosen}>${id}</option>`)}</select>`) : nothing);

export function nodesField(text, typed) {
  const names = expand(text);
  return field(t("nodes"), html`<input name="nodes" required autocomplete="off" spellcheck="false" placeholder="node[07-12]" .value=${text} @input=${typed}>`,
    html`<span data-count>${text.trim() ? (names ? t("node_count", { n: names.length }) : t("not_a_hostlist")) : t("hostlist_hint")}</span>`);
}

// How to log in, where the service doesn't know it.
export const loginFields = (known = {}) => html`
  ${field(t("user"), html`<input name="user" autocomplete="off" pattern="[a-z_][a-z0-9_.\-]*" .value=${known.user ?? ""}>`)}
  ${field(t("password"), html`<input name="password" type="password" autocomplete="off" .value=${known.password ?? ""}>`)}
  ${field(t("port"), html`<input name="port" inputmode="numeric" pattern="[0-9]{1,5}" placeholder="22" .value=${known.port ?? ""}>`)}`;

// What of a form was filled in.
export const filled = (form) => Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, name === "password" ? value : value.trim()]).filter(([, value]) => value));

// The parts of a login that were given, as a request has them.
export const login = ({ user, password, port }) => ({ ...(user && { user }), ...(password && { password }), ...(port && { port: Number(port) }) });

export const loginDetails = (known) => html`<details ?open=${Boolean(known?.user)}><summary>${t("login")}</summary>
  <p class="remedy">${t("login_hint")}</p><fieldset>${loginFields(known)}</fieldset></details>`;
