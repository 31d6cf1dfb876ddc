// Headers as Python's msgpack writes them: MUSECAST_HEADERS names a file of [base64, expected] (test_modules.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { parse, unpack } from "../../../clients/web/js/frames.js";

const bytes = (...values) => Uint8Array.from(values);

test("every header that Python packs is read as it was", () => {
  const headers = JSON.parse(readFileSync(process.env.MUSECAST_HEADERS, "utf8"));
  assert.ok(headers.length > 10);
  for (const [packed, expected] of headers) {
    const value = unpack(new Uint8Array(Buffer.from(packed, "base64")));
    const plain = JSON.stringify(value, (_, one) => {
      if (typeof one === "bigint") return { big: String(one) };
      return one instanceof Uint8Array ? { bin: Buffer.from(one).toString("hex") } : one;
    });
    assert.deepEqual(JSON.parse(plain), expected);
  }
});

test("a long pts is a number, a Unix time in ns a BigInt", () => {
  assert.equal(unpack(bytes(0xcf, 0, 0, 0, 2, 0, 0, 0, 0)), 2 ** 33);
  assert.equal(unpack(bytes(0xcf, 0x18, 0, 0, 0, 0, 0, 0, 1)), 0x1800000000000001n);
  assert.equal(unpack(bytes(0xd3, 255, 255, 255, 255, 255, 255, 255, 254)), -2);
});

test("what is broken is refused, and nothing is read beyond its end", () => {
  for (const broken of [[], [0xc1], [0xa5, 65], [0x81, 0xa1, 65], [0xc0, 0xc0], [0xdc, 255, 255], [0xd9]]) {
    assert.throws(() => unpack(bytes(...broken)), RangeError, String(broken));
  }
  assert.throws(() => parse(new ArrayBuffer(3)), RangeError);
  assert.throws(() => parse(bytes(0, 0, 0, 9, 0x80).buffer), RangeError);
});

test("a message is header and payload, without a copy", () => {
  const message = bytes(0, 0, 0, 4, 0x81, 0xa1, 110, 7, 1, 2, 3).buffer;
  const { header, payload } = parse(message);
  assert.equal(header.n, 7);
  assert.deepEqual([...payload], [1, 2, 3]);
  assert.equal(payload.buffer, message);
});

test("no key of a header reaches a prototype", () => {
  const { header } = parse(bytes(0, 0, 0, 12, 0x81, 0xa9, ...Buffer.from("__proto__"), 0x80).buffer);
  assert.equal(Object.getPrototypeOf(header), null);
});
