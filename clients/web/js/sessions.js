// @ts-check
/** The page's session with the daemon: begun, begun anew when it is gone, ended when the visitor leaves. */

import { answer, call, key } from "./api.js";
import { $ } from "./dom.js";
import { delay } from "./reconnect.js";

/** Then the gateway closes the socket, and it is opened again with another token. */
const TOKEN_S = 3600;

export class Sessions {
  /**
   * @param {import("./player.js").Player} player
   * @param {{onBegun: () => void, onBusy: (retryMs: number|undefined) => void, onAway: (attempt: number) => void,
   *   onRefused: (message: string) => void}} tell
   */
  constructor(player, tell) {
    this.player = player;
    this.tell = tell;
    this.id = "";
    this.round = 0;
    addEventListener("pagehide", () => this.end());
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  /**
   * Begin a session and show it; the one before it ends. Tries for as long as the daemon cannot be reached.
   *
   * @param {Wishes} wishes  empty: as the daemon likes
   */
  async begin(wishes) {
    const round = (this.round += 1);
    this.player.close();  // first: that the old session ends is no news
    this.end();
    await first.opened;
    for (let attempt = 0; round === this.round; attempt += 1) {
      try {
        const before = first.take();
        const begun = await (before ? answer(before.response) : call("api/start_session", first.request(wishes)));
        if (round !== this.round) {
          end(begun.session_id);
          return;
        }
        this.id = begun.session_id;
        this.tell.onBegun();
        const { limits } = begun;
        this.player.connect({ url: `ws/${this.id}`, token: () => this.token(), fromSeq: 0, fromN: 0, limits }, before?.live);
        return;
      } catch (error) {
        const { code, message, retryAfterMs, status } = /** @type {import("./api.js").Refused} */ (error);
        if (round !== this.round) return;
        if (status === 401) await askForKey();  // 403: no key would help
        else if (code === "NOT_FOUND" && wishes.template !== "default") wishes.template = "default";
        else if (code === "NOT_READY") {
          this.tell.onAway(attempt);
          await new Promise((resolve) => setTimeout(resolve, delay(attempt, Math.random())));
        } else if (code === "BUSY") return this.tell.onBusy(retryAfterMs);
        else return this.tell.onRefused(message);
      }
    }
  }

  /** What the socket shows instead of the key, which does not belong in an address. @returns {Promise<string>} */
  async token() {
    if (!key.get()) return "";
    const { token } = await call(`api/sessions/${this.id}/token`, { ttl_s: TOKEN_S, scope: ["watch", "talk", "control"] });
    return token;
  }

  end() {
    if (this.id) end(this.id);
    this.id = "";
  }
}

/** @param {string} id */
function end(id) {
  call("api/end_session", { session_id: id, drain: false }, { keepalive: true }).catch(() => {});
}

/** @returns {Promise<void>} */
function askForKey() {
  $("key").showModal();
  return new Promise((resolve) => {
    $("key-form").onsubmit = () => key.set($("key-value").value);
    $("key").onclose = () => resolve();  // also by Esc: it is tried again, and asked again
  });
}
