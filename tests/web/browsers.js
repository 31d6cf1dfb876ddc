// Debian's browsers, each behind the same few functions: open(name, options) -> Browser.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const LIMIT_MS = 120_000;
const first = (...paths) => paths.find((path) => existsSync(path)) ?? paths[0];

/** No headless browser hides a page by itself: it is only told that it is hidden. */
const visibility = (hidden) => [
  (state) => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  },
  hidden ? "hidden" : "visible",
];

/** @param {{microphone?: string | false}} options a WAV file, heard again and again; false: a machine without a microphone */
async function chromium({ microphone }) {
  const { chromium: engine } = await import("playwright-core");
  const devices = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"];
  if (microphone) devices.push(`--use-file-for-fake-audio-capture=${microphone}`);
  const browser = await engine.launch({
    executablePath: first("/usr/bin/chromium", "/usr/bin/chromium-browser"),
    args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", ...(microphone === false ? [] : devices)],
  });
  const context = await browser.newContext({ permissions: ["microphone"] });
  const wrap = async (page, session) => ({
    goto: (url) => page.goto(url),
    evaluate: (run, ...args) => page.evaluate(run, ...args),
    close: () => page.close(),
    onError: (tell) => page.on("pageerror", tell),
    /** As a browser does with a page that is not looked at: it is told so, and nothing of it runs. */
    freeze: async (frozen) => {
      if (!frozen) await session.send("Page.setWebLifecycleState", { state: "active" });
      await page.evaluate(...visibility(frozen));
      if (frozen) await session.send("Page.setWebLifecycleState", { state: "frozen" });
    },
  });
  return {
    name: "chromium",
    newContext: (options) => browser.newContext(options),
    newPage: async () => {
      const page = await context.newPage();
      page.setDefaultTimeout(LIMIT_MS);
      return wrap(page, await context.newCDPSession(page));
    },
    close: () => browser.close(),
  };
}

async function firefox() {
  const puppeteer = (await import("puppeteer-core")).default;
  const profile = mkdtempSync(join(tmpdir(), "musecast-firefox-"));
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: first("/usr/bin/firefox-esr", "/usr/bin/firefox"),
    headless: true,
    userDataDir: profile,
    protocolTimeout: 300_000,
    extraPrefsFirefox: {
      "media.autoplay.default": 0,
      "media.navigator.streams.fake": true,
      "media.navigator.permission.disabled": true,
      "devtools.jsonview.enabled": false,
    },
  });
  return {
    name: "firefox",
    newPage: async () => {
      const page = await browser.newPage();
      page.setDefaultTimeout(LIMIT_MS);
      return {
        goto: (url) => page.goto(url),
        evaluate: (run, ...args) => page.evaluate(run, ...args),
        close: () => page.close(),
        onError: (tell) => page.on("pageerror", tell),
        freeze: (frozen) => page.evaluate(...visibility(frozen)),
      };
    },
    close: async () => {
      await browser.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

export const open = (name, options = {}) => ({ chromium, firefox })[name](options);
