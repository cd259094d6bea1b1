// Parts that all views are made of.

import { html, nothing, render, svg } from "./vendor/lit-html/lit-html.js";
import { get } from "./api.js";
import { t, word, moment, duration } from "./texts.js";

export { html, nothing, svg };

const KINDS = { completed: "success", success: "success", failed: "failed", error: "failed", pending: "waiting", cancelled: "stopped", interrupted: "stopped" };

// How a status counts: active, waiting, success, failed or stopped.
export const kind = (status) => KINDS[status] ?? "active";

export const pill = (style, text) => html`<span class="pill ${style}">${text}</span>`;
export const statusPill = (status) => pill(kind(status), word("status", status));

export const bar = (value, label, state = "active") => html`<span class="bar ${state}"><progress max="100" .value=${value} aria-label=${label}></progress><span class="percent">${value} %</span></span>`;

export const time = (iso) => (iso ? html`<time datetime=${iso} title=${new Date(iso).toLocaleString()}>${moment(iso)}</time>` : nothing);

export const took = (run) => (run.started_at && run.completed_at ? duration((new Date(run.completed_at) - new Date(run.started_at)) / 1000) : "");

export const runLink = (id, text = id) => html`<a href="slurm/runs/${id}">${text}</a>`;

const folded = new WeakMap();

// Names of nodes as Slurm writes them: node[07-09,12].
export function fold(names) {
	if (!folded.has(names)) folded.set(names, foldNames(names));
	return folded.get(names);
}

function foldNames(names) {
	const groups = new Map();
	for (const name of names) {
		const [, prefix, digits, rest] = /^(.*?)(\d*)(\D*)$/.exec(name) ?? [null, name, "", ""];
		const key = `${prefix}\0${rest}`;
		groups.set(key, groups.get(key) ?? []);
		groups.get(key).push(digits);
	}
	const parts = [];
	for (const [key, found] of groups) {
		const [prefix, rest] = key.split("\0");
		// with zeros in front, numbers of one width belong together
		const zeros = found.some((digits) => digits.startsWith("0"));
		for (const width of zeros ? new Set(found.map((digits) => digits.length)) : [0]) {
			const digits = width ? found.filter((one) => one.length === width) : found;
			parts.push(prefix + (digits.length > 1 ? `[${ranges(digits)}]` : digits[0]) + rest);
		}
	}
	return parts.join(",");
}

function ranges(digits) {
	const sorted = [...new Set(digits)].sort((a, b) => a - b);
	const parts = [];
	let first = sorted[0];
	sorted.forEach((one, index) => {
		if (Number(sorted[index + 1]) === Number(one) + 1) return;
		parts.push(first === one ? one : `${first}-${one}`);
		first = sorted[index + 1];
	});
	return parts.join(",");
}

// The names that a host list stands for, or null when it is not one: n[1-3,7],login.
export function expand(text) {
	const names = [];
	if (/\[[^\]]*$|^[^[]*\]/.test(text)) return null;
	for (const part of text.match(/(?:[^,\s[\]]|\[[^\]]*\])+/g) ?? []) {
		const pieces = part.split(/\[([^\]]*)\]/);
		let found = [pieces[0]];
		for (let index = 1; index < pieces.length; index += 2) {
			const numbers = numbersOf(pieces[index]);
			if (!numbers || found.length * numbers.length > 100_000) return null;
			found = found.flatMap((name) => numbers.map((digits) => name + digits + pieces[index + 1]));
		}
		names.push(...found);
	}
	return names.every((name) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) ? [...new Set(names)] : null;
}

function numbersOf(text) {
	const numbers = [];
	for (const range of text.split(",")) {
		const [, from, to = from] = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(range) ?? [];
		if (!from || to - from < 0 || to - from > 100_000) return null;
		for (let value = Number(from); value <= to; value += 1) numbers.push(String(value).padStart(from.length, "0"));
	}
	return numbers;
}

// A part of the page that is drawn by itself, and only when what it is made of has changed.
export class Part {
	constructor(tag, style = "") {
		this.element = document.createElement(tag);
		this.element.className = style;
	}

	draw(of, template) {
		if (!this.of || of.some((one, index) => one !== this.of[index])) render(template(), this.element);
		this.of = of;
		return this.element;
	}
}

// -- what happened instead

// Why something failed and what to do.
export function problem(error, retry) {
	const found = error.body?.errors ?? [];
	return html`<div class="notice failed" role="alert">
		<p>${error.code === "unreachable" ? t("unreachable") : error.message}</p>
		${error.remedy ? html`<p>${error.remedy}</p>` : nothing}
		${found.map((one) => html`<p>${one.pointer ? html`<code>${one.pointer}</code> ` : nothing}${one.detail}</p>`)}
		${retry ? button(t("try_again"), retry) : nothing}
	</div>`;
}

// A problem that the service answered with; anything else is a mistake of the page.
export function refused(error) {
	if (error.status === undefined) throw error;
	return error;
}

// Why a run, a node or a look failed, as its record tells.
export const failure = ({ reason, remedy }) => html`<div class="notice failed"><p>${reason}</p> <p>${remedy}</p></div>`;

export const forbidden = (permission) => html`<div class="notice"><p>${t("forbidden")}</p><p>${t("forbidden_remedy", { permission })}</p></div>`;

export const empty = (text, path, label) => html`<div class="empty"><p>${t(text)}</p>${path ? html`<a class="button primary" href=${path}>${t(label)}</a>` : nothing}</div>`;

export const waiting = (text = "loading") => html`<p class="wait" role="status">${t(text)}</p>`;

// Something that is read, perhaps again: it is loading, failed, forbidden, or there. What was asked for last counts.
export class Loaded {
	constructor(view, read) {
		Object.assign(this, { view, read, data: null, error: null, turn: 0 });
		this.first = this.load();
	}

	load = async (where) => {
		const turn = (this.turn += 1);
		let [data, error] = [this.data, null];
		try {
			data = await this.read(where);
		} catch (reason) {
			error = refused(reason);
		}
		if (turn === this.turn) this.take(data, error);
	};

	// Something newer than what is on its way.
	take(data, error = null) {
		this.turn += 1;
		Object.assign(this, { data, error });
		this.view.update();
	}

	show(template) {
		if (this.error?.status === 403) return forbidden(this.error.body.permission ?? this.error.message);
		return html`${this.error ? problem(this.error, () => this.load()) : nothing}${this.data !== null ? template(this.data) : this.error ? nothing : waiting()}`;
	}
}

// A list that comes in parts; what of it is wanted stands in the address of the page.
export class Parts extends Loaded {
	constructor(view, path, merged = (items) => items) {
		super(view, async (after) => {
			const cursor = after?.cursor;
			const found = await get(`${path}?${new URLSearchParams([...Parts.filter(), ["limit", 50], ...(cursor ? [["cursor", cursor]] : [])])}`);
			return { items: cursor ? [...after.items, ...found.items] : found.items, cursor: found.next_cursor };
		});
		this.merged = merged;
	}

	static filter = () => [...new URLSearchParams(location.search)].filter(([, value]) => value);

	choose(event) {
		const query = new URLSearchParams([...new FormData(event.currentTarget)].filter(([, value]) => value));
		history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}`);
		this.load();
	}

	// The fields of the filter, the list, and a button for what comes after it.
	template(fields, list, none) {
		return html`<form class="filter" @change=${(event) => this.choose(event)} @submit=${(event) => event.preventDefault()}>${fields}
				${button(t("refresh"), () => this.load())}</form>
			${this.show((data) => {
				const items = this.merged(data.items);
				if (!items.length) return Parts.filter().length ? empty("no_match") : none;
				return html`${list(items)}${more(data.cursor, () => this.load(data))}`;
			})}`;
	}
}

// The way to the next part of a list, if there is one.
export const more = (cursor, load) => (cursor ? html`<p>${button(t("more"), load)}</p>` : nothing);

// What a view has besides: its place in the page, and what it has to end when it is left.
export class View {
	constructor(app, parts) {
		Object.assign(this, { app, parts, busy: false, error: null, ends: [] });
	}

	update = () => this.app.update();

	// All of a list that the service has, without parts.
	list = (path) => new Loaded(this, async () => (await get(path)).items);

	listen(event, act) {
		this.ends.push(this.app.live.listen((name, data) => name === event && act(data)));
	}

	leave() {
		this.left = true;
		for (const end of this.ends.splice(0)) end();
	}

	// Does something that the service may refuse; why it did is kept to be shown.
	async attempt(act) {
		Object.assign(this, { busy: true, error: null });
		this.update();
		try {
			return await act();
		} catch (error) {
			return void (this.error = refused(error));
		} finally {
			this.busy = false;
			this.update();
		}
	}

	problem = () => (this.error ? problem(this.error) : nothing);

	may = (permission) => this.app.user?.permissions.includes(permission);
}

// -- tables, fields and buttons

// A table whose rows become cards on a narrow screen; a column is its name, its cell where that is not what a row
// has under this name, and its class.
export const table = (columns, rows, label) => html`<table aria-label=${t(label)}>
	<thead><tr>${columns.map(([name, , style]) => html`<th scope="col" class=${style ?? nothing}>${t(name)}</th>`)}</tr></thead>
	<tbody>${rows.map((row) => html`<tr>${columns.map(([name, cell, style]) => html`<td data-head=${t(name)} class=${style ?? nothing}>${cell ? cell(row) : row[name]}</td>`)}</tr>`)}</tbody>
</table>`;

// What has a name and a value.
export const facts = (rows) => html`<dl class="facts">${rows.filter(([, value]) => value && value !== nothing).map(([name, value]) => html`<div><dt>${t(name)}</dt><dd>${value}</dd></div>`)}</dl>`;

export const button = (text, act, { style = nothing, disabled = false, label = nothing } = {}) => html`<button type="button" class=${style} ?disabled=${disabled} aria-label=${label} @click=${act}>${text}</button>`;

export const field = (label, input, hint) => html`<label class="field"><span>${t(label)}</span>${input}${hint ? html`<small>${hint}</small>` : nothing}</label>`;

export const input = (name, { type = "text", required = false, pattern = nothing, placeholder = nothing, value = "", typed = nothing } = {}) => html`<input name=${name} type=${type} ?required=${required} pattern=${pattern} placeholder=${placeholder} .value=${value} @input=${typed} autocomplete="off" spellcheck="false">`;

export const check = (text, name, { type = "checkbox", value = "on", checked = false, changed = nothing } = {}) => html`<label class="check"><input type=${type} name=${name} value=${value} ?checked=${checked} @change=${changed}><span>${text}</span></label>`;

// A choice of words, or of anything.
export const choice = (label, name, values, chosen) => field(label, html`<select name=${name}>${values.map(([value, text]) => html`<option value=${value} ?selected=${value === chosen}>${text}</option>`)}</select>`);
export const words = (kind, values) => [["", t("any")], ...values.map((value) => [value, word(kind, value)])];

export const filterField = (view) => html`<label class="field inline"><span>${t("filter")}</span><input data-filter type="search" .value=${view.filter} @input=${(event) => { view.filter = event.target.value; view.update(); }}></label>`;

// What is shown for clusters that are known, with a choice when there are several.
export const clusterField = (clusters, chosen) => (clusters.length > 1 ? choice("cluster", "cluster", clusters.map(({ id }) => [id, id]), chosen) : nothing);
export const ofClusters = (loaded, template) => loaded.show((clusters) => (clusters.length ? template(clusters) : empty("no_clusters", "slurm/clusters", "clusters")));

export function nodesField(text, typed) {
	const names = expand(text);
	return field("nodes", input("nodes", { required: true, placeholder: "node[07-12]", value: text, typed }),
		html`<span data-count>${text.trim() ? (names ? t("node_count", { n: names.length }) : t("not_a_hostlist")) : t("hostlist_hint")}</span>`);
}

// How to log in, where the service doesn't know it.
export const loginFields = (known = {}) => html`
	${field("user", input("user", { pattern: "[a-z_][a-z0-9_.\\-]*", value: known.user }))}
	${field("password", input("password", { type: "password", value: known.password }))}
	${field("port", input("port", { pattern: "[0-9]{1,5}", placeholder: "22", value: known.port }))}`;

// What of a form was filled in.
export const filled = (form) => Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, name === "password" ? value : value.trim()]).filter(([, value]) => value));

// The parts of a login that were given, as a request has them.
export const login = ({ user, password, port }) => ({ ...(user && { user }), ...(password && { password }), ...(port && { port: Number(port) }) });

export const loginDetails = (known) => html`<details ?open=${Boolean(known?.user)}><summary>${t("login")}</summary>
	<p class="remedy">${t("login_hint")}</p><fieldset>${loginFields(known)}</fieldset></details>`;
