// What happens, as the service tells it: over a WebSocket, or as server-sent events where a proxy breaks sockets.
// After a gap each watch goes on from what it saw last, so nothing is lost or seen twice.

import { address } from "./api.js";

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
    this._failures = 0;
    addEventListener("online", () => this.state !== "off" && this.retry());
    addEventListener("offline", () => this.state !== "off" && this._lost());
  }

  start() {
    if (this.state !== "off") return;
    this._failures = 0;
    this._set("connecting");
    this._open();
  }

  stop() {
    this._set("off");
    this._drop();
  }

  retry() {
    if (this.state === "live" || this.state === "off") return;
    this._drop();
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
    if (this._source) this._openSource();
    return () => {
      this._watches.delete(key);
      this._send({ unwatch: { [kind]: id } });
    };
  }

  _set(state) {
    if (state === this.state) return;
    this.state = state;
    this._changed();
  }

  _open() {
    // two sockets in a row that never opened: a proxy may break them
    if (this._failures > 0 && this._failures % 3 === 2) this._openSource();
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
      this._alive();
    };
    socket.onclose = ({ code }) => {
      if (socket !== this._socket) return;
      if (code === 4401 || code === 4403) {
        this.stop();
        this._ended(code);
      } else this._lost();
    };
  }

  _openSource() {
    this._source?.close();
    const url = address("api/slurm/events");
    for (const { kind, id, after } of this._watches.values()) {
      if (kind !== "run") continue;
      url.searchParams.set("run", id);
      if (after) url.searchParams.set("after", after);
    }
    const source = (this._source = new EventSource(url));
    const receive = (event) => this._receive({ event: event.type, id: event.lastEventId, data: JSON.parse(event.data) });
    for (const name of ["status", "snapshot", "scaling-progress", "cluster", "job", "end", "ping"]) source.addEventListener(name, receive);
    source.onopen = () => this._alive();
    source.onerror = () => source === this._source && this._lost();
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

  _alive() {
    this._failures = 0;
    this.since = Date.now();
    clearTimeout(this._silence);
    clearTimeout(this._staleTimer);
    this._staleTimer = null;
    this._silence = setTimeout(() => this._lost(), SILENT);
    this._set("live");
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
    const [socket, source] = [this._socket, this._source];
    this._socket = this._source = null;
    socket?.close();
    source?.close();
    clearTimeout(this._timer);
    clearTimeout(this._silence);
    if (this.state === "off") clearTimeout(this._staleTimer);
  }
}
