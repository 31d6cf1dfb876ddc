import assert from "node:assert/strict";
import { test } from "node:test";

import { START, busy, reduce, word } from "../../../clients/web/js/state.js";

const OPEN = reduce(START, { type: "link", link: "open" });
const header = (event, turn = 1, data = {}) => ({ event, turn, data });
const arrives = (state, ...all) => all.reduce((now, one) => reduce(now, { type: "event", header: one }), state);
const reaches = (state, one) => reduce(state, { type: "media", header: one });

test("a page is connecting, then ready, and listening with the microphone open", () => {
  assert.equal(word(START), "connecting");
  assert.equal(word(OPEN), "idle");
  assert.equal(word(reduce(OPEN, { type: "microphone", on: true })), "listening");
});

test("a spoken question goes from hearing over thinking to speaking", () => {
  const heard = arrives(OPEN, header("user.speech.started"));
  assert.equal(word(heard), "hearing");
  const thought = arrives(heard, header("user.speech.ended"), header("transcript.final"), header("turn.started"));
  assert.equal(word(thought), "thinking");
  const started = arrives(thought, header("speech.started"));
  assert.equal(word(started), "thinking", "the play head is not there yet");
  const speaking = reaches(started, header("speech.started"));
  assert.equal(word(speaking), "speaking");
  assert.equal(word(arrives(speaking, header("speech.ended"), header("turn.ended"))), "speaking");
  assert.equal(word(reaches(speaking, header("speech.ended"))), "idle");
});

test("a short answer is still shown after all of it has arrived", () => {
  const all = arrives(OPEN, header("turn.started"), header("speech.started"), header("speech.ended"), header("turn.ended"));
  assert.equal(word(all), "thinking");
  const speaking = reaches(all, header("speech.started"));
  assert.equal(word(speaking), "speaking");
  const over = reaches(speaking, header("speech.ended"));
  assert.equal(word(over), "idle");
  assert.equal(busy(over), false);
});

test("a turn without sound leaves nothing behind", () => {
  assert.equal(word(arrives(OPEN, header("turn.started"), header("turn.ended"))), "idle");
  assert.equal(word(arrives(OPEN, header("turn.started"), header("turn.failed", 1, { message: "no" }))), "idle");
});

test("an interruption is shown for a moment, and ends what was waiting", () => {
  const started = arrives(OPEN, header("turn.started"), header("turn.started", 2), header("speech.started"));
  const speaking = reaches(started, header("speech.started"));
  const cut = arrives(speaking, header("turn.interrupted", 1, { reason: "client" }), header("turn.interrupted", 2, { reason: "client" }));
  assert.equal(word(cut), "interrupted");
  assert.equal(busy(cut), false);
  assert.equal(word(reduce(cut, { type: "settled" })), "idle");
  assert.equal(word(arrives(cut, header("user.speech.started", 3))), "hearing");
});

test("a turn that is cut shortly before its voice is reached is not spoken, for nobody would tell of its end", () => {
  const cut = arrives(OPEN, header("turn.started"), header("speech.started"), header("turn.interrupted", 1, { reason: "client" }));
  const reached = reaches(cut, header("speech.started"));
  assert.equal(word(reached), "interrupted");
  assert.equal(busy(reached), false);
  assert.equal(word(reduce(reached, { type: "settled" })), "idle");
});

test("a cough interrupts nothing", () => {
  const speaking = reaches(arrives(OPEN, header("turn.started"), header("speech.started")), header("speech.started"));
  const coughed = arrives(speaking, header("user.speech.started", 2), header("user.speech.ended", 2), header("turn.interrupted", 2, { reason: "no_speech" }));
  assert.equal(word(coughed), "speaking");
});

test("a lost connection, a reduced picture, an end and an error are told", () => {
  assert.equal(word(reduce(OPEN, { type: "link", link: "reconnecting" })), "reconnecting");
  const less = arrives(OPEN, header("degraded", 0, { level: "skip" }));
  assert.equal(word(less), "degraded");
  assert.equal(word(arrives(less, header("recovered", 0))), "idle");
  assert.equal(word(arrives(OPEN, header("session.ended", 0, { reason: "expired" }))), "ended");
  assert.equal(word(reduce(OPEN, { type: "error", message: "no" })), "error");
  assert.equal(word(reduce(OPEN, { type: "session" })), "connecting");
});
