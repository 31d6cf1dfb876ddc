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
  }
} finally {
  await browser.close();
}
process.exit(0);
