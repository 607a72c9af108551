// The pictures of README and docs: runs the demo, looks at its page in Chromium at the moments of the story, and writes
// docs/images. Needs node and chromium, and the binary given as its first argument (target/debug/slowburn).
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const images = join(import.meta.dirname, "../docs/images");
const profile = mkdtempSync(join(tmpdir(), "slowburn-pictures-"));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const within = async (what, is) => {
  for (const end = Date.now() + 300_000; Date.now() < end; await pause(200)) if (await is()) return;
  throw new Error("never: " + what);
};

const demo = spawn(process.argv[2], ["demo", "--speed", "12", "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
let story = "";
demo.stdout.setEncoding("utf8").on("data", (text) => { story += text; process.stdout.write(text); });
const told = (words) => within(words, () => story.includes(words));

// Chromium is spoken to over descriptors 3 and 4, a message of JSON ended by a zero byte each way.
const browser = spawn("chromium", ["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
  "--disable-dev-shm-usage", "--user-data-dir=" + profile], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const waiting = new Map();
let heard = "", last = 0;
browser.stdio[4].setEncoding("utf8").on("data", (text) => {
  const messages = (heard + text).split("\0");
  heard = messages.pop();
  for (const message of messages.map(JSON.parse)) waiting.get(message.id)?.(message.result ?? {});
});
const ask = (method, params = {}, sessionId) => new Promise((done) => {
  waiting.set(++last, done);
  browser.stdio[3].write(JSON.stringify({ id: last, method, params, sessionId }) + "\0");
});

async function picture(name, path, width, height, ready, clip) {
  const { targetId } = await ask("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await ask("Target.attachToTarget", { targetId, flatten: true });
  const tab = (method, params) => ask(method, params, sessionId);
  await tab("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
  await tab("Page.enable");
  await tab("Page.navigate", { url: page + path });
  const holds = async (expression) => (await tab("Runtime.evaluate", { expression, returnByValue: true })).result?.value;
  await within(name + ": " + ready, () => holds(`!!(document.querySelector("#live.on") && document.querySelector(".slo .pill") && (${ready}))`));
  await pause(1500);
  await holds("scrollTo(0, 0)");
  const box = clip && await holds(`(() => { const box = document.querySelector(${JSON.stringify(clip)}).getBoundingClientRect();
    return { x: box.x - 12, y: box.y - 12 + scrollY, width: box.width + 24, height: box.height + 24, scale: 1 }; })()`);
  const { data } = await tab("Page.captureScreenshot", { format: "png", ...(box && { clip: box, captureBeyondViewport: true }) });
  writeFileSync(join(images, name + ".png"), Buffer.from(data, "base64"));
  await ask("Target.closeTarget", { targetId });
}

let page = "";
try {
  await within("the page", () => (page = story.match(/http:\/\/127\.0\.0\.1:\d+\//)?.[0] ?? ""));
  await picture("tour-calm", "", 1280, 900, "!/filling|not warm/.test(document.body.innerText)");
  await told("needs approval of team:checkout-oncall: rollback needs");
  await picture("tour-asked", "", 1280, 1040, "document.querySelector('.approval')");
  await told("verdict    improved");
  await picture("tour-after", "", 1280, 1040, "document.querySelector('.records')?.innerText.includes('improved')");
  const curve = "document.querySelector('.curve img')?.complete";
  await picture("tour-curve", "?slo=checkout-availability", 1280, 900, curve, ".curve");
  await picture("demo", "?slo=checkout-availability", 1280, 1720, `(() => {
    const hour = [...document.querySelectorAll(".ranges button")].find((one) => one.innerText === "1 h");
    if (hour?.getAttribute("aria-pressed") === "false") hour.click();
    return hour?.getAttribute("aria-pressed") === "true" && ${curve}; })()`);
} finally {
  demo.kill();
  browser.kill();
  await pause(500);
  rmSync(profile, { recursive: true, force: true });
}
