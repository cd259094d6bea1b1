// Who did what, and with which result.

import { t, word } from "../texts.js";
import { choice, empty, field, fold, html, Parts, pill, runLink, table, time, View, words } from "../ui.js";

const STYLES = { success: "success", failed: "failed", denied: "stopped" };

export default class Audit extends View {
	constructor(app) {
		super(app);
		this.rows = new Parts(this, "api/audit");
	}

	template() {
		const filter = Object.fromEntries(Parts.filter());
		return html`${this.rows.template(
			html`${choice("result", "status", words("status", Object.keys(STYLES)), filter.status)}
				${field("user", html`<input name="user" data-filter .value=${filter.user ?? ""}>`)}`,
			list,
			empty("no_audit"),
		)}`;
	}
}

const list = (rows) => table([
	["when", (row) => time(row.timestamp)],
	["user", (row) => row.user_name ?? ""],
	["action"],
	["nodes", (row) => fold(row.nodes), "long"],
	["result", (row) => pill(STYLES[row.status], word("status", row.status))],
	["run", (row) => (row.run_id ? runLink(row.run_id) : "")],
	["source"],
	["resource"],
], rows, "audit");
