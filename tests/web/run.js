// node run.js BROWSER BASE '[{"name": ..., ...arguments}]': one line of JSON per scenario. What only the other side
// can do, such as killing a process, is asked for by a line {"ask": ...} and answered by a line.
import { createInterface } from "node:readline";

import { open } from "./browsers.js";
import * as scenarios from "./scenarios.js";

const [, , name, base, list, options = "{}"] = process.argv;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const tell = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

/** @param {string} what @param {object} [args] @returns {Promise<any>} */
async function host(what, args = {}) {
  tell({ ask: what, ...args });
  return JSON.parse((await lines.next()).value);
}

/**
 * The sessions of a scenario end with it: speech that nobody sees would take the processor from the next one.
 * @param {string} at @param {string} [key]
 */
async function tidy(at, key) {
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  const reply = await fetch(`${at}/api/status`, { headers });
  const { sessions } = await reply.json();
  for (const { session_id } of sessions) {
    const body = JSON.stringify({ session_id, drain: false });
    await fetch(`${at}/api/end_session`, { method: "POST", headers, body });
  }
}

const browser = await open(name, JSON.parse(options));
try {
  for (const { name: scenario, label = scenario, ...args } of JSON.parse(list)) {
    const began = performance.now();
    try {
      const result = await scenarios[scenario]({ browser, base, host, ...args });
      tell({ scenario: label, result, took_s: (performance.now() - began) / 1000 });
    } catch (error) {
      tell({ scenario: label, failed: String(error.stack ?? error), took_s: (performance.now() - began) / 1000 });
    }
    await tidy(args.base ?? base, args.key).catch(() => {});  // a scenario that failed may leave no gateway
  }
} finally {
  await browser.close();
}
process.exit(0);
