// The nodes of a cluster, and what the cluster is, as it told when it was looked at last.

import { get } from "../api.js";
import { t } from "../texts.js";
import { clusterField, empty, health, html, Loaded, nothing, table, time, View } from "../ui.js";

const on = (value) => (value ? t("yes") : t("no"));
const BAD = /DOWN|FAIL|DRAIN|NOT_RESPONDING|INVALID|UNKNOWN/;
const BUSY = /ALLOC|MIXED|COMPLETING/;

// A state of a node in Slurm's words.
const state = (text) => html`<span class="pill ${BAD.test(text) ? "failed" : BUSY.test(text) ? "active" : "success"}"><span aria-hidden="true">${BAD.test(text) ? "✕" : BUSY.test(text) ? "▶" : "✓"}</span> ${text}</span>`;

// What a cluster is.
export function facts(info) {
  const rows = [
    ["ClusterName", info.cluster_name],
    [t("version"), info.version],
    [t("nodes"), Object.entries(info.states ?? {}).map(([name, count]) => `${name} ${count}`).join(", ") || 0],
    [t("partitions"), Object.keys(info.partitions ?? {}).join(", ")],
    [t("controllers"), (info.controllers ?? []).map((one) => `${one.host} (${one.mode}, ${one.up ? t("up") : t("down")})`).join(", ")],
    ["slurm.conf", info.conf_file && html`<code>${info.conf_file}</code>`],
    ["configless", on(info.configless)],
    ["munge", on(info.munge_key)],
    [t("accounting"), info.accounting],
  ].filter(([, value]) => value);
  return html`<dl class="facts">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

export default class Nodes extends View {
  constructor(app, parts) {
    super(app, parts);
    this.filter = "";
    this.clusters = new Loaded(this, async () => (await get("api/slurm/clusters")).items);
    this.read();
    this.atEnd(app.live.listen((event) => event === "cluster" && this.info?.load()));
  }

  async read() {
    await this.clusters.first;
    const known = this.clusters.data ?? [];
    this.cluster = known.find(({ id }) => id === new URLSearchParams(location.search).get("cluster")) ?? known[0];
    this.info = this.cluster && new Loaded(this, () => get(`api/slurm/clusters/${encodeURIComponent(this.cluster.id)}/info`));
    this.update();
  }

  choose(event) {
    history.replaceState(null, "", `${location.pathname}?${new URLSearchParams({ cluster: event.target.value })}`);
    this.read();
  }

  template() {
    return html`<h1 tabindex="-1">${t("nodes")}</h1>${this.clusters.show((clusters) => html`
      ${clusters.length > 1 ? html`<form class="filter" @change=${(event) => this.choose(event)}>${clusterField(clusters, this.cluster?.id)}</form>` : nothing}
      ${this.info ? this.info.show((cluster) => this.page(cluster)) : empty(t("no_clusters"), clustersLink())}`)}`;
  }

  page(cluster) {
    const { info } = cluster;
    if (!info) return empty(t("not_looked"), clustersLink());
    const wanted = this.filter.toLowerCase();
    const rows = Object.entries(info.nodes)
      .filter(([name, node]) => `${name} ${node.state} ${node.reason}`.toLowerCase().includes(wanted))
      .sort(([, a], [, b]) => BAD.test(b.state) - BAD.test(a.state));
    return html`<section class="card"><div class="title"><h2>${cluster.name}</h2>${health(cluster)}<span class="step">${t("seen")} ${time(cluster.seen_at)}</span></div>${facts(info)}</section>
      <section><div class="title"><h2>${t("node_count", { n: Object.keys(info.nodes).length })}</h2>
        <label class="field inline"><span>${t("filter")}</span><input data-filter type="search" .value=${this.filter} @input=${(event) => { this.filter = event.target.value; this.update(); }}></label></div>
      ${rows.length ? table([[t("node"), ([name]) => name, "name"], [t("status"), ([, node]) => state(node.state)], [t("reason"), ([, node]) => node.reason, "wide"]], rows, t("nodes")) : empty(t("no_match"))}</section>`;
  }
}

const clustersLink = () => html`<a class="button" href="slurm/clusters">${t("nav_clusters")}</a>`;
