import assert from "node:assert/strict";
import { test } from "node:test";

import { CatchUp, Clock, OFFSET_US, Stall, leadOf, newestTurn } from "../../../clients/web/js/catchup.js";
import { Moments } from "../../../clients/web/js/moments.js";

const Q = 320_000;
const MS = 1000;
const media = (seq, turn, at) => ({ seq, gen: 0, turn, pts: at * Q, dur: Q });

test("from the first segment on the clock is the session's", () => {
  const clock = new Clock();
  assert.equal(clock.time(5), null);
  clock.arrived(media(0, 1, 0), 1000 * MS);
  for (const i of [1, 2, 3]) clock.arrived(media(i, 1, i), 1001 * MS);
  assert.equal(clock.time(1100 * MS), 100 * MS);
  assert.equal(clock.time(9000 * MS), 4 * Q, "it stands still at the end of what there is");
});

test("who joins late knows the clock by the lead, and a late segment anchors it anew", () => {
  const clock = new Clock();
  clock.arrived(media(50, 0, 50), 0);
  assert.equal(clock.time(0), 50 * Q - 640 * MS);
  clock.arrived(media(51, 0, 51), 300 * MS); // came faster than the estimate allows: it was too low
  assert.equal(clock.time(300 * MS), 51 * Q - 640 * MS);
  clock.arrived(media(52, 0, 52), 5000 * MS);
  assert.equal(clock.time(5000 * MS), 52 * Q);
});

test("the lead is the daemon's own, as its limits say it", () => {
  for (const [limits, speech, idle] of [[undefined, 1000, 640], [{}, 1000, 640], [{ lead_ms: 400, idle_lead_ms: 1280 }, 400, 1280]]) {
    for (const [turn, ms] of [[3, speech], [0, idle]]) {
      const clock = new Clock(leadOf(limits));
      clock.arrived(media(50, turn, 50), 0);
      assert.equal(clock.time(0), 50 * Q - ms * MS);
    }
  }
});

test("the rate helps only a little, never speech by more than 5 %, and ends where it is on time", () => {
  const catchUp = new CatchUp({ changesRate: true });
  const at = (lag, idle) => catchUp.next({ lag: lag * MS, idle, now: 0 });
  assert.deepEqual(at(300, false), { rate: 1, seek: false });
  assert.deepEqual(at(500, false), { rate: 1.05, seek: false });
  assert.deepEqual(at(200, false), { rate: 1.05, seek: false });
  assert.deepEqual(at(OFFSET_US / MS, false), { rate: 1, seek: false });
  assert.deepEqual(at(-200, false), { rate: 1, seek: false }, "speech is not slowed down");
  assert.deepEqual(at(-200, true), { rate: 0.9, seek: false });
  assert.deepEqual(at(100, true), { rate: 0.9, seek: false });
  assert.deepEqual(at(130, true), { rate: 1, seek: false });
});

test("far behind it seeks, never in speech, and not all the time", () => {
  const catchUp = new CatchUp({ changesRate: true });
  assert.equal(catchUp.next({ lag: 9000 * MS, idle: false, now: 0 }).seek, false);
  assert.equal(catchUp.next({ lag: 2000 * MS, idle: true, now: 0 }).seek, true);
  assert.equal(catchUp.next({ lag: 2000 * MS, idle: true, now: 1000 * MS }).seek, false);
  assert.equal(catchUp.next({ lag: 2000 * MS, idle: true, now: 5001 * MS }).seek, true);
});

test("what a slow start has left behind is jumped over, once", () => {
  const late = (catchUp, idle) => {
    catchUp.next({ lag: 0, idle, now: 0 });
    return [2000, 2500, 9000].map((ms) => catchUp.next({ lag: 900 * MS, idle, now: ms * MS }));
  };
  const hurry = { rate: 1.05, seek: false };
  const [idling, speaking] = [new CatchUp({ changesRate: true }), new CatchUp({ changesRate: true })];
  assert.deepEqual(late(idling, true), [{ rate: 1, seek: true }, hurry, hurry]);
  assert.deepEqual(late(speaking, false), [hurry, hurry, hurry], "speech is not skipped");
});

test("no changed rate right after a cut, and none at all in Safari", () => {
  const catchUp = new CatchUp({ changesRate: true });
  catchUp.cut(0);
  assert.equal(catchUp.next({ lag: 800 * MS, idle: false, now: 900 * MS }).rate, 1);
  assert.equal(catchUp.next({ lag: 800 * MS, idle: false, now: 1100 * MS }).rate, 1.05);
  assert.equal(new CatchUp({ changesRate: false }).next({ lag: 800 * MS, idle: true, now: 0 }).rate, 1);
});

test("a stall is a play head that could move: three nudges, then a new source", () => {
  const stall = new Stall();
  const told = [];
  for (let now = 0; now < 6_000_000; now += 250_000) {
    told.push(stall.look({ position: now < 1_000_000 ? now : 1_000_000, ahead: 300_000, running: true, now }));
  }
  assert.deepEqual(told.filter((what) => what !== "none").slice(0, 4), ["nudge", "nudge", "nudge", "rebuild"]);
  assert.equal(told.indexOf("nudge"), 4 + 2);
});

test("to wait at the end of what there is, or in a hidden page, is no stall", () => {
  for (const state of [{ ahead: 100_000, running: true }, { ahead: 900_000, running: false }]) {
    const stall = new Stall();
    for (let now = 0; now < 9_000_000; now += 250_000) {
      assert.equal(stall.look({ position: 5, now, ...state }), "none");
    }
  }
});

test("a decoder that starts has more time", () => {
  const stall = new Stall();
  const told = [0, 500_000, 1_000_000, 1_900_000, 2_100_000].map((now) =>
    stall.look({ position: 7, ahead: 320_000, running: true, now }));
  assert.deepEqual(told, ["none", "none", "none", "none", "nudge"]);
});

test("after a time away the newest turn is what counts", () => {
  const held = [media(1, 1, 1), media(2, 1, 2), media(3, 2, 3), media(4, 2, 4)];
  assert.equal(newestTurn(held, 0), 3 * Q);
  assert.equal(newestTurn(held, 4 * Q), null);
  assert.equal(newestTurn([media(1, 0, 1), media(2, 0, 2)], 0), 2 * Q, "idle video: the newest");
  assert.equal(newestTurn([], 0), null);
});

test("moments come in the order of media time, and not those that a cut made void", () => {
  const moments = new Moments();
  const seen = [];
  for (const pts of [300, 100, 200, 100, 400]) moments.add(pts, () => seen.push(pts));
  moments.reach(99);
  assert.deepEqual(seen, []);
  assert.equal(moments.next(), 100);
  moments.reach(200);
  assert.deepEqual(seen, [100, 100, 200]);
  moments.drop(400);
  moments.reach(1000);
  assert.deepEqual(seen, [100, 100, 200, 300]);
  assert.equal(moments.next(), null);
});
