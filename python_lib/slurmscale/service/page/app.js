// The shell: who is signed in, which view is shown, the bar at the top, keys and dialogs.

import { render } from "./vendor/lit-html/lit-html.js";
import { address, call, get, onSignedOut } from "./api.js";
import { Live } from "./live.js";
import { load as loadTexts, language, moment, switchLanguage, t } from "./texts.js";
import { button, field, filled, forbidden, html, nothing, problem, View, waiting } from "./ui.js";

// view, where it is, permission; what has a fixed address stands in the navigation
const VIEWS = [
	["status", "slurm", "slurm:read"],
	["runs", "slurm/runs", "slurm:read"],
	["run", /^slurm\/runs\/([^/]+)$/, "slurm:read"],
	["add", "slurm/add", "slurm:scale:nodes"],
	["remove", "slurm/remove", "slurm:remove:nodes"],
	["nodes", "slurm/nodes", "slurm:read"],
	["clusters", "slurm/clusters", "slurm:read"],
	["clusters", /^slurm\/(external)-clusters$/, "slurm:read"],
	["jobs", "slurm-tasks", "slurm:jobs:read"],
	["apphub", "slurm/apphub", "slurm:read"],
	["audit", "slurm/audit", "audit:read"],
	["settings", "slurm/settings"],
];
const KEYS = [["/", "key_filter"], ["j k", "key_rows"], ["Enter", "key_open"], ["Esc", "key_close"], ["?", "key_help"]];
const SAID = 10_000;

class App {
	user = undefined; // unknown; null is nobody
	view = null;
	dialog = null;
	menu = false;
	signIn = {};

	constructor() {
		this.live = new Live({ changed: () => this.liveChanged(), ended: (code) => (code === 4401 ? this.signedOut() : this.update()) });
		this.root = document.getElementById("app");
		this.root.replaceChildren();
		onSignedOut(() => this.signedOut());
		addEventListener("popstate", () => this.route());
		document.addEventListener("click", (event) => this.clicked(event));
		document.addEventListener("keydown", (event) => this.pressed(event));
	}

	async begin() {
		this.theme(localStorage.getItem("theme"));
		await loadTexts();
		await this.whoami();
	}

	async whoami() {
		try {
			this.user = await get("api/auth/me");
			this.problem = null;
		} catch (error) {
			if (error.status === 401) this.user = null;
			else this.problem = error;
		}
		if (this.user) {
			this.live.start();
			this.route();
		}
		this.update();
	}

	// -- sign in and out

	async submitSignIn(event) {
		event.preventDefault();
		const form = event.target;
		this.signIn = { busy: true };
		this.update();
		try {
			const { username, password } = Object.fromEntries(new FormData(form));
			await call("POST", "api/auth/login", { username, password, cookie: true });
			this.signIn = {};
			await this.whoami();
		} catch (error) {
			this.signIn = { error };
			form.elements.password.value = "";
			form.elements.password.focus();
			this.update();
		}
	}

	async signOut() {
		await call("POST", "api/auth/logout").catch(() => {});
		this.signedOut(false);
	}

	signedOut(expired = true) {
		if (!this.user) return;
		this.expired = expired;
		this.user = null;
		this.close();
		this.live.stop();
		this.leave();
		this.update();
	}

	// -- where we are

	go(path, replace = false) {
		history[replace ? "replaceState" : "pushState"](null, "", address(path));
		this.route();
		scrollTo(0, 0);
		this.root.querySelector("h1")?.focus();
	}

	async route() {
		const path = location.pathname.slice(address("").pathname.length).replace(/\/$/, "");
		this.leave();
		this.close();
		this.menu = false;
		const [name, at, permission] = VIEWS.find(([, where]) => (where.test ? where.test(path) : where === path)) ?? [];
		const place = (this.place = { name, permission });
		this.update();
		if (!name || !this.may(permission)) return;
		const { default: Page } = await import(`./views/${name}.js`);
		if (place !== this.place || !this.user) return;
		this.view = new Page(this, at.test ? at.exec(path).slice(1).map(decodeURIComponent) : []);
		this.update();
	}

	may = (permission) => !permission || this.user.permissions.includes(permission);

	leave() {
		this.view?.leave();
		this.view = null;
	}

	clicked(event) {
		const link = event.target.closest?.("a[href]");
		if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
		const url = new URL(link.href);
		const path = url.pathname.slice(address("").pathname.length);
		if (url.origin !== location.origin || link.hasAttribute("download") || !path.startsWith("slurm")) return;
		event.preventDefault();
		this.go(path + url.search);
	}

	pressed(event) {
		if (event.ctrlKey || event.metaKey || event.altKey || !this.user) return;
		const writing = event.target.matches?.("input, select, textarea");
		if (event.key === "Escape" && writing) event.target.blur();
		if (writing || this.dialog) return;
		const rows = [...this.root.querySelectorAll("main tbody tr")].map((row) => row.querySelector("a, button")).filter(Boolean);
		const at = rows.indexOf(document.activeElement);
		if (event.key === "/") this.root.querySelector("[data-filter]")?.focus();
		else if (event.key === "j") rows[Math.min(at + 1, rows.length - 1)]?.focus();
		else if (event.key === "k") rows[Math.max(at - 1, 0)]?.focus();
		else if (event.key === "?") this.open(() => html`<h2>${t("keys")}</h2><dl class="keys">${KEYS.map(([key, text]) => html`<dt><kbd>${key}</kbd></dt><dd>${t(text)}</dd>`)}</dl>`);
		else return;
		event.preventDefault();
	}

	// -- drawing

	update = () => {
		this._frame ??= requestAnimationFrame(() => {
			this._frame = null;
			this.draw();
		});
	};

	draw() {
		const focused = document.activeElement;
		render(this.page(), this.root);
		const dialog = document.getElementById("dialog");
		if (dialog && this.dialog && !dialog.open) dialog.showModal();
		if (dialog && !this.dialog && dialog.open) dialog.close();
		if (this.dialog) this._drawn();
		// a row that moved is a row that lost the focus
		if (focused !== document.activeElement && focused?.isConnected && this.root.contains(focused)) focused.focus({ preventScroll: true });
		const title = this.root.querySelector("h1")?.textContent;
		document.title = title ? `${title} · slurmscale` : "slurmscale";
	}

	page() {
		if (this.user === undefined) return this.problem ? html`<main class="alone">${problem(this.problem, () => this.whoami())}</main>` : html`<p class="wait">slurmscale</p>`;
		if (this.user === null) return this.signInForm();
		const here = this.place.name === "run" ? "runs" : this.place.name;
		return html`
			<a class="skip" href="#main" @click=${(event) => { event.preventDefault(); this.root.querySelector("h1")?.focus(); }}>${t("skip")}</a>
			<header>
				<button type="button" class="quiet menu" aria-expanded=${this.menu} aria-controls="navigation" aria-label=${t("menu")} @click=${() => { this.menu = !this.menu; this.update(); }}>☰</button>
				<a class="brand" href="slurm">slurmscale</a>
				${this.badge()}
				<span class="space"></span>
				<button type="button" class="quiet" @click=${() => { switchLanguage(); this.update(); }} lang=${language === "en" ? "zh-CN" : "en"}>${language === "en" ? "中文" : "English"}</button>
				${button("◐", () => this.nextTheme(), { style: "quiet", label: t("theme") })}
				<span class="who">${this.user.name}</span>
				${button(t("sign_out"), () => this.signOut(), { style: "quiet" })}
			</header>
			<nav id="navigation" class=${this.menu ? "open" : ""} aria-label=${t("menu")}>
				${VIEWS.filter(([, path, permission]) => !path.test && this.may(permission)).map(([name, path]) => html`<a href=${path} aria-current=${name === here ? "page" : nothing}>${t(name)}</a>`)}
			</nav>
			<main id="main">${this.stale()}${this.content()}</main>
			<p class="hidden" aria-live="polite">${this.said}</p>
			<dialog id="dialog" aria-label=${t("dialog")} @close=${() => this.close()} @click=${(event) => event.target === event.currentTarget && this.close()}>
				${this.dialog ? html`${button("✕", () => this.close(), { style: "quiet close", label: t("close") })}${this.dialog()}` : nothing}
			</dialog>`;
	}

	content() {
		const { name, permission } = this.place;
		if (name === "run" && this.view) return this.view.template(); // the run is its heading
		const content = !name ? html`<p><a href="slurm">${t("status")}</a></p>` : !this.may(permission) ? forbidden(permission) : this.view ? this.view.template() : waiting();
		return html`<h1 tabindex="-1">${t(name ?? "no_page")}</h1>${content}`;
	}

	signInForm() {
		const { error, busy } = this.signIn;
		return html`<main class="alone"><form class="card" @submit=${(event) => this.submitSignIn(event)}>
			<h1 tabindex="-1">slurmscale</h1>
			${this.expired && !error ? html`<p class="notice" role="status">${t("session_over")}</p>` : nothing}
			${error ? problem(error) : nothing}
			${field("user", html`<input name="username" autocomplete="username" required autofocus>`)}
			${field("password", html`<input name="password" type="password" autocomplete="current-password" required>`)}
			<button class="primary" ?disabled=${busy}>${t("sign_in")}</button>
		</form></main>`;
	}

	// -- live or not

	liveChanged() {
		clearInterval(this._tick);
		if (this.live.state === "reconnecting") this._tick = setInterval(this.update, 1000);
		this.update();
	}

	badge() {
		const { state, since, retryAt } = this.live;
		const text = {
			off: t("live_off"),
			connecting: t("live_connecting"),
			live: t("live"),
			reconnecting: t("live_reconnecting", { n: Math.max(1, Math.ceil(((retryAt ?? 0) - Date.now()) / 1000)) }),
			stale: since ? t("live_stale", { time: moment(since) }) : t("live_off"),
		}[state];
		return html`<span class="badge ${state}" data-live=${state}>${text}</span>`;
	}

	stale() {
		if (this.live.state !== "stale") return nothing;
		return html`<div class="notice warning" role="status"><p>${t("stale")}</p>${button(t("refresh"), () => this.refresh())}</div>`;
	}

	refresh() {
		this.live.retry();
		this.route();
	}

	// Says a change to a screen reader, the newest one and not more than one in ten seconds.
	say(text) {
		this._next = text;
		this._saying ??= setTimeout(() => {
			this._saying = null;
			this.said = this._next;
			this.update();
		}, Math.max(0, SAID - (Date.now() - (this._saidAt ?? 0))));
		this._saidAt = Date.now();
	}

	// -- theme and dialogs

	theme(chosen) {
		if (chosen) document.documentElement.dataset.theme = chosen;
	}

	nextTheme() {
		const dark = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
		const next = dark === "dark" ? "light" : "dark";
		localStorage.setItem("theme", next);
		this.theme(next);
	}

	open(template, { closed = () => {}, drawn = () => {} } = {}) {
		this.dialog = template;
		this._closed = closed;
		this._drawn = drawn;
		this.draw();
	}

	close() {
		const closed = this._closed;
		this.dialog = null;
		this._closed = null;
		closed?.();
		this.update();
	}

	// Asks before something is done; `act` does it with what was filled in, and its problem is shown in the dialog.
	confirm({ title, text, action, act, fields = nothing }) {
		const asked = new View(this);
		const run = (event) => {
			event.preventDefault();
			const given = filled(event.target);
			asked.attempt(() => act(given).then(() => this.close()));
		};
		this.open(() => html`<h2>${title}</h2><p>${text}</p>${asked.problem()}
			<form @submit=${run}>${fields}<p class="buttons"><button class="danger" ?disabled=${asked.busy}>${action}</button>
			${button(t("keep"), () => this.close())}</p></form>`);
	}
}

new App().begin();
