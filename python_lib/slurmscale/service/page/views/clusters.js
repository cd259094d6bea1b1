// The known clusters, and how one is added: tested stage by stage, its host key confirmed, shown, and then remembered.

import { call, get, post } from "../api.js";
import { t, word } from "../texts.js";
import { button, check, empty, field, filled, html, input, login, loginFields, nothing, table, time, View } from "../ui.js";
import { description, health, lookAgain, path, stages } from "./cluster.js";

const REUSE = ["reuse_existing_config", "reuse_existing_munge", "reuse_existing_database"];
const KINDS = ["external", "managed"];
// A button of a row, said with the name of its cluster.
const action = (name, cluster, act) => button(t(name), act, { style: "quiet", label: `${t(name)} ${cluster.name}` });

export default class Clusters extends View {
	constructor(app, parts) {
		super(app, parts);
		this.kind = parts.length ? "external" : "managed";
		this.clusters = this.list("api/slurm/clusters");
		this.listen("cluster", () => this.clusters.load());
	}

	template() {
		return html`${this.clusters.show((clusters) => (clusters.length ? this.known(clusters) : empty("no_clusters")))}
			${this.may("slurm:clusters:write") ? this.form() : nothing}`;
	}

	known(clusters) {
		const writes = this.may("slurm:clusters:write");
		return table([
			["name", (one) => html`<a href="slurm/nodes?cluster=${one.id}">${one.name}</a>`],
			["kind", (one) => word("kind", one.cluster_type)],
			["health", health],
			["controller", (one) => one.controller ?? (one.has_inventory ? t("by_inventory") : "")],
			["version", (one) => one.version ?? ""],
			["nodes", (one) => one.node_count ?? ""],
			["apphub", (one) => (one.apphub_urls.length ? one.apphub_urls.map((url) => html`<div>${url}</div>`) : one.has_inventory ? t("by_inventory") : "")],
			["seen", (one) => time(one.seen_at)],
			["", (one) => (writes ? html`${action("refresh", one, () => lookAgain(this, one, () => this.clusters.load()))}${action("forget", one, () => this.forget(one))}` : "")],
	], clusters, "clusters");
	}

	forget(cluster) {
		this.app.confirm({
			title: t("forget_title", { name: cluster.name }),
			text: t("forget_text"),
			action: t("forget"),
			act: () => call("DELETE", path(cluster)).then(() => this.clusters.load()),
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
			<div role="radiogroup" aria-label=${t("kind")}>${KINDS.map((one) => check(t(`kind_text_${one}`), "kind", { type: "radio", value: one, checked: one === this.kind, changed: () => { this.kind = one; this.forgetFound(); } }))}</div>
			<fieldset @input=${() => this.forgetFound()}>
				${field("name", input("name", { required: true, pattern: "[a-z0-9][a-z0-9\\-]{0,62}" }), t("cluster_name_hint"))}
				${field("controller", input("host", { required: true }), t("controller_hint"))}
				${external ? html`${loginFields()}${field("max_nodes", html`<input name="max_nodes" type="number" min="1" max="100000">`)}` : field("AppHub", input("apphub", { placeholder: "https://apphub.example" }), t("apphub_hint"))}
			</fieldset>
			${external ? html`<div role="group" aria-labelledby="reuse"><p id="reuse"><strong>${t("reuse")}</strong></p>
					${REUSE.map((one) => check(t(one), one, { checked: true }))}</div>` : nothing}
			${this.busy ? html`<p role="status" class="step">${t("looking")}</p>` : nothing}
			${this.found ? this.result(this.found) : nothing}
			${this.problem()}
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
			${found.success ? html`<h3>${t("preview")}</h3>${description(found.info)}` : nothing}</section>`;
	}
}
