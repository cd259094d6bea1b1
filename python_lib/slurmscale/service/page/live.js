// What happens, as the service tells it: over a WebSocket, or as server-sent events where a proxy breaks sockets.
// After a gap each watch goes on from what it saw last, so nothing is lost or seen twice.

import { address } from "./api.js";

const EVENTS = ["status", "snapshot", "scaling-progress", "log", "cluster", "job", "end", "ping"];
const SILENT = 40_000;
const STALE = 15_000;
const LONGEST = 30_000;

export class Live {
	constructor({ changed, ended }) {
		this.state = "off"; // off, connecting, live, reconnecting, stale
		this.since = null; // when it was live last
		this.retryAt = null;
		this._changed = changed;
		this._ended = ended;
		this._watches = new Map();
		this._listeners = new Set();
		this._sources = new Map();
		this._failures = 0;
		addEventListener("online", () => this.state !== "off" && this.retry());
		addEventListener("offline", () => this.state !== "off" && this._lost());
	}

	start() {
		if (this.state !== "off") return;
		this._set("connecting");
		this.retry();
	}

	stop() {
		this._set("off");
		this._drop();
	}

	retry() {
		if (this.state === "live" || this.state === "off") return;
		this._drop();
		this._failures = 0;
		this._open();
	}

	// Events that concern everybody.
	listen(listener) {
		this._listeners.add(listener);
		return () => this._listeners.delete(listener);
	}

	// Events of one run or of the log of one task; `after` is the revision or line that is known already.
	watch(kind, id, after, listener) {
		const key = `${kind}:${id}`;
		this._watches.set(key, { kind, id, after, listener });
		this._sendWatch(key);
		if (this._sources.size) this._addSource(key);
		return () => {
			this._watches.delete(key);
			this._send({ unwatch: { [kind]: id } });
			this._sources.get(key)?.close();
			this._sources.delete(key);
		};
	}

	_set(state) {
		if (state === this.state) return;
		this.state = state;
		this._changed();
	}

	_open() {
		// two sockets in a row that never opened: a proxy may break them
		if (this._failures > 0 && this._failures % 3 === 2) this._openSources();
		else this._openSocket();
	}

	_openSocket() {
		const url = address("api/slurm/ws");
		url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
		const socket = (this._socket = new WebSocket(url, ["slurmscale.v1"]));
		socket.onmessage = ({ data }) => socket === this._socket && this._receive(JSON.parse(data));
		socket.onopen = () => {
			if (socket !== this._socket) return;
			for (const key of this._watches.keys()) this._sendWatch(key);
			this._expect();
		};
		socket.onclose = ({ code }) => {
			if (socket !== this._socket) return;
			if (code === 4401 || code === 4403) {
				this.stop();
				this._ended(code);
			} else this._lost();
		};
	}

	// A stream for the status and one for each watch; all end with the one of the status.
	_openSources() {
		this._addSource("status");
		for (const key of this._watches.keys()) this._addSource(key);
	}

	_addSource(key) {
		const url = address("api/slurm/events");
		const { kind, id, after } = this._watches.get(key) ?? {};
		if (kind) url.search = new URLSearchParams({ [kind]: id, ...(after && { after }) });
		const source = new EventSource(url);
		this._sources.set(key, source);
		const receive = ({ type, lastEventId, data }) => {
			if (type === "end") source.close();
			this._receive({ event: type, id: lastEventId, data: JSON.parse(data) });
		};
		for (const name of EVENTS) source.addEventListener(name, receive);
		source.onerror = () => key === "status" && this._sources.get(key) === source && this._lost();
		this._expect();
	}

	_send(message) {
		if (this._socket?.readyState === WebSocket.OPEN) this._socket.send(JSON.stringify(message));
	}

	_sendWatch(key) {
		const { kind, id, after } = this._watches.get(key);
		this._send({ watch: after === null ? { [kind]: id } : { [kind]: id, after } });
	}

	_receive({ event, id, data }) {
		this._alive();
		if (event === "ping") return;
		const run = data?.run_id ?? data?.run?.id;
		const key = event === "log" ? `log:${data.log}` : run && ["snapshot", "scaling-progress", "end"].includes(event) ? `run:${run}` : null;
		const watch = key && this._watches.get(key);
		if (watch) {
			if (event === "log") watch.after = data.last;
			else if (id) watch.after = Number(String(id).split(":").at(-1));
			watch.listener(event, data, watch.after);
		}
		for (const listener of this._listeners) listener(event, data);
	}

	// It is live once something came, and no more when nothing comes for a while.
	_alive() {
		this._failures = 0;
		this.since = Date.now();
		clearTimeout(this._staleTimer);
		this._staleTimer = null;
		this._expect();
		this._set("live");
	}

	_expect() {
		clearTimeout(this._silence);
		this._silence = setTimeout(() => this._lost(), SILENT);
	}

	_lost() {
		this._drop();
		this._failures += 1;
		const wait = navigator.onLine ? Math.min(LONGEST, 500 * 2 ** this._failures) * (0.75 + Math.random() / 2) : LONGEST;
		this.retryAt = Date.now() + wait;
		this._timer = setTimeout(() => this._open(), wait);
		this._staleTimer ??= setTimeout(() => this.state === "reconnecting" && this._set("stale"), STALE);
		if (this.state !== "stale") this._set("reconnecting");
		this._changed();
	}

	_drop() {
		const [socket, sources] = [this._socket, this._sources];
		this._socket = null;
		this._sources = new Map();
		socket?.close();
		for (const source of sources.values()) source.close();
		clearTimeout(this._timer);
		clearTimeout(this._silence);
		if (this.state === "off") clearTimeout(this._staleTimer);
	}
}
