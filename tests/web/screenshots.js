// node tests/web/screenshots.js http://127.0.0.1:28888/ DIR QUESTION.wav: a picture of every state of the page, on a
// phone and a desk, light and dark, and with 200 % text. The page and the daemon are real; that a state stays while its
// pictures are taken is done by holding back what the daemon sends.
import { mkdirSync, writeFileSync } from "node:fs";

import { chromium } from "playwright-core";

const [, , base, folder, question, only = ""] = process.argv;
const VIEWS = [
  ["phone-light", 390, 844, "light", 16], ["phone-dark", 390, 844, "dark", 16],
  ["desk-light", 1280, 800, "light", 16], ["desk-dark", 1280, 800, "dark", 16],
  ["phone-large", 390, 844, "light", 32], ["desk-large", 1280, 800, "dark", 32],
];
const LIMIT_MS = 30_000;
mkdirSync(folder, { recursive: true });

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", `--use-file-for-fake-audio-capture=${question}%noloop`],
});

/** A page whose messages can be held back: `control.holds(event)` says from which event on. */
async function visit({ locale = "en", begin = true, script } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT_MS);
  page.on("pageerror", (error) => console.error("page error:", error.message));
  const control = { from: "", held: false, away: false, without: "", client: null, server: null };
  await page.routeWebSocket(/\/ws\//, (client) => {
    if (control.away) return void client.close({ code: 1012 });
    const server = client.connectToServer();
    Object.assign(control, { client, server, held: false });
    server.onMessage((message) => {
      if (control.held || (control.without && typeof message !== "string" && message.includes(control.without))) return;
      client.send(message);
      if (control.from && typeof message !== "string" && message.includes(control.from)) control.held = true;
    });
  });
  if (script) await script(page, control);
  await page.goto(base);
  if (begin) await page.waitForFunction(() => document.getElementById("video").currentTime > 0.5);
  return { page, control, cdp: await context.newCDPSession(page), context };
}

const state = (page, ...words) => page.waitForFunction((all) => all.includes(document.getElementById("stage").dataset.state), words);
const ask = async (page, text) => { await page.fill("#message", text); await page.press("#message", "Enter"); };

/** Pictures of the page as it is. `before`: what brings it back into its state, where that does not last. */
async function shoot(name, { page, cdp, context }, before = async () => {}) {
  for (const [view, width, height, colorScheme, size] of VIEWS) {
    await cdp.send("Page.setFontSizes", { fontSizes: { standard: size, fixed: size } });
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme });
    await before();
    await page.evaluate(() => { const log = document.getElementById("log"); log.scrollTop = log.scrollHeight; });
    await page.waitForTimeout(350); // transitions of colours
    writeFileSync(`${folder}/${name}.${view}.png`, await page.screenshot());
  }
  console.log(name, await page.evaluate(() => document.getElementById("stage").dataset.state));
  await context.close();
}

const STATES = {
  async connecting() {
    await shoot("connecting", await visit({ begin: false, script: (page) => page.route("**/api/start_session", () => {}) }));
  },
  async idle() { await shoot("idle", await visit()); },
  async "idle-zh"() { await shoot("idle-zh", await visit({ locale: "zh-CN" })); },
  async hearing() {
    const one = await visit();
    await one.page.click("#start");
    await state(one.page, "listening");
    await state(one.page, "hearing");
    one.control.held = true;
    await shoot("hearing", one);
  },
  async listening() {
    const one = await visit();
    await one.page.click("#start");
    await state(one.page, "listening");
    one.control.held = true;
    await shoot("listening", one);
  },
  async thinking() {
    const one = await visit();
    one.control.from = "turn.started";
    await ask(one.page, "How do you work?");
    await state(one.page, "thinking");
    await shoot("thinking", one);
  },
  async speaking() {
    const one = await visit();
    await ask(one.page, "Who are you?");
    await state(one.page, "speaking");
    await one.page.waitForTimeout(4000);
    await ask(one.page, "How do you work?");
    one.control.without = "speech.ended"; // it goes on speaking for as long as the pictures take
    const mouth = async () => {
      await state(one.page, "speaking");
      await one.page.waitForFunction(() => document.querySelectorAll("#log .avatar").length === 2);
      await one.page.waitForTimeout(900);
    };
    await shoot("speaking", one, mouth);
  },
  async interrupted() {
    const one = await visit({ script: (page) => page.addInitScript(() => {
      const timeout = window.setTimeout;
      window.setTimeout = (run, ms, ...more) => timeout(run, ms === 1500 ? 60_000 : ms, ...more);
    }) });
    await ask(one.page, "Who are you?");
    await state(one.page, "speaking");
    await one.page.waitForTimeout(2500);
    await one.page.click("#stop");
    await state(one.page, "interrupted");
    await shoot("interrupted", one);
  },
  async reconnecting() {
    const one = await visit();
    await ask(one.page, "Hello");
    await state(one.page, "speaking");
    one.control.away = true;
    await one.control.client.close({ code: 1012 });
    await shoot("reconnecting", one, () => state(one.page, "reconnecting"));
  },
  async degraded() {
    const one = await visit();
    const text = new TextEncoder();
    const str = (value) => [0xd9, text.encode(value).length, ...text.encode(value)];
    const header = [0x83, ...str("event"), ...str("degraded"), ...str("turn"), 0, ...str("data"), 0x81, ...str("level"), ...str("skip")];
    one.control.client.send(Buffer.from([0, 0, 0, header.length, ...header]));
    await state(one.page, "degraded");
    await shoot("degraded", one);
  },
  async error() {
    await shoot("error", await visit({ begin: false, script: (page) => page.route("**/api/start_session", (route) => route.fulfill({
      status: 502, json: { error: { code: "FAILED", message: "lip-sync did not start; its log says why" } } })) }));
  },
  async ended() {
    const one = await visit();
    await ask(one.page, "Hello");
    await state(one.page, "speaking");
    await one.page.evaluate(async () => {
      const id = document.getElementById("transcript").getAttribute("href").split("/")[2];
      await fetch("api/end_session", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ session_id: id, drain: false }) });
    });
    await state(one.page, "ended");
    await shoot("ended", one);
  },
  async faces() { const one = await visit(); await one.page.click("#open-faces"); await one.page.waitForTimeout(1500); await shoot("faces", one); },
  async settings() { const one = await visit(); await one.page.click("#open-settings"); await one.page.waitForTimeout(800); await shoot("settings", one); },
};

for (const [name, take] of Object.entries(STATES)) if (!only || only.split(",").includes(name)) await take().catch((error) => console.error(name, error.message));
await browser.close();
