import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation, join, spoken } from "../../../clients/web/js/conversation.js";

const header = (event, turn, data = {}) => ({ event, turn, pts: data.pts, data });
const sentence = (turn, index, text, pts, dur = 1e6) => header("sentence", turn, { index, text, pts, dur });

function answered(...sentences) {
  const conversation = new Conversation();
  sentences.forEach((text, index) => conversation.reached(sentence(1, index, text, index * 1e6)));
  return conversation;
}

test("the visitor's words appear while they are recognised", () => {
  const conversation = new Conversation();
  conversation.arrived(header("transcript.partial", 1, { text: "who are" }));
  assert.deepEqual(conversation.lines.map((line) => [line.text, line.final]), [["who are", false]]);
  conversation.arrived(header("transcript.final", 1, { text: "Who are you?" }));
  assert.deepEqual(conversation.lines.map((line) => [line.text, line.final]), [["Who are you?", true]]);
});

test("what was no speech leaves no line", () => {
  const conversation = new Conversation();
  conversation.arrived(header("transcript.partial", 1, { text: "uh" }));
  conversation.arrived(header("turn.interrupted", 1, { reason: "no_speech", flush_from: 0 }));
  assert.equal(conversation.lines.length, 0);
});

test("a sentence is told once, although its end is told later", () => {
  const conversation = new Conversation();
  assert.equal(conversation.reached(sentence(1, 0, "I am Muse.", 0, null)), "I am Muse.");
  assert.equal(conversation.reached(sentence(1, 0, "I am Muse.", 0, 9e5)), "");
  assert.deepEqual(spoken(conversation.lines[0]), { heard: "I am Muse.", cut: "" });
});

test("words that were not heard are apart, whatever the spaces", () => {
  const conversation = answered("I am Muse.", "I live here.");
  conversation.arrived(header("turn.interrupted", 1, { flush_from: 1.4e6, spoken_text: "I am  Muse. I live" }));
  assert.deepEqual(spoken(conversation.lines[0]), { heard: "I am Muse. I live", cut: "here." });
});

test("a full stop is heard with its word", () => {
  const conversation = answered("Hello!", "I am Muse.");
  conversation.arrived(header("turn.interrupted", 1, { flush_from: 1e6, spoken_text: "Hello" }));
  assert.deepEqual(spoken(conversation.lines[0]), { heard: "Hello!", cut: "I am Muse." });
});

test("without the words, the media time tells which sentences were heard", () => {
  const conversation = answered("One.", "Two.", "Three.");
  conversation.arrived(header("turn.interrupted", 1, { flush_from: 2.2e6 }));
  assert.deepEqual(spoken(conversation.lines[0]), { heard: "One. Two.", cut: "Three." });
});

test("a sentence of a turn that was cut comes no more", () => {
  const conversation = answered("One.");
  conversation.arrived(header("turn.interrupted", 1, { flush_from: 5e5, spoken_text: "" }));
  assert.equal(conversation.reached(sentence(1, 1, "Two.", 1e6)), "");
  assert.deepEqual(spoken(conversation.lines[0]), { heard: "", cut: "One." });
});

test("Chinese sentences are joined without spaces", () => {
  assert.equal(join(["你好！", "我是缪斯。"]), "你好！我是缪斯。");
  assert.equal(join(["Hello!", "I am Muse."]), "Hello! I am Muse.");
});

test("a failed turn says why, and old lines go", () => {
  const conversation = new Conversation();
  conversation.arrived(header("turn.failed", 1, { code: "FAILED", message: "no voice" }));
  assert.equal(conversation.lines[0].note, "no voice");
  for (let n = 0; n < 500; n += 1) conversation.add("you", null, String(n));
  assert.equal(conversation.lines.length, 200);
});

test("a typed question that a voice cut says so, in whichever order the daemon tells of it", () => {
  const cut = header("turn.interrupted", 4, { reason: "barge_in", flush_from: 0, spoken_text: "" });
  for (const late of [false, true]) {
    const conversation = new Conversation();
    const line = conversation.add("you", null, "Who are you?");
    if (late) conversation.arrived(cut);
    conversation.accepted(line, 4);
    if (!late) conversation.arrived(cut);
    assert.equal(line.unheard, true, `late: ${late}`);
  }
});

test("what was spoken, answered or stopped by its visitor is not told as unheard", () => {
  const conversation = answered("One.");
  const asked = conversation.add("you", null, "Count.");
  conversation.accepted(asked, 1);
  conversation.arrived(header("transcript.final", 2, { text: "And" }));
  for (const [turn, reason] of [[1, "barge_in"], [2, "barge_in"], [3, "client"]]) {
    conversation.arrived(header("turn.interrupted", turn, { reason, flush_from: 5e5 }));
  }
  assert.deepEqual(conversation.lines.map((line) => line.unheard), [false, false, false]);
});
