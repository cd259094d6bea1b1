// The log of a node of a run, or of what belongs to no node: a window of lines, which follows the end when wanted.

import { address, get } from "../api.js";
import { t } from "../texts.js";
import { empty, html, nothing, problem, View, waiting } from "../ui.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";

const WINDOW = 500;
const END = Number.MAX_SAFE_INTEGER;

export class Log extends View {
  constructor(app, run, task) {
    super(app, []);
    Object.assign(this, { run, task, lines: null, error: null, search: "", follow: true, last: true });
    const id = encodeURIComponent(task ? task.task_id : run.id);
    this.path = task ? `api/slurm/tasks/${id}/logs` : `api/slurm/runs/${id}/log`;
    this.download = address(`api/slurm/runs/${encodeURIComponent(run.id)}/log.txt${task ? `?node=${encodeURIComponent(task.node)}` : ""}`);
    this.move({ before: END }).then(() => this.watch());
  }

  // Shows the part before or after a line, at most a window of it.
  async move(where) {
    try {
      const query = new URLSearchParams({ ...where, limit: WINDOW, ...(this.search && { q: this.search }) });
      const { items } = await get(`${this.path}?${query}`);
      const backward = where.before !== undefined;
      this.last = backward ? where.before === END : items.length < WINDOW;
      this.follow = this.last && !this.search;
      this.error = null;
      // the last part is shown as a whole window, not as the few lines that are left
      if (!backward && this.last && !this.search && items.length) return this.move({ before: END });
      if (items.length || !this.lines) this.lines = items;
    } catch (error) {
      if (error.status === undefined) throw error;
      this.error = error;
    }
    this.update();
    return null;
  }

  watch() {
    if (!this.lines || this.left) return;
    this.atEnd(this.app.live.watch("log", this.task?.task_id ?? this.run.id, this.lines.at(-1)?.id ?? 0, (_, data) => this.added(data.lines)));
  }

  // New lines: the window moves with them while it shows the end.
  added(lines) {
    if (!this.last || this.search) return;
    const known = this.lines.at(-1)?.id ?? 0;
    this.lines = [...this.lines, ...lines.filter((line) => line.id > known)].slice(-WINDOW);
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
        ${navigator.clipboard ? html`<button type="button" ?disabled=${!this.lines?.length} @click=${() => this.copy()}>${t("copy")}</button>` : nothing}
        <a class="button" download href=${this.download}>${t("download_log")}</a>
      </form>
      ${this.error ? problem(this.error, () => this.move({ before: END })) : nothing}
      ${this.lines ? this.page(this.lines) : this.error ? nothing : waiting()}
    </div>`;
  }

  page(lines) {
    if (!lines.length) return empty(this.search ? t("no_match") : t("no_log"));
    const full = lines.length >= WINDOW;
    return html`
      ${full || !this.last ? html`<p class="buttons"><button type="button" @click=${() => this.move({ before: lines[0].id })}>${t("earlier")}</button>
        <button type="button" ?disabled=${this.last} @click=${() => this.move({ after: lines.at(-1).id })}>${t("later")}</button></p>` : nothing}
      <pre tabindex="0" aria-label=${t("log")} @scroll=${(event) => this.scrolled(event)}>${repeat(lines, (line) => line.id, (line) => html`<span>${line.text}\n</span>`)}</pre>`;
  }
}
