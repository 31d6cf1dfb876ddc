import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { freeId } from "../../../clients/web/js/gallery.js";
import { Arrivals, parts } from "../../../clients/web/js/latency.js";
import { WORDS as STATES } from "../../../clients/web/js/state.js";
import { WORDS } from "../../../clients/web/js/words.js";

const web = new URL("../../../clients/web/", import.meta.url);
const sources = ["index.html", ...readdirSync(new URL("js/", web)).filter((one) => one !== "words.js").map((one) => `js/${one}`)]
  .map((one) => readFileSync(new URL(one, web), "utf8")).join("\n");
const PREFIXES = ["state.", "latency.", "mic.", "ask."];

test("both languages have the same keys, and the same values in them", () => {
  assert.deepEqual(Object.keys(WORDS.zh), Object.keys(WORDS.en));
  for (const [key, english] of Object.entries(WORDS.en)) {
    const values = (text) => (text.match(/\{\w+\}/g) ?? []).sort();
    assert.deepEqual(values(WORDS.zh[key]), values(english), key);
  }
});

test("every word that the page asks for is there, and none is left over", () => {
  const asked = [...sources.matchAll(/(?:data-(?:text|label)=|\btext\(|label: )"([\w.]+)"/g)].map((found) => found[1]);
  assert.ok(asked.length > 40, "the pattern finds them");
  for (const key of [...asked, ...STATES.map((one) => `state.${one}`)]) assert.ok(key in WORDS.en, key);
  const unused = Object.keys(WORDS.en).filter((key) => !sources.includes(`"${key}"`) && !PREFIXES.some((one) => key.startsWith(one)));
  assert.deepEqual(unused, []);
});

test("a new face gets an id that nobody has", () => {
  assert.equal(freeId("Déjà vu (2).JPG", []), "deja-vu-2");
  assert.equal(freeId("me.jpg", ["me", "me-2"]), "me-3");
  assert.equal(freeId("我.png", []), "face");
  assert.match(freeId(`${"x".repeat(300)}.png`, []), /^[A-Za-z0-9_-]{1,64}$/);
});

test("the parts of an answer's time add up, whatever was not passed", () => {
  const timings = { vad_end: 0, asr_final: 131, llm_first_token: 140, llm_first_sentence: 150, tts_first_audio: 250, lipsync_first: null, encode_first: 330, first_segment: 402, last_segment: 2210 };
  assert.deepEqual(parts(timings, 480), [
    { name: "hearing", ms: 131 }, { name: "answer", ms: 19 }, { name: "voice", ms: 100 }, { name: "video", ms: 152 }, { name: "screen", ms: 78 },
  ]);
  assert.deepEqual(parts({}, null), []);
  assert.deepEqual(parts({ asr_final: 50, first_segment: 40 }, 45), [{ name: "hearing", ms: 50 }]);
});

test("the events of a turn tell the parts of its time as far as they have come", () => {
  const arrivals = new Arrivals();
  const told = [["turn.started", 90], ["reply.delta", 150], ["reply.delta", 180], ["sentence", 300], ["speech.started", 420]];
  for (const [event, at] of told) arrivals.add(event, 2, at);
  arrivals.add("turn.interrupted", 1, 430);
  assert.deepEqual(parts(arrivals.timings(2, 100), 400), [
    { name: "answer", ms: 50 }, { name: "voice", ms: 150 }, { name: "video", ms: 120 }, { name: "screen", ms: 80 },
  ]);
  arrivals.add("turn.started", 3, 500);
  assert.deepEqual(arrivals.timings(3, 500), {});
  assert.deepEqual(arrivals.timings(2, 100), {}, "only of the newest turn");
});

test("the page asks for all of its modules at once", () => {
  const read = (name) => readFileSync(new URL(`js/${name}`, web), "utf8");
  const needed = new Set();
  const follow = (name) => {
    for (const [, next] of read(name).matchAll(/from "\.\/([\w-]+\.js)"/g)) {
      if (!needed.has(next)) follow([...needed.add(next)].at(-1));
    }
  };
  follow("main.js");
  const page = readFileSync(new URL("index.html", web), "utf8");
  const preloaded = [...page.matchAll(/rel="modulepreload" href="js\/([\w-]+\.js)"/g)].map((found) => found[1]);
  assert.deepEqual(preloaded.sort(), [...needed].sort());
});
