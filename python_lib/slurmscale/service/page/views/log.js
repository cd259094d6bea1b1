// The log of a node of a run, or of what belongs to no node: a window of lines, which follows the end when wanted.

import { get } from "../api.js";
import { t } from "../texts.js";
import { button, empty, html, nothing, problem, refused, View, waiting } from "../ui.js";

const WINDOW = 500;
const END = Number.MAX_SAFE_INTEGER;

export class Log extends View {
	constructor(app, run, task) {
		super(app);
		Object.assign(this, { task, lines: null, search: "", follow: true, last: true, news: [], turn: 0 });
		this.id = task?.task_id ?? run.id;
		this.path = `api/slurm/${task ? "tasks" : "runs"}/${encodeURIComponent(this.id)}/log${task ? "s" : ""}`;
		this.download = `api/slurm/runs/${encodeURIComponent(run.id)}/log.txt${task ? `?node=${encodeURIComponent(task.node)}` : ""}`;
		this.move({ before: END });
	}

	// Shows the part before or after a line, at most a window of it; what was asked for last counts.
	async move(where) {
		const turn = (this.turn += 1);
		try {
			const query = new URLSearchParams({ ...where, limit: WINDOW, ...(this.search && { q: this.search }) });
			const { items } = await get(`${this.path}?${query}`);
			if (turn !== this.turn || this.left) return;
			const end = where.before === END;
			const last = end || (where.after !== undefined && items.length < WINDOW);
			// the last part is shown as a whole window, not as the few lines that are left
			if (last && !end && !this.search && items.length) {
				this.move({ before: END });
				return;
			}
			Object.assign(this, { last, follow: last && !this.search, error: null });
			if (items.length || !this.lines) this.lines = end ? this.joined(items) : items;
			if (!this.ends.length) this.ends.push(this.app.live.watch("log", this.id, this.lines.at(-1)?.id ?? 0, (_, data) => this.added(data.lines)));
		} catch (error) {
			this.error = refused(error);
		}
		this.update();
	}

	// Lines and those that came since; they may have come while the former were on their way.
	joined(lines) {
		const known = lines.at(-1)?.id ?? 0;
		return [...lines, ...this.news.filter((line) => line.id > known)].slice(-WINDOW);
	}

	// New lines: the window moves with them while it shows the end.
	added(lines) {
		this.news = [...this.news, ...lines].slice(-WINDOW);
		if (!this.last || this.search || !this.lines) return;
		this.lines = this.joined(this.lines);
		this.update();
	}

	find(event) {
		event.preventDefault();
		this.search = new FormData(event.target).get("q").trim();
		this.lines = null;
		this.update();
		this.move(this.search ? { after: 0 } : { before: END });
	}

	scrolled({ target }) {
		if (target.scrollTop + target.clientHeight < target.scrollHeight - 40 && this.follow) {
			this.follow = false;
			this.update();
		}
	}

	switchFollow(on) {
		this.follow = on;
		if (on && !this.last) this.move({ before: END });
		this.update();
	}

	// The end stays in sight while it is followed.
	drawn() {
		const text = this.app.root.querySelector(".log pre");
		if (text && this.follow) text.scrollTop = text.scrollHeight;
	}

	async copy() {
		await navigator.clipboard.writeText(this.lines.map((line) => line.text).join("\n"));
		this.app.say(t("copied"));
	}

	template() {
		return html`<h2>${t("log")} ${this.task?.node ?? ""}</h2><div class="log">
			<form class="filter" @submit=${(event) => this.find(event)}>
				<label class="field inline"><span>${t("search")}</span><input name="q" type="search" .value=${this.search}></label>
				<label class="check"><input type="checkbox" .checked=${this.follow} @change=${(event) => this.switchFollow(event.target.checked)}><span>${t("follow")}</span></label>
				<span class="space"></span>
				${navigator.clipboard ? button(t("copy"), () => this.copy(), { disabled: !this.lines?.length }) : nothing}
				<a class="button" download href=${this.download}>${t("download_log")}</a>
			</form>
			${this.error ? problem(this.error, () => this.move({ before: END })) : nothing}
			${this.lines ? this.page(this.lines) : this.error ? nothing : waiting()}
		</div>`;
	}

	page(lines) {
		if (!lines.length) return empty(this.search ? "no_match" : "no_log");
		return html`
			${lines.length >= WINDOW || !this.last ? html`<p class="buttons">${button(t("earlier"), () => this.move({ before: lines[0].id }))}
				${button(t("later"), () => this.move({ after: lines.at(-1).id }), { disabled: this.last })}</p>` : nothing}
			<pre tabindex="0" aria-label=${t("log")} @scroll=${(event) => this.scrolled(event)}>${lines.map((line) => html`<span>${line.text}\n</span>`)}</pre>`;
	}
}
