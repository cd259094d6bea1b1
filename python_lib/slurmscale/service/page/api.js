// Calls of the service. All addresses are relative to the base, so a path prefix of a proxy works.

const base = new URL(document.baseURI);
export const address = (path) => new URL(path, base);

// What the service answers when it refuses: a reason, a remedy, and the code for programs.
export class Problem extends Error {
	constructor(status, body) {
		super(body.detail || body.title || `HTTP ${status}`);
		Object.assign(this, { status, code: body.code ?? "", remedy: body.remedy ?? "", body });
	}
}

let signedOut = () => {};
export const onSignedOut = (listener) => (signedOut = listener);

export async function call(method, path, body, headers = {}) {
	let answer;
	try {
		answer = await fetch(address(path), {
			method,
			headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
			body: body === undefined ? undefined : JSON.stringify(body),
			credentials: "same-origin",
		});
	} catch {
		throw new Problem(0, { code: "unreachable" });
	}
	const text = await answer.text();
	let content = null;
	try {
		content = text ? JSON.parse(text) : null;
	} catch {
		content = { detail: text.slice(0, 200) };
	}
	if (answer.ok) return content;
	if (answer.status === 401 && path !== "api/auth/login" && path !== "api/auth/me") signedOut();
	throw new Problem(answer.status, content ?? {});
}

export const get = (path) => call("GET", path);

// A key makes a request that is sent twice be done once.
export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
export const post = (path, body = {}, key = newKey()) => call("POST", path, body, { "Idempotency-Key": key });

// All items of a list that comes in parts.
export async function all(path) {
	const items = [];
	let cursor = null;
	do {
		const part = await get(`${path}${path.includes("?") ? "&" : "?"}limit=200${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
		items.push(...part.items);
		cursor = part.next_cursor;
	} while (cursor);
	return items;
}
