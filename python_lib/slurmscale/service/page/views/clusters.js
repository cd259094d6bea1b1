// The known clusters, and how one is added: tested stage by stage, its host key confirmed, shown, and then remembered.

import { call, get, post } from "../api.js";
import { t, word } from "../texts.js";
import { empty, failure, field, filled, health, html, Loaded, login, loginFields, nothing, problem, table, time, View, waiting } from "../ui.js";
import { facts } from "./nodes.js";

const REUSE = ["reuse_existing_config", "reuse_existing_munge", "reuse_existing_database"];
const KINDS = ["external", "managed"];
const path = (cluster, rest = "") => `api/slurm/clusters/${encodeURIComponent(cluster.id)}${rest}`;

// What a look at a cluster found, stage by stage.
const stages = (found) => html`<ol class="stages" aria-label=${t("connection")}>${found.stages.map((one) => html`<li>
    <span class="pill ${one.ok ? "success" : "failed"}"><span aria-hidden="true">${one.ok ? "✓" : "✕"}</span> ${word("stage", one.stage)}</span> <span class="step">${one.found}</span></li>`)}</ol>
  ${found.error ? failure(found.error) : nothing}`;

export default class Clusters extends View {
  constructor(app, parts) {
    super(app, parts);
    this.kind = parts.length ? "external" : "managed";
    this.clusters = new Loaded(this, async () => (await get("api/slurm/clusters")).items);
    this.atEnd(app.live.listen((event) => event === "cluster" && this.clusters.load()));
  }

  template() {
    return html`<h1 tabindex="-1">${t("nav_clusters")}</h1>
      ${this.clusters.show((clusters) => (clusters.length ? this.list(clusters) : empty(t("no_clusters"))))}
      ${this.may("slurm:clusters:write") ? this.form() : nothing}`;
  }

  list(clusters) {
    const writes = this.may("slurm:clusters:write");
    return table(
      [
        [t("name"), (one) => html`<a data-row href="slurm/nodes?cluster=${one.id}">${one.name}</a>`, "name"],
        [t("kind"), (one) => word("kind", one.cluster_type)],
        [t("health"), health],
        [t("controller"), (one) => one.controller ?? (one.has_inventory ? t("by_inventory") : "")],
        [t("version"), (one) => one.version ?? ""],
        [t("nodes"), (one) => one.node_count ?? "", "count"],
        ["AppHub", (one) => (one.apphub_urls.length ? one.apphub_urls.map((url) => html`<div>${url}</div>`) : one.has_inventory ? t("by_inventory") : "")],
        [t("seen"), (one) => time(one.seen_at)],
        ["", (one) => (writes ? html`<button type="button" class="quiet" aria-label="${t("refresh")} ${one.name}" @click=${() => this.refresh(one)}>${t("refresh")}</button><button type="button" class="quiet" aria-label="${t("forget")} ${one.name}" @click=${() => this.forget(one)}>${t("forget")}</button>` : "")],
      ],
      clusters,
      t("nav_clusters"),
    );
  }

  // Looks at once with what is known; a login can be given when that was not enough.
  refresh(cluster) {
    let found = null;
    const look = (given = {}) => this.attempt(async () => {
      found = await post(path(cluster, "/refresh"), given);
      await this.clusters.load();
    });
    const again = (event) => {
      event.preventDefault();
      const { user, password } = filled(event.target);
      look({ ...(user && { username: user }), ...(password && { password }) });
    };
    this.app.open(() => html`<h2>${t("refresh")} ${cluster.name}</h2>
      ${this.busy ? waiting() : html`${this.error ? problem(this.error) : nothing}${found ? stages(found) : nothing}
        ${found?.success ? facts(found.info) : html`<form class="filter" @submit=${again}>
          ${field(t("user"), html`<input name="user" autocomplete="off">`)}${field(t("password"), html`<input name="password" type="password" autocomplete="off">`)}
          <button>${t("try_again")}</button></form>`}`}`, { closed: () => (this.error = null) });
    look();
  }

  forget(cluster) {
    this.app.confirm({
      title: t("forget_title", { name: cluster.name }),
      text: t("forget_text"),
      action: t("forget"),
      act: () => call("DELETE", path(cluster)).then(this.clusters.load),
    });
  }

  // -- adding one

  request(form) {
    const { name, host, apphub, max_nodes: most, ...rest } = filled(form);
    if (this.kind === "managed") return { name, controller: host, apphub_urls: (apphub ?? "").split(/\s+/).filter(Boolean) };
    const { user, ...more } = login(rest);
    const config = { ...Object.fromEntries(REUSE.map((one) => [one, one in rest])), ...(most && { max_nodes: Number(most) }) };
    return { name, master_ssh: { host, ...more, ...(user && { username: user }) }, ...(this.confirmed && { fingerprint: this.confirmed }), config };
  }

  test(event) {
    event.preventDefault();
    if (this.kind === "managed") return this.add(event.target);
    const { config, ...asked } = this.request(event.target);
    return this.attempt(async () => {
      this.found = null;
      this.found = await post("api/slurm/clusters/test-connection", asked);
    });
  }

  add(form) {
    return this.attempt(async () => {
      await post(`api/slurm/clusters${this.kind === "managed" ? "" : "/connect"}`, this.request(form));
      form.reset();
      await this.clusters.load();
    });
  }

  // What was found is of what stood there before.
  forgetFound() {
    Object.assign(this, { found: null, confirmed: null, error: null });
    this.update();
  }

  form() {
    const external = this.kind === "external";
    return html`<form class="card" aria-label=${t("add_cluster")} @submit=${(event) => this.test(event)} @reset=${() => this.forgetFound()}>
      <h2>${t("add_cluster")}</h2>
      <div role="radiogroup" aria-label=${t("kind")}>${KINDS.map((one) => html`<label class="check"><input type="radio" name="kind" value=${one} ?checked=${one === this.kind} @change=${() => { this.kind = one; this.forgetFound(); }}><span>${t(`kind_text_${one}`)}</span></label>`)}</div>
      <fieldset @input=${() => this.forgetFound()}>
        ${field(t("name"), html`<input name="name" required pattern="[a-z0-9][a-z0-9\\-]{0,62}" autocomplete="off">`, t("cluster_name_hint"))}
        ${field(t("controller"), html`<input name="host" required autocomplete="off">`, t("controller_hint"))}
        ${external ? html`${loginFields()}${field(t("max_nodes"), html`<input name="max_nodes" type="number" min="1" max="100000">`)}` : field("AppHub", html`<input name="apphub" autocomplete="off" placeholder="https://apphub.example">`, t("apphub_hint"))}
      </fieldset>
      ${external ? html`<div role="group" aria-labelledby="reuse"><p id="reuse"><strong>${t("reuse")}</strong></p>
          ${REUSE.map((one) => html`<label class="check"><input type="checkbox" name=${one} checked><span>${t(one)}</span></label>`)}</div>` : nothing}
      ${this.busy ? html`<p role="status" class="step">${t("looking")}</p>` : nothing}
      ${this.found ? this.result(this.found) : nothing}
      ${this.error && !this.app.dialog ? problem(this.error) : nothing}
      <p class="buttons">
        ${external ? html`<button class=${this.found?.success ? nothing : "primary"} ?disabled=${this.busy}>${t("test_connection")}</button>` : nothing}
        ${!external || this.found?.success ? html`<button type=${external ? "button" : "submit"} class="primary" ?disabled=${this.busy} @click=${(event) => external && this.add(event.target.form)}>${t("add_cluster")}</button>` : nothing}
        <button type="reset">${t("reset")}</button>
      </p>
    </form>`;
  }

  result(found) {
    const confirm = (event) => {
      this.confirmed = event.target.checked ? found.fingerprint : null;
      this.update();
    };
    return html`<section aria-live="polite">${stages(found)}
      ${found.stage === "hostkey" && !found.success && found.fingerprint ? html`<label class="check"><input type="checkbox" data-confirm .checked=${Boolean(this.confirmed)} @change=${confirm}><span>${t("confirm_key")} <code>${found.fingerprint}</code></span></label>` : nothing}
      ${found.success ? html`<h3>${t("preview")}</h3>${facts(found.info)}` : nothing}</section>`;
  }
}
