// One's own tokens, and for administrators the users.

import { call, post } from "../api.js";
import { t, word, wordsOf } from "../texts.js";
import { button, choice, empty, field, html, input, nothing, table, time, View } from "../ui.js";

export default class Settings extends View {
	constructor(app) {
		super(app);
		this.tokens = this.list("api/tokens");
		this.users = this.may("users:admin") ? this.list("api/users") : null;
		this.asked = { tokens: new View(app), users: new View(app) };
	}

	// Adds what a form describes to a list.
	add(event, name, list, made = () => {}) {
		event.preventDefault();
		const form = event.target;
		const { days, ...given } = Object.fromEntries(new FormData(form));
		return this.asked[name].attempt(async () => {
			const answer = await post(`api/${name}`, { ...given, ...(days && { days: Number(days) }) });
			form.reset();
			list.load();
			made(answer);
		});
	}

	tokenMade = (made) => this.app.open(() => html`<h2>${t("token_made")}</h2><p>${t("token_once")}</p><code class="secret">${made.token}</code>`);

	// The last column: a button that deletes after a question.
	deletion = (list, name, kept = () => false) => ["", (one) => (kept(one) ? "" : button(t("delete"), () => this.app.confirm({
		title: t("delete_title", { name: one.name }),
		text: t("delete_text"),
		action: t("delete"),
		act: () => call("DELETE", `api/${name}/${one.id}`).then(() => list.load()),
	}), { style: "quiet", label: `${t("delete")} ${one.name}` }))];

	template() {
		return html`<section><h2>${t("tokens")}</h2><p class="remedy">${t("tokens_text")}</p>
				${this.tokens.show((tokens) => (tokens.length ? this.tokenTable(tokens) : empty("no_tokens")))}
				${this.form("tokens", this.tokens, t("add_token"), html`${field("days", html`<input name="days" type="number" min="1" max="3650" value="90" required>`)}`, this.tokenMade)}
			</section>
			${this.users ? html`<section><h2>${t("users")}</h2>
				${this.users.show((users) => this.userTable(users))}
				${this.form("users", this.users, t("add_user"), html`${choice("role", "role", wordsOf("role").map((role) => [role, word("role", role)]))}
					${field("password", html`<input name="password" type="password" minlength="12" autocomplete="new-password" required>`)}`)}
			</section>` : nothing}`;
	}

	form = (name, list, action, fields, made) => html`${this.asked[name].problem()}
		<form class="filter" @submit=${(event) => this.add(event, name, list, made)}>${field("name", input("name", { required: true }))}${fields}<button class="primary">${action}</button></form>`;

	tokenTable = (tokens) => table([
		["name"],
		["user"],
		["created", (token) => time(token.created_at)],
		["last_used", (token) => (token.last_used_at ? time(token.last_used_at) : t("never"))],
		["expires", (token) => time(token.expires_at)],
		this.deletion(this.tokens, "tokens"),
	], tokens, "tokens");

	userTable = (users) => table([
		["name"],
		["role", (user) => word("role", user.role)],
		["clusters", (user) => user.clusters?.join(", ") ?? t("all")],
		this.deletion(this.users, "users", (user) => user.id === this.app.user.id),
	], users, "users");
}
