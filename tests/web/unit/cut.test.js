import assert from "node:assert/strict";
import { test } from "node:test";

import { Cuts, DECODED_AHEAD_US, HOLD_US, holds, seeks } from "../../../clients/web/js/cut.js";

const Q = 320_000;
const media = (seq, gen, turn, at, dur = 1) => ({ seq, gen, turn, pts: at * Q, dur: dur * Q });

/** Segments 0 to 3 of turn 1 are held. */
function speaking() {
  const cuts = new Cuts();
  for (let i = 0; i < 4; i += 1) assert.deepEqual(cuts.media(media(i, 0, 1, i)), { valid: true, cut: null });
  return cuts;
}

test("an event cuts what is held from flush_from on, and the next media lands on it", () => {
  const cuts = speaking();
  assert.equal(cuts.interrupted({ flushFrom: 2 * Q, turn: 1 }), 2 * Q);
  assert.deepEqual(cuts.held.map((one) => one.seq), [0, 1]);
  assert.deepEqual(cuts.media(media(4, 1, 2, 2)), { valid: true, cut: null });
  assert.equal(cuts.landed(), 2 * Q);
  assert.equal(cuts.landed(), null);
});

test("without an event the first media of a higher generation cuts", () => {
  const cuts = speaking();
  assert.deepEqual(cuts.media(media(4, 1, 2, 2)), { valid: true, cut: 2 * Q });
  assert.deepEqual(cuts.held.map((one) => one.seq), [0, 1, 4]);
  assert.equal(cuts.landed(), 2 * Q);
});

test("a reply that overtakes the stream makes void the old media that follows it", () => {
  const cuts = speaking();
  assert.equal(cuts.interrupted({ flushFrom: 2 * Q, gen: 1 }), 2 * Q);
  assert.equal(cuts.media(media(4, 0, 1, 4)).valid, false);
  assert.equal(cuts.interrupted({ flushFrom: 2 * Q, turn: 1 }), 2 * Q);
  assert.deepEqual(cuts.media(media(5, 1, 0, 2)), { valid: true, cut: null });
});

test("a reply that comes after its media cuts nothing any more", () => {
  const cuts = speaking();
  cuts.interrupted({ flushFrom: 2 * Q, turn: 1 });
  cuts.media(media(4, 1, 2, 2));
  cuts.landed();
  assert.equal(cuts.interrupted({ flushFrom: 2 * Q, gen: 1 }), null);
  assert.equal(cuts.held.at(-1).seq, 4);
});

test("media of an older generation is void", () => {
  const cuts = speaking();
  cuts.media(media(4, 1, 2, 2));
  assert.equal(cuts.media(media(5, 0, 1, 4)).valid, false);
});

test("an event that is read again after a reconnect cuts nothing of the new generation", () => {
  const cuts = speaking();
  cuts.media(media(4, 1, 2, 2));
  cuts.landed();
  assert.equal(cuts.interrupted({ flushFrom: 2 * Q, turn: 1 }), null);
  assert.deepEqual(cuts.held.map((one) => one.seq), [0, 1, 4]);
});

test("a second cut at the same place takes back the new generation, too", () => {
  const cuts = speaking();
  cuts.media(media(4, 1, 2, 2));
  cuts.landed();
  assert.equal(cuts.interrupted({ flushFrom: 2 * Q, turn: 2 }), 2 * Q);
  assert.deepEqual(cuts.held.map((one) => one.seq), [0, 1]);
});

test("a sound that asked for nothing cuts nothing", () => {
  const cuts = speaking();
  assert.equal(cuts.interrupted({ flushFrom: 2 * Q, turn: 2, reason: "no_speech" }), null);
  assert.equal(cuts.held.length, 4);
});

test("what was played is forgotten, so a long session holds no more than a short one", () => {
  const cuts = new Cuts();
  for (let i = 0; i < 1000; i += 1) {
    cuts.media(media(i, 0, 1, i));
    cuts.forget((i - 30) * Q);
  }
  assert.ok(cuts.held.length < 40);
  assert.equal(cuts.at(990 * Q).seq, 990);
});

test("a seek is needed behind the cut, and before it where old picture is already decoded", () => {
  for (const [browser, ahead] of Object.entries(DECODED_AHEAD_US)) {
    assert.ok(seeks(2 * Q + 1, 2 * Q, false, ahead), browser);
    assert.ok(seeks(2 * Q - ahead + 1, 2 * Q, true, ahead), browser);
    assert.ok(!seeks(2 * Q - ahead, 2 * Q, true, ahead), browser);
    assert.ok(!seeks(2 * Q - 1, 2 * Q, false, ahead), `${browser}: it is paused, so it plays on by itself`);
  }
});

test("the play head stands before a cut until its media is there, or where all that is there ends", () => {
  assert.ok(!holds(2 * Q, null, true));
  assert.ok(!holds(2 * Q - HOLD_US - 1, 2 * Q, false));
  assert.ok(holds(2 * Q - HOLD_US, 2 * Q, false));
  assert.ok(holds(2 * Q + 1, 2 * Q, false), "the event came late");
  assert.ok(holds(Q, 2 * Q, true));
});
