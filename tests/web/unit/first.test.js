// The script that the document carries, run as a browser runs it, with a page around it that notes what it does.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { runInNewContext } from "node:vm";

const source = readFileSync(new URL("../../../clients/web/js/first.js", import.meta.url), "utf8");

function run({ search = "", hash = "", key = null, languages = ["en"], prerendering = false } = {}) {
  const asked = [];
  const listeners = {};
  const globals = {
    URLSearchParams, console, JSON,
    location: { search, hash },
    navigator: { languages },
    sessionStorage: { getItem: () => key },
    document: { prerendering, addEventListener: (name, run) => { listeners[name] = run; } },
    fetch: (path, { body }) => (asked.push([path, JSON.parse(body)]), new Promise(() => {})),
  };
  const first = runInNewContext(`${source}; first`, globals);
  return { first, asked, listeners };
}

test("a session is asked for at once, as the address and the browser wish, and handed over once", () => {
  const { first, asked } = run({ search: "?template=ada&voice=amy", languages: ["de-CH", "zh-Hant-TW", "en"] });
  assert.equal(asked.length, 1);
  const [path, body] = asked[0];
  assert.equal(path, "api/start_session");
  assert.deepEqual([body.template_id, body.voice, body.language], ["ada", "amy", "zh"]);
  assert.deepEqual(body, JSON.parse(JSON.stringify(first.request(first.wishes()))), "as the page would ask");
  assert.ok(first.take().over);
  assert.equal(first.take(), null);
});

test("the browser's first language that the page speaks is taken, the address before it", () => {
  const language = (languages, search) => run({ languages, search }).asked[0][1].language;
  assert.equal(language(["fr"]), "en");
  assert.equal(language(["en-GB", "zh"]), "en");
  assert.equal(language(["en-GB"], "?lang=zh"), "zh");
});

test("a page that has to show a key begins when its modules are there", () => {
  for (const page of [run({ key: "secret" }), run({ hash: "#key=secret" })]) {
    assert.deepEqual(page.asked, []);
    assert.equal(page.first.take(), null);
  }
});

test("a page that is loaded on suspicion takes no session until somebody looks at it", async () => {
  const { first, asked, listeners } = run({ prerendering: true });
  assert.deepEqual(asked, []);
  assert.equal(await Promise.race([first.opened.then(() => "opened"), new Promise((done) => setImmediate(done, "not yet"))]), "not yet");
  listeners.prerenderingchange();
  await first.opened;
});
