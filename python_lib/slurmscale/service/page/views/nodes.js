// The nodes of a cluster, and what the cluster is, as it told when it was looked at last.

import { get } from "../api.js";
import { t, word } from "../texts.js";
import { button, clusterField, empty, filterField, html, Loaded, nothing, ofClusters, pill, runLink, table, time, View } from "../ui.js";
import { description, health, lookAgain, path } from "./cluster.js";

const BAD = /DOWN|FAIL|DRAIN|NOT_RESPONDING|INVALID|UNKNOWN/;
const BUSY = /ALLOC|MIXED|COMPLETING/;

// A state of a node in Slurm's words.
const state = (text) => pill(BAD.test(text) ? "failed" : BUSY.test(text) ? "active" : "success", text);

export default class Nodes extends View {
	constructor(app) {
		super(app);
		this.filter = "";
		this.clusters = this.list("api/slurm/clusters");
		this.listen("cluster", () => this.info?.load());
	}

	read() {
		const known = this.clusters.data ?? [];
		const wanted = new URLSearchParams(location.search).get("cluster");
		const cluster = known.find(({ id }) => id === wanted) ?? known[0];
		this.info = cluster && new Loaded(this, () => get(path(cluster, "/info")));
		this.chosen = cluster?.id;
		this.update();
	}

	choose(event) {
		history.replaceState(null, "", `${location.pathname}?${new URLSearchParams({ cluster: event.target.value })}`);
		this.read();
	}

	// Whoever may lets the cluster be asked; others are shown what is known now.
	refresh(cluster) {
		if (this.may("slurm:clusters:write")) lookAgain(this, cluster, () => this.info.load());
		else this.info.load();
	}

	template() {
		return html`${ofClusters(this.clusters, (clusters) => {
			if (!this.info) this.read();
			return html`${clusters.length > 1 ? html`<form class="filter" @change=${(event) => this.choose(event)}>${clusterField(clusters, this.chosen)}</form>` : nothing}
				${this.info.show((cluster) => this.page(cluster))}`;
		})}`;
	}

	page(cluster) {
		const { info, recent_runs: runs } = cluster;
		const refresh = button(t("refresh"), () => this.refresh(cluster));
		if (!info) return html`${empty("not_looked")}<p>${refresh}</p>`;
		const last = new Map();
		for (const run of [...runs].reverse()) for (const name of run.nodes) last.set(name, run);
		const wanted = this.filter.toLowerCase();
		const rows = Object.entries(info.nodes)
			.filter(([name, node]) => `${name} ${node.state} ${node.reason}`.toLowerCase().includes(wanted))
			.sort(([, a], [, b]) => BAD.test(b.state) - BAD.test(a.state));
		const columns = [
			["node", ([name]) => name],
			["status", ([, node]) => state(node.state)],
			["version", ([, node]) => node.version ?? ""],
			["reason", ([, node]) => node.reason, "wide"],
			["last_run", ([name]) => (last.has(name) ? html`${runLink(last.get(name).id, word("operation", last.get(name).operation))} ${time(last.get(name).started_at)}` : "")],
		];
		return html`<section class="card"><div class="title"><h2>${cluster.name}</h2>${health(cluster)}<span class="step">${t("seen")} ${time(cluster.seen_at)}</span><span class="space"></span>${refresh}</div>${description(info)}</section>
			<section><div class="title"><h2>${t("node_count", { n: Object.keys(info.nodes).length })}</h2>${filterField(this)}</div>
			${rows.length ? table(columns, rows, t("nodes")) : empty("no_match")}</section>`;
	}
}
