// @ts-check
/** The WebSocket of a session: requests, messages, and connecting again for as long as it takes. */

import { parse } from "./frames.js";
import { FINAL, REFUSED, delay } from "./reconnect.js";

const CONNECT_MS = 10_000;
const REQUEST_MS = 30_000;
/** Without any message for so long, it is asked whether anybody is there. */
const QUIET_MS = 15_000;
const ANSWER_MS = 5000;
/** More than this waits to be sent: what the microphone adds would only be late. */
const MICROPHONE_BYTES = 65_536;
const RATE = 16_000;

/** What the daemon refused, or what did not reach it: `code`, `message`, `retry_after_ms`. */
export class RequestError extends Error {
  /** @param {{code: string, message: string, retry_after_ms?: number}} error */
  constructor({ code, message, retry_after_ms }) {
    super(message);
    this.name = "RequestError";
    this.code = code;
    this.retry_after_ms = retry_after_ms;
  }
}

/** @typedef {string | (() => string | Promise<string>)} Token */
/** @typedef {{text: string, answer: (reply: any) => void, fail: (error: Error) => void, timer: any, sent: boolean}} Request */

/**
 * @typedef {object} Owner
 * @property {() => string} query of the address, asked before every connection
 * @property {(header: import("./frames.js").Header, payload: Uint8Array<ArrayBuffer>) => void} onMessage
 * @property {(state: string, detail: Record<string, any>) => void} onState
 */

export class Socket {
  /**
   * @param {string} url
   * @param {Token | undefined} token
   * @param {Owner} owner
   * @param {Live} [begun] the first connection, with what it has brought
   */
  constructor(url, token, owner, begun) {
    const address = new URL(url, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.address = address;
    this.token = token;
    this.owner = owner;
    this.begun = begun;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.closed = false;
    this.attempt = 0;
    this.id = 0;
    this.rate = RATE;
    this.echoCancelled = false;
    /** @type {Map<number, Request>} sent, or to be sent with the next connection */
    this.requests = new Map();
    this.online = () => this._again(0);
    addEventListener("online", this.online);
  }

  async open() {
    clearTimeout(this.timer);
    const round = (this.round = (this.round ?? 0) + 1);
    if (this.begun) {
      this._adopt(this.begun, round);
      return;
    }
    let token;
    try {
      token = typeof this.token === "function" ? await this.token() : this.token;
    } catch {
      this._lost(round, 1006);
      return;
    }
    if (this.closed || round !== this.round) return;
    const address = new URL(this.address);
    const query = this.owner.query();
    if (query) address.search += (address.search ? "&" : "") + query;
    this.heard = false;
    this._use(new WebSocket(address, token ? ["musecast", `bearer.${token}`] : ["musecast"]), round);
  }

  /** @param {WebSocket} socket @param {number} round */
  _use(socket, round) {
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.rate = RATE;
    this.echoCancelled = false;
    this.watch = setTimeout(() => this._lost(round, 1006), CONNECT_MS);
    socket.onopen = () => this._opened(round);
    socket.onmessage = ({ data }) => round === this.round && this._message(data);
    socket.onclose = ({ code, reason }) => this._lost(round, code, reason);
  }

  /** @param {Live} begun @param {number} round */
  _adopt({ socket, messages }, round) {
    this.begun = undefined;
    this._use(socket, round);
    if (socket.readyState !== WebSocket.CONNECTING) this._opened(round);
    for (const message of messages.keys()) if (round === this.round) this._message(message);
    if (socket.readyState > WebSocket.OPEN) this._lost(round, 1006);
  }

  /** Connect anew at once, for instance from another place in the media on. */
  reopen() {
    this._drop();
    this.open();
  }

  /** Let go of the connection until `open`. */
  park() {
    clearTimeout(this.timer);
    this._drop(1000);
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    removeEventListener("online", this.online);
    clearTimeout(this.timer);
    this._drop(1000);
    this._fail([...this.requests.keys()]);
  }

  /**
   * @param {string} op
   * @param {object} [args]
   * @param {number} [limit_ms]
   * @returns {Promise<any>} the reply; rejects with `RequestError`
   */
  request(op, args = {}, limit_ms = REQUEST_MS) {
    const id = (this.id += 1);
    const text = JSON.stringify({ v: 1, id, op, ...args });
    return new Promise((answer, fail) => {
      const timer = setTimeout(() => this._fail([id], `no answer to ${op} within ${limit_ms / 1000} s`), limit_ms);
      this.requests.set(id, { text, answer, fail, timer, sent: false });
      if (this.closed) this._fail([id]);
      else if (this._isOpen()) this._send();
    });
  }

  /**
   * @param {Int16Array} pcm
   * @param {number} [rate]
   * @param {boolean} [echoCancelled] what this page plays is not in it
   * @returns {boolean} false: not sent, because there is no connection or it is too slow
   */
  microphone(pcm, rate = RATE, echoCancelled = false) {
    if (!this._isOpen() || !this.socket || this.socket.bufferedAmount > MICROPHONE_BYTES) return false;
    if (rate !== this.rate || echoCancelled !== this.echoCancelled) {
      this.socket.send(JSON.stringify({ op: "microphone", sample_rate: rate, echo_cancelled: echoCancelled }));
      this.rate = rate;
      this.echoCancelled = echoCancelled;
    }
    this.socket.send(/** @type {Int16Array<ArrayBuffer>} */ (pcm));
    return true;
  }

  _isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** @param {number} round */
  _opened(round) {
    if (round !== this.round) return;
    this._listen();
    this._send();
    this.owner.onState("live", {});
  }

  _send() {
    for (const request of this.requests.values()) {
      if (!request.sent) this.socket?.send(request.text);
      request.sent = true;
    }
  }

  /** After a quiet while ask; without an answer the connection is none. */
  _listen() {
    clearTimeout(this.watch);
    this.watch = setTimeout(() => {
      const round = this.round ?? 0;
      this.request("keep_alive", {}, ANSWER_MS).catch((error) => error.code === "NOT_READY" && this._lost(round, 1006));
    }, QUIET_MS);
  }

  /** @param {string | ArrayBuffer} data */
  _message(data) {
    this.attempt = 0;
    this.heard = true;
    this._listen();
    if (typeof data !== "string") {
      let message;
      try {
        message = parse(data);
      } catch (error) {
        console.warn("musecast: a message was dropped:", error);
        return;
      }
      this.owner.onMessage(message.header, message.payload);
      return;
    }
    const reply = JSON.parse(data);
    const request = this.requests.get(reply.id);
    if (!request) return;
    this.requests.delete(reply.id);
    clearTimeout(request.timer);
    if (reply.error) request.fail(new RequestError(reply.error));
    else request.answer(reply);
  }

  /** @param {number} round @param {number} code @param {string} [reason] */
  _lost(round, code, reason = "") {
    if (round !== this.round || this.closed) return;
    this._drop();
    // What was sent may have been carried out: it is not sent twice.
    this._fail([...this.requests].filter(([, request]) => request.sent).map(([id]) => id));
    // Refused after it was let in: its token has expired, and there is somebody to ask for another.
    if (code === REFUSED && this.heard && typeof this.token === "function") {
      this.open();
      return;
    }
    const state = FINAL[code];
    if (state) {
      this.close();
      this.owner.onState(state, { code, reason });
      return;
    }
    const again = delay(this.attempt, Math.random());
    this.attempt += 1;
    this.owner.onState("reconnecting", { code, reason, again_ms: again });
    this._again(again);
  }

  /** @param {number} ms */
  _again(ms) {
    if (this.closed || this.socket) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), ms);
  }

  /** @param {number} [code] */
  _drop(code) {
    clearTimeout(this.watch);
    this.round = (this.round ?? 0) + 1;
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  /** @param {number[]} ids @param {string} [message] */
  _fail(ids, message = "the connection was lost before the answer came; try again") {
    for (const id of ids) {
      const request = this.requests.get(id);
      this.requests.delete(id);
      clearTimeout(request?.timer);
      request?.fail(new RequestError({ code: "NOT_READY", message }));
    }
  }
}
