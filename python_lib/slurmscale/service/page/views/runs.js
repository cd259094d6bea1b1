// All runs, newest first.

import { ended } from "../run_model.js";
import { wordsOf } from "../texts.js";
import { choice, empty, field, html, Parts, View, words } from "../ui.js";
import { operations } from "./status.js";

const STATUSES = ["pending", "running", "completed", "failed", "cancelled", "interrupted"];

export default class Runs extends View {
	constructor(app) {
		super(app);
		this.runs = new Parts(this, "api/slurm/runs", (runs) => this.merged(runs));
		this.news = [];
		this.listen("status", (status) => {
			this.news = [...status.recent_operations, ...status.active_operations];
			this.update();
		});
	}

	// The runs as they were read, with what the status told since, and those that are new in it.
	merged(runs) {
		const found = new Map(runs.map((run) => [run.id, run]));
		for (const run of this.news) {
			const known = found.get(run.id);
			if (known ? isLater(run, known) : !Parts.filter().length) found.set(run.id, { ...known, ...run });
		}
		return [...found.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
	}

	template() {
		const filter = Object.fromEntries(Parts.filter());
		const none = empty("no_runs_ever", this.may("slurm:scale:nodes") && "slurm/add", "add");
		return html`${this.runs.template(
			html`${choice("operation", "operation", words("operation", wordsOf("operation")), filter.operation)}
				${choice("status", "status", words("status", STATUSES), filter.status)}
				${field("node", html`<input data-filter name="node" .value=${filter.node ?? ""}>`)}`,
			operations,
			none,
		)}`;
	}
}

// What has ended goes on no more, and progress never goes back.
const isLater = (run, known) => (ended(run) === ended(known) ? run.progress >= known.progress : ended(run));
