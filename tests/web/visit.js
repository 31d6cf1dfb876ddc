// What a visitor of the page does, in Chromium; each returns what test_page.py judges.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const LIMIT_MS = 120_000;
const SERIOUS = ["serious", "critical"];

/** The page, and all that it complained about. */
async function visit({ browser, base }, { locale = "en", query = "" } = {}) {
  const context = await browser.newContext({ locale });
  const page = await context.newPage();
  const connections = { sessions: 0, sockets: 0 };
  page.on("request", (request) => { if (request.url().endsWith("/start_session")) connections.sessions += 1; });
  page.on("websocket", () => { connections.sockets += 1; });
  page.setDefaultTimeout(LIMIT_MS);
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") errors.push(`${message.text()} ${message.location().url}`); });
  const cdp = await context.newCDPSession(page);
  // Some states last for a few frames: what came is kept, not waited for.
  await page.addInitScript(() => addEventListener("DOMContentLoaded", () => {
    const stage = document.getElementById("stage");
    if (!stage) return;  // /docs
    window.states = [stage.dataset.state];
    new MutationObserver(() => window.states.push(stage.dataset.state)).observe(stage, { attributeFilter: ["data-state"] });
    const level = document.getElementById("level");
    window.loudest = 0;
    new MutationObserver(() => { window.loudest = Math.max(window.loudest, level.getAttribute("aria-valuenow")); })
      .observe(level, { attributeFilter: ["aria-valuenow"] });
  }));
  await page.goto(`${base}/${query}`);
  return { page, errors, cdp, connections, close: () => context.close() };
}

const moves = (page) => page.waitForFunction(() => {
  const video = document.getElementById("video");
  return video.currentTime > 0 && video.getVideoPlaybackQuality().totalVideoFrames > 1 && performance.now();
}).then((found) => found.jsonValue());

/** How long the page takes from being opened to a face that moves, `times` times, and where that time goes. */
export async function opening(host, { times = 10 } = host) {
  const context = await host.browser.newContext();
  const openings = [];
  for (let round = 0; round <= times; round += 1) {
    const page = await context.newPage();
    await page.addInitScript(() => {
      const passed = (globalThis.passed = {});
      const pass = (name) => { passed[name] ??= performance.now(); };
      const { fetch: ask, WebSocket: Socket } = globalThis;
      globalThis.fetch = (...args) => {
        if (!String(args[0]).endsWith("start_session")) return ask(...args);
        pass("asked");
        return ask(...args).finally(() => pass("begun"));
      };
      globalThis.WebSocket = class extends Socket {
        constructor(...args) {
          super(...args);
          this.addEventListener("open", () => pass("connected"));
        }
      };
      const append = SourceBuffer.prototype.appendBuffer;
      SourceBuffer.prototype.appendBuffer = function appended(bytes) {
        if (bytes.byteLength > 5000) pass("appended");
        return append.call(this, bytes);
      };
      addEventListener("DOMContentLoaded", () => {
        const video = document.getElementById("video");
        const frame = (_, { mediaTime }) => {
          pass("shown");
          if (mediaTime > 0.04) pass("moved");
          else video.requestVideoFrameCallback(frame);
        };
        video.requestVideoFrameCallback(frame);
      });
    });
    await page.goto(`${host.base}/`);
    await page.waitForFunction(() => globalThis.passed.moved);
    if (round) openings.push(await page.evaluate(() => globalThis.passed)); // the first one fills the browser's cache
    await page.close();
  }
  await context.close();
  return { openings, errors: [] };
}

const state = (page, ...words) => page.waitForFunction((all) => all.includes(document.getElementById("stage").dataset.state), words);
const text = (page, id) => page.locator(`#${id}`).innerText();

/** What axe finds that keeps somebody out. Run through the debugger: the page's own policy forbids other scripts. */
async function barriers(cdp) {
  await cdp.send("Runtime.evaluate", { expression: AXE });
  const { result } = await cdp.send("Runtime.evaluate", { expression: "axe.run()", awaitPromise: true, returnByValue: true });
  return result.value.violations.filter((one) => SERIOUS.includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(" ")).join(", ")}`);
}

/** The first visit: a living face, a question by one click, captions, an interruption. */
export async function text_conversation(host) {
  const { page, errors, cdp, connections, close } = await visit(host);
  const movedMs = await moves(page);
  const before = await page.evaluate(() => document.getElementById("video").muted);
  const axe = { invitation: await barriers(cdp) };
  // The key comes from within the page: from here it could be late for the answer when the machine is busy.
  await page.evaluate(() => new MutationObserver((_, observer) => {
    if (!document.querySelector("#log .avatar")) return;
    observer.disconnect();
    window.heard = !document.getElementById("video").muted;
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  }).observe(document.getElementById("log"), { childList: true }));
  await page.locator("#asks button").first().click();
  await page.waitForFunction(() => document.querySelector("#log s"));
  await state(page, "idle", "degraded");
  axe.conversation = await barriers(cdp);
  const log = await text(page, "log");
  const cut = await page.locator("#log s").innerText();
  for (const dialog of ["faces", "settings", "help"]) {
    await page.click(`#open-${dialog}`);
    axe[dialog] = await barriers(cdp);
    await page.keyboard.press("Escape");
  }
  const { states, heard } = await page.evaluate(() => ({ states: window.states, heard: window.heard }));
  await close();
  return { moved_ms: movedMs, muted_before: before, heard, log, cut, states, axe, errors, connections };
}

/** The big button, and a question that is spoken into the microphone. */
export async function spoken_conversation(host) {
  const { page, errors, close } = await visit(host);
  await moves(page);
  await page.click("#start");
  await page.waitForFunction(() => document.querySelector("#log .avatar"));
  await page.waitForSelector("#latency-bar .pause", { state: "attached" });  // the turn's own figures
  const measured = await text(page, "latency-total");
  const parts = await page.locator("#latency-bar .part").evaluateAll((all) => all.map((one) => one.className.split(" ")[1]));
  const lines = await page.locator("#log li").evaluateAll((all) => all.map((one) => {
    const copy = one.cloneNode(true);
    for (const aside of copy.querySelectorAll(".unseen, small")) aside.remove();
    return [one.classList[0], copy.textContent.trim()];
  }));
  const keys = await byKeys(page);
  const result = { level: await page.evaluate(() => window.loudest), lines, measured, parts, keys, errors };
  await close();
  return result;
}

/** The microphone off by its letter; then held to talk by Space, which no button that has the focus takes for itself. */
async function byKeys(page) {
  const on = (is) => page.waitForSelector(`#mic[aria-pressed="${is}"]`).then(() => is);
  const told = [await on(true)];
  await page.keyboard.press("m");
  told.push(await on(false));
  await page.click("#mode-push");
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.down("Space");
  told.push(await on(true));
  await page.keyboard.up("Space");
  told.push(await on(false));
  return told;
}

/** In Chinese, and without a microphone: a sentence says so, and typing works. */
export async function chinese_without_microphone(host) {
  const { page, errors, close } = await visit(host, { locale: "zh-CN" });
  await moves(page);
  const english = await page.evaluate(() => [...document.querySelectorAll("[data-text]")].map((one) => one.textContent).filter((one) => /^[\x20-\x7e]{3,}$/.test(one)));
  await page.click("#start");
  await page.waitForFunction(() => document.getElementById("note-text").textContent);
  const note = await text(page, "note-text");
  await page.fill("#message", "你是谁？");
  await page.press("#message", "Enter");
  await page.waitForFunction(() => document.querySelector("#log .avatar"));
  const result = { language: await page.evaluate(() => document.documentElement.lang), english, note, log: await text(page, "log"), errors };
  await close();
  return result;
}

/** A face of one's own, a picture from the webcam that cannot be one, and a session that ends under the page. */
export async function own_face(host) {
  const { page, errors, close } = await visit(host);
  await moves(page);
  await page.click("#open-faces");
  await page.waitForFunction(() => document.querySelectorAll("#faces-list .pick").length > 0);
  await page.click("#camera");  // Chromium's fake one, which shows nobody
  await page.waitForFunction(() => document.getElementById("finder-video").videoWidth > 0);
  await page.click("#snap");
  await page.waitForSelector("#upload-text.refused");
  const refusal = await text(page, "upload-text");
  await page.setInputFiles("#file", host.photo);
  await page.waitForFunction(() => !document.getElementById("faces").open);
  await state(page, "idle", "degraded");
  await moves(page);
  const status = await page.evaluate(async () => (await fetch("api/status")).json());
  const templates = status.sessions.map((one) => one.template_id);
  const all = await page.evaluate(async () => (await fetch("api/templates")).json());
  const kept = all.templates.filter((one) => one.keep).map((one) => one.template_id);
  const session = await page.getAttribute("#transcript", "href").then((href) => href.split("/")[2]);
  await page.evaluate((id) => fetch("api/end_session", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ session_id: id, drain: false }),
  }), session);
  await state(page, "ended");
  await page.waitForFunction(() => document.getElementById("note-do").textContent);  // when the socket has closed, too
  const offered = await text(page, "note-do");
  await page.click("#note-do");
  await state(page, "idle", "degraded");
  await moves(page);
  await close();
  return { refusal, templates, kept, offered, errors };
}

/** An installation that asks for a key: typed on the page, then known to /docs; given by the address to both. */
export async function with_a_key(host) {
  const { page, errors, close } = await visit(host);
  await page.waitForSelector("#key[open]");
  await page.fill("#key-value", "a wrong one");
  const again = page.waitForResponse((one) => one.url().endsWith("start_session") && one.status() === 401);
  await page.press("#key-value", "Enter");
  await again;
  await page.waitForSelector("#key[open]");
  await page.fill("#key-value", host.key);
  await page.press("#key-value", "Enter");
  await moves(page);
  await page.locator("#asks button").first().click();
  await page.waitForFunction(() => document.querySelector("#log .avatar"));
  await page.click("#open-faces");
  await page.waitForFunction(() => [...document.querySelectorAll("#faces-list canvas")].some((one) => one.getContext("2d").getImageData(160, 160, 1, 1).data[3]));
  await page.keyboard.press("Escape");
  await page.click("#open-settings");
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#transcript")]);
  const transcript = readFileSync(await download.path(), "utf8");
  const refused = errors.filter((one) => !one.includes("401"));
  const log = await text(page, "log");
  const documented = async () => {
    await page.waitForFunction(() => document.querySelectorAll(".opblock").length > 20);
    return page.locator(".opblock").count();
  };
  await page.goto(`${host.base}/docs`);
  const typed = await documented();
  await close();
  const other = await visit(host, { query: `docs#key=${host.key}` });
  await other.page.waitForSelector(".opblock");
  await other.page.goto(`${host.base}/#key=${host.key}`);
  await moves(other.page);
  const address = other.page.url();
  await other.close();
  return { log, transcript, typed, address, errors: refused };
}
