// @ts-check
/**
 * The face moves before the page is here: a session is asked for, connected to, and its first media shown, while the
 * modules are on their way. No module: the gateway puts it into the document, so that it is not waited for either.
 * `first.take` hands over what was begun.
 */

/** @typedef {"en" | "zh"} Language */
/** What the visitor wants; an empty voice: the daemon's. @typedef {{template: string, voice: string, language: Language}} Wishes */
/**
 * @typedef {object} Live what a connection has brought
 * @property {WebSocket} socket
 * @property {Map<ArrayBuffer, {at: number, fed: boolean}>} messages in their order: when (ms), whether the buffer has it
 * @property {MediaSource | null} media
 * @property {SourceBuffer | null} buffer
 */
/** @typedef {{response: Promise<Response>, live?: Live, over: boolean}} Begun `over`: somebody has taken it */

const first = (() => {
  /** A page that vanished without a word is forgotten by then; while it watches, the gateway keeps its session. */
  const IDLE_S = 120;
  /** Cuts lie so far ahead that no browser has decoded beyond them. */
  const CUT_MARGIN_MS = 250;
  /** Some ten seconds. Where the modules have not come by then, the connection ends: nobody makes room for more. */
  const MESSAGES = 40;
  /** @type {Language[]} */
  const LANGUAGES = ["en", "zh"];

  /** @param {readonly string[]} wanted  as `navigator.languages` @returns {Language} */
  function choose(wanted) {
    for (const tag of wanted) {
      const found = LANGUAGES.find((one) => one === tag.toLowerCase().split("-")[0]);
      if (found) return found;
    }
    return "en";
  }

  /** @returns {Wishes} of the address and of the browser */
  function wishes() {
    const address = new URLSearchParams(location.search);
    return {
      template: address.get("template") ?? "default", voice: address.get("voice") ?? "",
      language: choose([address.get("lang") ?? "", ...navigator.languages]),
    };
  }

  /** Arguments of `start_session`. @param {Wishes} wishes */
  function request({ template, voice, language }) {
    return {
      template_id: template, idle: "loop", cut_margin_ms: CUT_MARGIN_MS, idle_timeout_s: IDLE_S, language,
      ...(voice ? { voice } : {}),
    };
  }

  /** @type {Begun | null} */
  let begun = null;

  /** What was begun for `wishes`; nothing more is done about it here. Once. @returns {Begun | null} */
  function take() {
    const one = begun;
    begun = null;
    if (one) one.over = true;
    return one;
  }

  /** @param {string} path @param {string} body @param {RequestInit} [more] */
  const post = (path, body, more) => fetch(path, { method: "POST", body, headers: { "Content-Type": "application/json" }, ...more });

  /** @param {Begun} one */
  async function begin(one) {
    const response = await one.response;
    if (one.over || !response.ok) return;
    const { session_id: id, mime } = await response.clone().json();
    const end = () => post("api/end_session", JSON.stringify({ session_id: id, drain: false }), { keepalive: true });
    addEventListener("pagehide", () => { if (!one.over) end(); });
    if (one.over) return;
    const address = new URL(`ws/${id}?from_seq=0&from_n=0`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address, ["musecast"]);
    socket.binaryType = "arraybuffer";
    /** @type {Live} */
    const live = (one.live = { socket, messages: new Map(), media: null, buffer: null });
    const show = () => { if (!one.over) feed(live); };
    socket.onmessage = ({ data }) => {
      live.messages.set(data, { at: performance.now(), fed: false });
      if (live.messages.size > MESSAGES) socket.close();
      show();
    };
    const video = /** @type {HTMLVideoElement | null} */ (document.getElementById("video"));
    if (!video || !globalThis.MediaSource?.isTypeSupported(mime)) return;
    const media = new MediaSource();
    const url = URL.createObjectURL(media);
    media.onsourceopen = () => {
      URL.revokeObjectURL(url);
      if (one.over) return;
      media.duration = Infinity;
      live.media = media;
      live.buffer = media.addSourceBuffer(mime);
      live.buffer.onupdateend = show;
      show();
    };
    video.src = url;
    video.play().catch(() => {});
  }

  /** Give the buffer the next message with media, `init` first; events are for the player. @param {Live} live */
  function feed({ buffer, messages }) {
    if (!buffer || buffer.updating) return;
    for (const [message, state] of messages) {
      if (state.fed) continue;
      const payload = new Uint8Array(message, 4 + new DataView(message).getUint32(0));
      if (!payload.length) continue;
      buffer.appendBuffer(payload);
      state.fed = true;
      return;
    }
  }

  const prerendered = /** @type {{prerendering?: boolean}} */ (document).prerendering;
  /** A page that the browser has loaded on suspicion takes no place until somebody looks at it. */
  const opened = new Promise((resolve) => {
    if (prerendered) document.addEventListener("prerenderingchange", resolve, { once: true });
    else resolve(undefined);
  });
  // A page that has to show a key begins when its modules are there.
  if (!prerendered && !sessionStorage.getItem("musecast.key") && !location.hash.startsWith("#key=")) {
    begun = { response: post("api/start_session", JSON.stringify(request(wishes()))), over: false };
    begin(begun).catch(() => {});
  }
  return { opened, request, take, wishes };
})();
