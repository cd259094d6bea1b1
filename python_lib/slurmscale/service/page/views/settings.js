// One's own tokens, and for administrators the users.

import { call, get, post } from "../api.js";
import { t, word } from "../texts.js";
import { empty, field, html, Loaded, nothing, problem, table, time, View } from "../ui.js";

const ROLES = ["viewer", "operator", "admin"];

export default class Settings extends View {
  constructor(app, parts) {
    super(app, parts);
    this.tokens = new Loaded(this, async () => (await get("api/tokens")).items);
    this.users = this.may("users:admin") ? new Loaded(this, async () => (await get("api/users")).items) : null;
    this.errors = {};
  }

  async send(name, act) {
    this.errors[name] = null;
    try {
      await act();
    } catch (error) {
      if (error.status === undefined) throw error;
      this.errors[name] = error;
    }
    this.update();
  }

  addToken(event) {
    event.preventDefault();
    const form = event.target;
    const { name, days } = Object.fromEntries(new FormData(form));
    this.send("token", async () => {
      const made = await post("api/tokens", { name, days: Number(days) });
      form.reset();
      this.tokens.load();
      this.app.open(() => html`<h2>${t("token_made")}</h2><p>${t("token_once")}</p><code class="secret">${made.token}</code>`);
    });
  }

  addUser(event) {
    event.preventDefault();
    const form = event.target;
    this.send("user", async () => {
      await post("api/users", Object.fromEntries(new FormData(form)));
      form.reset();
      this.users.load();
    });
  }

  remove(list, path, name) {
    this.app.confirm({
      title: t("delete_title", { name }),
      text: t("delete_text"),
      action: t("delete"),
      act: () => call("DELETE", path).then(list.load),
    });
  }

  template() {
    return html`<h1 tabindex="-1">${t("nav_settings")}</h1>
      <section><h2>${t("tokens")}</h2><p class="remedy">${t("tokens_text")}</p>
        ${this.tokens.show((tokens) => (tokens.length ? this.tokenTable(tokens) : empty(t("no_tokens"))))}
        ${this.errors.token ? problem(this.errors.token) : nothing}
        <form class="filter" @submit=${(event) => this.addToken(event)}>
          ${field(t("name"), html`<input name="name" required maxlength="100">`)}
          ${field(t("days"), html`<input name="days" type="number" min="1" max="3650" value="90" required>`)}
          <button class="primary">${t("add_token")}</button>
        </form></section>
      ${this.users ? html`<section><h2>${t("users")}</h2>
        ${this.users.show((users) => this.userTable(users))}
        ${this.errors.user ? problem(this.errors.user) : nothing}
        <form class="filter" @submit=${(event) => this.addUser(event)}>
          ${field(t("name"), html`<input name="name" required autocomplete="off">`)}
          ${field(t("role"), html`<select name="role">${ROLES.map((role) => html`<option value=${role}>${word("role", role)}</option>`)}</select>`)}
          ${field(t("password"), html`<input name="password" type="password" minlength="12" autocomplete="new-password" required>`)}
          <button class="primary">${t("add_user")}</button>
        </form></section>` : nothing}`;
  }

  tokenTable(tokens) {
    return table(
      [
        [t("name"), (token) => token.name, "name"],
        [t("user"), (token) => token.user],
        [t("created"), (token) => time(token.created_at)],
        [t("last_used"), (token) => (token.last_used_at ? time(token.last_used_at) : t("never"))],
        [t("expires"), (token) => time(token.expires_at)],
        ["", (token) => html`<button type="button" class="quiet" data-row aria-label="${t("delete")} ${token.name}" @click=${() => this.remove(this.tokens, `api/tokens/${token.id}`, token.name)}>${t("delete")}</button>`],
      ],
      tokens,
      t("tokens"),
    );
  }

  userTable(users) {
    return table(
      [
        [t("name"), (user) => user.name, "name"],
        [t("role"), (user) => word("role", user.role)],
        [t("clusters"), (user) => user.clusters?.join(", ") ?? t("all")],
        ["", (user) => (user.id === this.app.user.id ? "" : html`<button type="button" class="quiet" data-row aria-label="${t("delete")} ${user.name}" @click=${() => this.remove(this.users, `api/users/${user.id}`, user.name)}>${t("delete")}</button>`)],
      ],
      users,
      t("users"),
    );
  }
}
