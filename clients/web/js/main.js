// @ts-check
/** The page: one session, its face, its words, and what the visitor can do. */

import { call, key } from "./api.js";
import { Captions } from "./captions.js";
import { Conversation } from "./conversation.js";
import { Debug } from "./debug.js";
import { $, el, setIcon } from "./dom.js";
import { Gallery } from "./gallery.js";
import { language, speak, text } from "./i18n.js";
import * as keys from "./keys.js";
import * as latency from "./latency.js";
import * as notes from "./notes.js";
import { Player } from "./player.js";
import { Sessions } from "./sessions.js";
import { START, busy, reduce, word } from "./state.js";
import { Talk } from "./talk.js";

/** How long an interruption is shown as such. */
const INTERRUPTED_MS = 1500;
/** So many attempts may fail before the visitor is told why nothing moves. */
const QUIET_ATTEMPTS = 2;
/** A session that has not begun by then waits for its face to be drawn. */
const PREPARING_MS = 1000;
const QUESTIONS = ["ask.1", "ask.2", "ask.3"];

key.takeFromAddress();
const wishes = first.wishes();
speak(wishes.language);

const video = /** @type {HTMLVideoElement} */ ($("video"));
const conversation = new Conversation();
const captions = new Captions(conversation, video);
const debug = new Debug();
let state = START;
let preparing = false;
let faceTimer = 0;
/** By turn: when the visitor had said all, by `performance.now()`. @type {Map<number, number>} */
const asked = new Map();
const arrivals = new latency.Arrivals();
/** Of the newest turn with figures. @type {{turn: number, timings: Record<string, number|null>, shownMs: number|null}} */
let figures = { turn: 0, timings: {}, shownMs: null };

const player = new Player(video, { url: "", onEvent, onMediaTime, onState, onNotice, onStats: (stats) => debug.measured(stats) });
const sessions = new Sessions(player, {
  onBegun: () => { awaitFace(false); notes.clear("session"); asked.clear(); arrivals.turn = conversation.bargedIn = 0; showTranscript(); dispatch({ type: "session" }); },
  onAway(attempt) {
    awaitFace(false);
    dispatch({ type: "link", link: state.link === "connecting" ? "connecting" : "reconnecting" });
    if (attempt >= QUIET_ATTEMPTS) notes.tell("session", text("note.offline"));
  },
  onBusy: () => { awaitFace(false); notes.tell("session", text("note.busy"), { label: "retry", act: begin }); },
  onRefused: (message) => stopped(text("error.start", { reason: message })),
});
const talk = new Talk(player, { onOpen: (on) => dispatch({ type: "microphone", on }) });
const gallery = new Gallery({
  current: () => wishes.template,
  onPick(template) { wishes.template = template; begin(); },
});

function begin() {
  if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) video.poster = key.get() ? "" : `api/templates/${wishes.template}/picture.jpg`;  // an address cannot show the key
  dispatch({ type: "session" });
  awaitFace(true);
  sessions.begin(wishes);
}

/** @param {boolean} waiting  a session was asked for; a face that nobody has used yet is drawn first */
function awaitFace(waiting) {
  clearTimeout(faceTimer);
  preparing = false;
  if (waiting) faceTimer = setTimeout(() => { preparing = true; dispatch({ type: "link", link: state.link }); }, PREPARING_MS);
}

/** What the chip says. */
function said() {
  return text(preparing && word(state) === "connecting" ? "state.preparing" : `state.${word(state)}`);
}

/** @param {import("./state.js").Action} action */
function dispatch(action) {
  const before = word(state);
  state = reduce(state, action);
  const now = word(state);
  $("stop").disabled = !busy(state);
  if (now === before && $("state-text").textContent === said()) return;
  $("stage").dataset.state = now;
  $("state-text").textContent = said();
  setIcon($("state"), `i-${now}`);
  if (now === "interrupted") setTimeout(() => dispatch({ type: "settled" }), INTERRUPTED_MS);
}

/** @param {string} message */
function stopped(message) {
  dispatch({ type: "error", message });
  notes.tell("session", message, { label: "retry", act: begin });
}

/** @param {any} header */
function onEvent(header) {
  debug.add("event", { n: header.n, event: header.event, turn: header.turn, pts: header.pts, data: header.data });
  const { event, turn, data } = header;
  arrivals.add(event, turn, performance.now());
  if (event === "user.speech.ended") asked.set(turn, talk.voicedAt || performance.now());
  if (event === "turn.interrupted") captions.silent();
  if (event === "turn.ended" && data.timings_ms) measured(turn, { timings: data.timings_ms });
  if (event === "degraded") $("state").title = data.reason ?? data.level;
  if (event === "recovered") $("state").title = "";
  if (event === "session.ended") over = data.reason;
  conversation.arrived(header);
  captions.draw();
  dispatch({ type: "event", header });
}

/** Why the session ended; it is told before the socket closes. */
let over = "";

/** @param {any} header */
function onMediaTime(header) {
  const { event, turn } = header;
  const sentence = conversation.reached(header);
  if (sentence) {
    captions.say(sentence, header.data.pts ?? header.pts, header.data.dur);
    captions.draw();
  }
  if (event === "speech.started" && asked.has(turn)) {
    const at = /** @type {number} */ (asked.get(turn));
    measured(turn, { shownMs: performance.now() - at, timings: arrivals.timings(turn, at) });
    asked.delete(turn);
  }
  if (event === "speech.ended") captions.silent();
  dispatch({ type: "media", header });
}

/** @param {number} turn @param {Partial<typeof figures>} found */
function measured(turn, found) {
  figures = { ...(turn === figures.turn ? figures : { turn, timings: {}, shownMs: null }), ...found };
  latency.draw(figures.timings, figures.shownMs);
}

/** @param {string} name @param {Record<string, any>} detail */
function onState(name, detail) {
  debug.add("state", { state: name, ...detail });
  if (name === "reconnecting" && over === "shutdown") {  // the session is gone; there is nothing to come back to
    over = sessions.id = "";
    sessions.begin(wishes);
    return;
  }
  if (name === "connecting" || name === "reconnecting") dispatch({ type: "link", link: name });
  if (name === "live") { notes.clear("session"); dispatch({ type: "link", link: "open" }); }
  if (name === "failed") stopped(text("error.media", { reason: detail.message }));
  if (name === "refused") begin();
  if (name !== "ended") return;
  const reason = over;
  over = "";
  sessions.id = "";
  // The daemon was started anew, or forgot the session while the page was away: go on with another one.
  if (detail.code === 4404) sessions.begin(wishes);
  else {
    dispatch({ type: "link", link: "ended" });
    notes.tell("session", text(reason === "expired" ? "note.expired" : "note.ended"), { label: "again", act: begin });
  }
}

/** @param {string} code @param {Record<string, any>} detail */
function onNotice(code, detail) {
  debug.add("notice", { code, ...detail });
  if (code === "blocked") { notes.tell("sound", text("note.blocked"), { label: "sound.on", act: hear }); showSound(); }
  if (code === "skipped") notes.tell("skipped", text("note.skipped"));
  if (code === "microphone-dropped") notes.tell("slow", text("mic.slow"));
}

/** The visitor has begun: sound from here on, and the conversation in place of the invitation. */
function engage() {
  hear();
  if ($("intro").hidden) return;
  $("intro").hidden = true;
  $("voice-row").hidden = false;
  captions.draw();
  stayAwake();
}

/** The browser lets the lock go with a page that is not looked at. */
function stayAwake() {
  if ($("intro").hidden && !document.hidden) navigator.wakeLock?.request("screen").catch(() => {});
}
document.addEventListener("visibilitychange", stayAwake);

function hear() {
  player.mute(false);
  player.unlock().then(showSound);
  notes.clear("sound");
  showSound();
}

function showSound() {
  const label = text(player.silent ? "sound.on" : "sound.off");
  $("sound").setAttribute("aria-label", label);
  $("sound").title = label;
  setIcon($("sound"), player.silent ? "i-sound-off" : "i-sound");
}

/** @param {string} words */
async function send(words) {
  engage();
  const line = conversation.add("you", null, words);
  captions.draw();
  $("log").scrollTop = $("log").scrollHeight;
  const at = performance.now();
  try {
    if (busy(state)) interrupt();
    const { turn } = await player.request("chat", { text: words });
    conversation.accepted(line, turn);
    captions.draw();
    asked.set(turn, at);
    // The stream may be quicker than the reply, and even have told of the turn's end.
    if (turn > arrivals.turn) dispatch({ type: "event", header: { event: "turn.started", turn, data: {} } });
  } catch (error) {
    line.note = /** @type {Error} */ (error).message;
    captions.draw();
  }
}

function interrupt() {
  if (!busy(state)) return;
  captions.silent();
  player.interrupt().catch((error) => debug.add("error", { message: String(error) }));
}

async function showSettings() {
  $("settings").showModal();
  const { voices } = await call("api/voices").catch(() => ({ voices: [] }));
  const fitting = voices.filter((/** @type {any} */ one) => String(one.language).split("-")[0] === wishes.language);
  $("voice").replaceChildren(el("option", { value: "" }, text("settings.auto")),
    ...fitting.map((/** @type {any} */ one) => el("option", { value: one.name }, `${one.name} (${one.engine})`)));
  $("voice").value = wishes.voice;
}

/** @param {object} change  in force from the next turn */
const update = (change) => call("api/update_session", { session_id: sessions.id, ...change })
  .catch((error) => notes.tell("settings", error.message));

function showTranscript() {
  $("transcript").hidden = false;
  $("transcript").href = `api/sessions/${sessions.id}/transcript.vtt`;
}

/** A plain link cannot show the key: its address gets a token of this session. */
$("transcript").addEventListener("click", async (/** @type {Event} */ event) => {
  if (!key.get()) return;
  event.preventDefault();
  const token = await sessions.token().catch(() => "");
  el("a", { href: `${$("transcript").href}?token=${token}`, download: "" }).click();
});

/** Words that are made here, not in index.html. */
function label() {
  document.title = text("title");
  $("language").value = language();
  $("asks").replaceChildren($("asks").firstElementChild, ...QUESTIONS.map((one) => el("button", { type: "button", onclick: () => send(text(one)) }, text(one))));
  $("state-text").textContent = said();
  showSound();
  talk.draw();
}

$("start").onclick = () => {
  engage();
  talk.switch(true);
  // The button is gone. Not the message box: a phone would open its keyboard; not a button: Space is to talk.
  $("talk").focus({ preventScroll: true });
};
$("composer").onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  const words = $("message").value.trim();
  if (!words) return;
  $("message").value = "";
  send(words);
};
$("stop").onclick = interrupt;
$("sound").onclick = () => { if (player.silent) hear(); else { player.mute(true); showSound(); } };
$("captions").onclick = () => captions.toggle();
$("open-faces").onclick = () => gallery.open();
$("open-settings").onclick = showSettings;
$("open-help").onclick = () => $("help").showModal();
$("fresh").onclick = () => { $("settings").close(); conversation.lines = []; captions.draw(); begin(); };
$("developer").onchange = () => debug.show($("developer").checked);
$("voice").onchange = () => { wishes.voice = $("voice").value; update({ voice: wishes.voice || null }); };
$("language").onchange = () => {
  speak($("language").value);
  Object.assign(wishes, { language: language(), voice: "" });
  label();
  update({ language: language(), voice: null });
};
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => { if (event.target === dialog && dialog.id !== "key") dialog.close(); });
}
video.addEventListener("volumechange", showSound);
keys.install({
  onHold: (held) => { engage(); talk.hold(held); },
  onInterrupt: interrupt,
  letters: { m: () => talk.switch(false), c: () => captions.toggle(), "?": () => $("help").showModal() },
});

notes.install();
label();
debug.show(new URLSearchParams(location.search).has("debug"));
begin();
