// The known clusters.

import { call, get, post } from "../api.js";
import { t } from "../texts.js";
import { empty, field, html, Loaded, nothing, problem, table, time, View } from "../ui.js";

export default class Clusters extends View {
  constructor(app, parts) {
    super(app, parts);
    this.clusters = new Loaded(this, async () => (await get("api/slurm/clusters")).items);
  }

  async add(event) {
    event.preventDefault();
    const form = event.target;
    const { name, controller, apphub } = Object.fromEntries(new FormData(form));
    this.error = null;
    try {
      await post("api/slurm/clusters", { name, controller, apphub_urls: apphub.split(/\s+/).filter(Boolean) });
      form.reset();
      await this.clusters.load();
    } catch (error) {
      if (error.status === undefined) throw error;
      this.error = error;
    }
    this.update();
  }

  forget(cluster) {
    this.app.confirm({
      title: t("forget_title", { name: cluster.name }),
      text: t("forget_text"),
      action: t("forget"),
      act: () => call("DELETE", `api/slurm/clusters/${encodeURIComponent(cluster.id)}`).then(this.clusters.load),
    });
  }

  template() {
    return html`<h1 tabindex="-1">${t("nav_clusters")}</h1>
      ${this.clusters.show((clusters) => (clusters.length ? this.list(clusters) : empty(t("no_clusters"))))}
      ${this.may("slurm:clusters:write") ? this.form() : nothing}`;
  }

  list(clusters) {
    return table(
      [
        [t("name"), (cluster) => cluster.name, "name"],
        [t("controller"), (cluster) => cluster.controller ?? (cluster.has_inventory ? t("by_inventory") : "")],
        ["AppHub", (cluster) => (cluster.apphub_urls.length ? cluster.apphub_urls.map((url) => html`<div>${url}</div>`) : t("by_inventory"))],
        [t("created"), (cluster) => time(cluster.created_at)],
        ["", (cluster) => (this.may("slurm:clusters:write") ? html`<button type="button" class="quiet" data-row aria-label="${t("forget")} ${cluster.name}" @click=${() => this.forget(cluster)}>${t("forget")}</button>` : "")],
      ],
      clusters,
      t("nav_clusters"),
    );
  }

  form() {
    return html`<form class="card" @submit=${(event) => this.add(event)}>
      <h2>${t("add_cluster")}</h2>
      ${this.error ? problem(this.error) : nothing}
      <fieldset>
        ${field(t("name"), html`<input name="name" required pattern="[a-z0-9][a-z0-9\\-]{0,62}" autocomplete="off">`, t("cluster_name_hint"))}
        ${field(t("controller"), html`<input name="controller" required autocomplete="off">`, t("controller_hint"))}
        ${field("AppHub", html`<input name="apphub" autocomplete="off" placeholder="https://apphub.example">`, t("apphub_hint"))}
      </fieldset>
      <p class="buttons"><button class="primary">${t("add_cluster")}</button></p>
    </form>`;
  }
}
