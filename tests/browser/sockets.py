"""What a window keeps of its WebSockets, and how it is told something that the service did not say."""

KEEP = """
window.sockets = [];
window.messages = [];
window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    window.sockets.push(this);
    if (!navigator.onLine) this.close(); // what is switched off for tests does not concern sockets
    this.addEventListener("message", ({ data }) => window.messages.push(JSON.parse(data)));
  }
};
"""
TELL = "(message) => window.sockets.at(-1).onmessage({ data: JSON.stringify(message) })"
