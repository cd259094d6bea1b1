// The AppHubs of the clusters: whether each answers, and on demand what is wrong with what it publishes.

import { get, post } from "../api.js";
import { ended, FollowedRun } from "../run_model.js";
import { t, word } from "../texts.js";
import { bar, clusterField, empty, failure, filled, html, Loaded, nothing, ofClusters, pill, problem, runLink, table, View, waiting } from "../ui.js";

export default class AppHub extends View {
	constructor(app) {
		super(app);
		this.hubs = this.list("api/apphub/health");
		this.clusters = this.list("api/slurm/clusters");
	}

	check(event) {
		event.preventDefault();
		const { cluster } = filled(event.target);
		return this.attempt(async () => {
			const { run } = await post("api/apphub/check", cluster ? { cluster } : {});
			this.followed?.stop();
			this.report = null;
			this.followed = new FollowedRun(this, run.id, (now) => {
				if (ended(now)) this.report ??= new Loaded(this, () => get(`api/slurm/runs/${now.id}/plan`));
			});
		});
	}

	template() {
		return html`<section>${this.hubs.show((hubs) => (hubs.length ? table([
				["address", (hub) => html`<a href=${hub.url} target="_blank" rel="noreferrer">${hub.url}</a>`],
				["health", (hub) => pill(hub.up ? "success" : "failed", hub.up ? t("up") : t("down"))],
				["clusters", (hub) => hub.clusters.join(", ")],
				["reason", (hub) => hub.detail, "wide"],
	], hubs, "apphub") : empty("no_apphub")))}</section>
			${this.may("slurm:check:nodes") ? ofClusters(this.clusters, (clusters) => this.form(clusters)) : nothing}
			${this.followed ? this.progress(this.followed) : nothing}`;
	}

	form(clusters) {
		return html`<form class="card" @submit=${(event) => this.check(event)}>
			<h2>${t("check_apphub")}</h2><p class="remedy">${t("check_apphub_text")}</p>
			${clusterField(clusters)}${this.problem()}
			<p class="buttons"><button class="primary" ?disabled=${this.busy || (this.followed?.model && !ended(this.followed.model.run))}>${t("check_apphub")}</button></p>
		</form>`;
	}

	progress({ model, error, read }) {
		if (!model) return error ? problem(error, read) : waiting();
		const { run } = model;
		return html`<section><div class="title"><h2>${t("findings")}</h2>${runLink(run.id)}</div>
			${!ended(run) ? bar(run.progress, word("operation", run.operation)) : run.error && this.report.error ? failure(run.error) : this.report.show(({ findings }) => this.findings(findings))}</section>`;
	}

	findings(findings) {
		const wrong = findings.filter((one) => !one.ok).length;
		return html`<p>${t(wrong ? "wrong_of" : "all_well", { wrong, n: findings.length })}</p>
			${table([
				["address", (one) => one.where],
				["check"],
				["subject"],
				["result", (one) => pill(one.ok ? "success" : "failed", one.ok ? t("ok") : one.code)],
				["reason", (one) => html`${one.reason} <span class="remedy">${one.remedy}</span>`, "wide"],
	], findings, "findings")}`;
	}
}
