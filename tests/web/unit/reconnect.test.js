import assert from "node:assert/strict";
import { test } from "node:test";

import { Cursor, FINAL, delay } from "../../../clients/web/js/reconnect.js";

test("the wait doubles up to 8 s and is spread by 20 %", () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 1000].map((n) => delay(n, 0.5)), [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
  assert.equal(delay(0, 0), 200);
  assert.equal(delay(0, 1), 300);
});

test("only the end and a refusal are final", () => {
  assert.deepEqual([1000, 4404, 1008].map((code) => FINAL[code]), ["ended", "ended", "refused"]);
  for (const code of [1001, 1006, 1011, 1012, 1013]) assert.equal(FINAL[code], undefined);
});

test("a new viewer asks for nothing, one of a new session for all, one that was there for the rest", () => {
  assert.equal(new Cursor().query(), "");
  const cursor = new Cursor({ fromSeq: 0, fromN: 0 });
  assert.equal(cursor.query(), "from_seq=0&from_n=0");
  assert.ok(cursor.take({ kind: "init", boot: "a", seq: null }));
  assert.ok(cursor.take({ kind: "media", boot: "a", seq: 0 }));
  assert.ok(cursor.take({ kind: "media", boot: "a", seq: 1 }));
  assert.ok(cursor.take({ event: "turn.started", boot: "a", n: 0 }));
  assert.equal(cursor.query(), "from_seq=2&from_n=1");
  assert.equal(cursor.query(false), "from_n=1");
});

test("nothing is taken twice, and a hole is passed over", () => {
  const cursor = new Cursor();
  const take = (seq) => cursor.take({ kind: "media", boot: "a", seq });
  assert.deepEqual([5, 6, 6, 5, 9, 8].map(take), [true, true, false, false, true, false]);
});

test("another start of the daemon numbers anew", () => {
  const cursor = new Cursor();
  cursor.take({ kind: "media", boot: "a", seq: 70 });
  assert.ok(cursor.take({ kind: "media", boot: "b", seq: 0 }));
  assert.equal(cursor.query(), "from_seq=1");
});
