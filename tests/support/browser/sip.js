// SIP over WebSocket (RFC 7118) as far as one phone in a test needs it: REGISTER, a call each way,
// digest with SHA-256 (RFC 7616, 8760). `log` holds every message, for a test that fails.
"use strict";

const token = () => Math.random().toString(36).slice(2, 12);

async function sha256(text) {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function parse(text) {
  const [head, ...rest] = text.split("\r\n\r\n");
  const [first, ...lines] = head.split("\r\n");
  const headers = lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
  });
  const all = (name) => headers.filter(([key]) => key === name).map(([, value]) => value);
  const message = { all, header: (name) => all(name)[0] || "", body: rest.join("\r\n\r\n") };
  if (first.startsWith("SIP/2.0 ")) message.status = Number(first.split(" ")[1]);
  else message.method = first.split(" ")[0];
  return message;
}

const tag = (value) => (/;tag=([^;]+)/.exec(value) || [])[1] || "";
const uri = (value) => (/<([^>]+)>/.exec(value) || [, value.split(";")[0]])[1];

class SipClient {
  constructor({ url, username, domain, password }) {
    Object.assign(this, { url, username, domain, password });
    this.aor = `sip:${username}@${domain}`;
    this.contact = `<sip:${username}@${token()}.invalid;transport=ws>`;
    this.log = [];
    this.pending = new Map();
    this.dialog = null;
    // A re-INVITE of our own is under way, or one of the far end's (RFC 3261 section 14).
    this.offering = this.answering = false;
    this.onInvite = () => {};
    this.onBye = () => {};
    this.onOffer = this.onAsked = async () => "";
    this.onAnswer = () => {};
  }

  connect() {
    this.socket = new WebSocket(this.url, "sip");
    this.socket.onmessage = ({ data }) => this.receive(data);
    return new Promise((resolve, reject) => {
      this.socket.onopen = resolve;
      this.socket.onerror = () => reject(new Error(`no WebSocket to ${this.url}`));
      this.socket.onclose = (event) => this.log.push(`closed ${event.code} ${event.reason}`);
    });
  }

  send(first, headers, body = "") {
    const size = new TextEncoder().encode(body).length;
    const lines = [first, ...headers, `Content-Length: ${size}`];
    const text = `${lines.join("\r\n")}\r\n\r\n${body}`;
    this.log.push(`> ${text}`);
    this.socket.send(text);
  }

  // Sends a request; calls `progress` for 1xx and returns the final response, after one challenge.
  async request(method, target, headers, body = "", progress = () => {}) {
    let response = await this.once(method, target, headers(1, ""), body, progress);
    if (response.status === 401 || response.status === 407) {
      const credentials = await this.authorize(method, target, response);
      if (method === "INVITE") this.acknowledge(target, headers(1, ""), response);
      response = await this.once(method, target, headers(2, credentials), body, progress);
    }
    return response;
  }

  once(method, target, headers, body, progress) {
    const branch = `z9hG4bK${token()}`;
    const via = `Via: SIP/2.0/WSS ${token()}.invalid;branch=${branch}`;
    return new Promise((resolve) => {
      this.pending.set(branch, (response) => {
        if (response.status < 200) return progress(response);
        this.pending.delete(branch);
        response.via = via;
        resolve(response);
      });
      const type = body ? ["Content-Type: application/sdp"] : [];
      this.send(`${method} ${target} SIP/2.0`, [via, ...headers.filter(Boolean), ...type], body);
    });
  }

  // ACK of a final response other than 2xx: of the INVITE's transaction (RFC 3261 17.1.1.3).
  acknowledge(target, headers, response) {
    const kept = headers.filter((line) => /^(From|Call-ID|Max-Forwards|Route)/.test(line));
    const cseq = response.header("cseq").split(" ")[0];
    this.send(`ACK ${target} SIP/2.0`, [
      response.via, ...kept, `To: ${response.header("to")}`, `CSeq: ${cseq} ACK`,
    ]);
  }

  async authorize(method, target, response) {
    const name = response.status === 401 ? "www-authenticate" : "proxy-authenticate";
    const field = (text, key) => (new RegExp(`${key}="?([^",]+)`, "i").exec(text) || [])[1];
    const challenge = response.all(name).find((text) => field(text, "algorithm") === "SHA-256");
    if (!challenge) throw new Error(`no SHA-256 among ${response.all(name).join(" | ")}`);
    const [realm, nonce] = [field(challenge, "realm"), field(challenge, "nonce")];
    const cnonce = token();
    const ha1 = await sha256(`${this.username}:${realm}:${this.password}`);
    const ha2 = await sha256(`${method}:${target}`);
    const digest = await sha256(`${ha1}:${nonce}:00000001:${cnonce}:auth:${ha2}`);
    const header = response.status === 401 ? "Authorization" : "Proxy-Authorization";
    return `${header}: Digest username="${this.username}", realm="${realm}", nonce="${nonce}", ` +
      `uri="${target}", response="${digest}", algorithm=SHA-256, qop=auth, nc=00000001, ` +
      `cnonce="${cnonce}"`;
  }

  async register() {
    const [id, from] = [token(), token()];
    const response = await this.request("REGISTER", `sip:${this.domain}`, (cseq, credentials) => [
      "Max-Forwards: 70", `From: <${this.aor}>;tag=${from}`, `To: <${this.aor}>`,
      `Call-ID: ${id}`, `CSeq: ${cseq} REGISTER`, `Contact: ${this.contact};expires=300`,
      "Supported: path, outbound", credentials,
    ]);
    return response.status;
  }

  async invite(extension, offer, progress) {
    const target = `sip:${extension}@${this.domain}`;
    const [id, from] = [token(), token()];
    let last = 1;
    const response = await this.request("INVITE", target, (cseq, credentials) => {
      last = cseq;
      return [
        "Max-Forwards: 70", `From: <${this.aor}>;tag=${from}`, `To: <${target}>`,
        `Call-ID: ${id}`, `CSeq: ${cseq} INVITE`, `Contact: ${this.contact}`, credentials,
      ];
    }, offer, progress);
    if (response.status >= 300) return response;
    this.dialog = {
      id, local: `<${this.aor}>;tag=${from}`, remote: response.header("to"), cseq: last,
      target: uri(response.header("contact")), routes: this.routes(response).reverse(),
    };
    this.send(`ACK ${this.dialog.target} SIP/2.0`, this.within(last, "ACK", true));
    return response;
  }

  routes(message) {
    return message.all("record-route").flatMap((line) => line.split(/,\s*(?=<)/));
  }

  within(cseq, method, withVia = false) {
    const { id, local, remote, routes } = this.dialog;
    const via = `Via: SIP/2.0/WSS ${token()}.invalid;branch=z9hG4bK${token()}`;
    return [
      ...(withVia ? [via] : []), "Max-Forwards: 70", ...routes.map((route) => `Route: ${route}`),
      `From: ${local}`, `To: ${remote}`, `Call-ID: ${id}`, `CSeq: ${cseq} ${method}`,
    ];
  }

  async bye() {
    const { target } = this.dialog;
    const cseq = ++this.dialog.cseq;
    return (await this.once("BYE", target, this.within(cseq, "BYE"), "", () => {})).status;
  }

  respond(request, status, reason, extra = [], body = "") {
    const to = request.header("to");
    const tagged = tag(to) || status === 100 ? to : `${to};tag=${(request.tag ||= token())}`;
    this.send(`SIP/2.0 ${status} ${reason}`, [
      ...request.all("via").map((via) => `Via: ${via}`),
      ...request.all("record-route").map((route) => `Record-Route: ${route}`),
      `From: ${request.header("from")}`, `To: ${tagged}`, `Call-ID: ${request.header("call-id")}`,
      `CSeq: ${request.header("cseq")}`, `Contact: ${this.contact}`, ...extra,
    ], body);
  }

  accept(request, answer) {
    this.respond(request, 200, "OK", ["Content-Type: application/sdp"], answer);
    this.dialog = {
      id: request.header("call-id"), local: `${request.header("to")};tag=${request.tag}`,
      remote: request.header("from"), cseq: 1, target: uri(request.header("contact")),
      routes: this.routes(request), heard: Number(request.header("cseq").split(" ")[0]),
    };
  }

  receive(data) {
    if (typeof data !== "string" || !data.trim()) return;
    this.log.push(`< ${data}`);
    const message = parse(data);
    if (message.status) {
      const branch = (/;branch=([^;]+)/.exec(message.header("via")) || [])[1];
      const waiting = this.pending.get(branch);
      if (waiting) waiting(message);
    } else if (message.method === "INVITE" && tag(message.header("to"))) {
      this.changed(message);
    } else if (message.method === "INVITE") {
      this.respond(message, 180, "Ringing");
      this.onInvite(message);
    } else if (message.method === "BYE") {
      this.respond(message, 200, "OK");
      this.onBye();
    } else if (message.method === "OPTIONS" || message.method === "CANCEL") {
      this.respond(message, 200, "OK");
    } else if (message.method === "ACK") {
      if (message.body) this.onAnswer(message.body);
    } else {
      this.respond(message, 501, "Not Implemented");
    }
  }

  // A re-INVITE: with an offer, or asking for one, whose answer comes in the ACK.
  async changed(request) {
    const number = Number(request.header("cseq").split(" ")[0]);
    if (number <= (this.dialog.heard || 0)) return this.respond(request, 500, "Out of Order");
    this.dialog.heard = number;
    if (this.offering) return this.respond(request, 491, "Request Pending");
    this.dialog.target = uri(request.header("contact"));
    this.answering = true;
    try {
      const body = request.body ? await this.onOffer(request.body) : await this.onAsked();
      this.respond(request, 200, "OK", ["Content-Type: application/sdp"], body);
    } catch (error) {
      this.log.push(String(error));
      this.respond(request, 488, "Not Acceptable Here");
    } finally {
      this.answering = false;
    }
  }

  // A re-INVITE of our own.
  async reinvite(offer) {
    const cseq = ++this.dialog.cseq;
    const headers = [...this.within(cseq, "INVITE"), `Contact: ${this.contact}`];
    const response = await this.once("INVITE", this.dialog.target, headers, offer, () => {});
    if (response.status < 300) {
      this.dialog.target = uri(response.header("contact"));
      this.send(`ACK ${this.dialog.target} SIP/2.0`, this.within(cseq, "ACK", true));
    } else {
      this.acknowledge(this.dialog.target, headers, response);
    }
    return response;
  }
}
