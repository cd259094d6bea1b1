// A run and its tasks as the service tells them: read once, then kept up to date by events.

import { all, get } from "./api.js";
import { kind, refused } from "./ui.js";

const RUN_ENDED = new Set(["completed", "failed", "cancelled", "interrupted"]);
export const ended = (run) => RUN_ENDED.has(run.status);

export class RunModel {
	constructor(run, tasks) {
		this.replace(run, tasks);
	}

	static async read(id) {
		// the run first: what changes while the tasks are read comes again as an event, and does no harm
		const run = await get(`api/slurm/runs/${encodeURIComponent(id)}`);
		return new RunModel(run, await all(`api/slurm/runs/${encodeURIComponent(run.id)}/tasks`));
	}

	replace(run, tasks) {
		this.run = run;
		this.tasks = new Map(tasks.map((task) => [task.task_id, task]));
	}

	// Takes an event over; one that is older than what is known changes nothing.
	apply(event, data, revision) {
		if (revision < this.run.revision) return;
		if (event === "snapshot") this.replace(data.run, data.tasks);
		if (event === "end") this.run = { ...data.run, revision };
		if (event !== "scaling-progress") return;
		const { tasks, ...changed } = data;
		this.run = { ...this.run, ...changed, revision };
		for (const task of tasks) this.tasks.set(task.task_id, { ...this.tasks.get(task.task_id), ...task });
	}

	failed() {
		return [...this.tasks.values()].filter((task) => kind(task.status) === "failed");
	}
}

// A run that a view shows while it is in progress.
export class FollowedRun {
	constructor(view, id, changed = () => {}) {
		Object.assign(this, { view, id, changed, model: null, error: null });
		view.ends.push(() => this.stop());
		this.read();
	}

	read = async () => {
		try {
			const model = await RunModel.read(this.id);
			if (this.stopped) return;
			// an event may have told more while this was on its way
			if (!(model.run.revision < this.model?.run.revision)) this.model = model;
			this.error = null;
			this._unwatch ??= this.view.app.live.watch("run", model.run.id, model.run.revision ?? null, this.take);
			this.changed(model.run);
		} catch (error) {
			this.error = refused(error);
		}
		this.view.update();
	};

	take = (event, data, revision) => {
		this.model.apply(event, data, revision);
		this.changed(this.model.run);
		this.view.update();
	};

	stop() {
		this.stopped = true;
		this._unwatch?.();
		this._unwatch = null;
	}
}
