// What a page with the lines of docs/embedding.md shows, in Debian's Chromium: node chromium.js BASE SCRIPT
// Says {"seen"} after a second of pictures, {"heard"} when there is a voice, each with what the browser has counted.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";

const web = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = web("playwright-core");
const LIMIT_MS = 60_000;
const [base, script] = process.argv.slice(2);
const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
const args = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"];
const browser = await chromium.launch({ executablePath, args });
const page = await (await browser.newContext({ bypassCSP: true })).newPage();
page.setDefaultTimeout(LIMIT_MS);
page.on("pageerror", (error) => console.log(JSON.stringify({ failed: String(error) })));
await page.addInitScript(() => {
  const Plain = RTCPeerConnection;
  window.RTCPeerConnection = class extends Plain {
    constructor(...given) {
      super(...given);
      window.connection = this;
    }
  };
  window.counted = async () => {
    if (!window.connection) return {};
    const stats = [...(await window.connection.getStats()).values()];
    const of = (kind) => stats.find((one) => one.type === "inbound-rtp" && one.kind === kind) ?? {};
    const codec = stats.find((one) => one.id === of("video").codecId)?.mimeType;
    return { ...of("video"), codec, energy: of("audio").totalAudioEnergy, sounds: of("audio").packetsReceived };
  };
});
await page.goto(`${base}/health`); // any page of this origin without scripts
await page.evaluate(() => {
  document.body.innerHTML = "<video id=face autoplay playsinline></video>";
});
await page.addScriptTag({ content: script, type: "module" });
const tell = async (what, name, least) => {
  const found = await page.evaluate(async ([name, least, limit]) => {
    const deadline = performance.now() + limit;
    while (true) {
      const counted = await window.counted?.();
      if (counted?.[name] >= least) return counted;
      if (performance.now() > deadline) throw new Error(`${name} stays below ${least}: ${counted?.energy} of ${counted?.sounds} sounds`);
      await new Promise((done) => setTimeout(done, 100));
    }
  }, [name, least, LIMIT_MS]);
  console.log(JSON.stringify({ [what]: found }));
};
await tell("seen", "framesDecoded", 25);
await tell("heard", "energy", 0.001);
await page.close({ runBeforeUnload: true });
await browser.close();
