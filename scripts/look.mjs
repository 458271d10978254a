// node look.mjs FOLDER: see scripts/look.
import { readdirSync, readFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve, relative } from "node:path";
import { chromium } from "playwright-core";

const folder = resolve(process.argv[2]);
const pictures = process.env.PICTURES && resolve(process.env.PICTURES);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const pages = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((each) => each.isFile() && each.name.endsWith(".html") && !each.parentPath.includes("_static"))
  .map((each) => relative(folder, resolve(each.parentPath, each.name)));
const all = [["light", 1280], ["dark", 390], ["dark", 1280], ["light", 390]];
if (pictures) mkdirSync(pictures, { recursive: true });
const screensOf = (place) => (pictures ? all : [all[place % 2]]); // CI sees each page once

// The switches of the background would look for servers that this check does not need.
const quiet = ["background-networking", "component-update", "sync", "gpu", "quic"];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--no-first-run", ...quiet.map((each) => `--disable-${each}`)],
});
let faults = 0;

async function look(page, scheme, width) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme });
  const tab = await context.newPage();
  await tab.goto(`file://${folder}/${page}`);
  const wider = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await tab.addScriptTag({ content: axe });
  const { violations } = await tab.evaluate(() => window.axe.run());
  const found = violations.map((v) => `${v.help} (${v.nodes.length} ×): ${v.nodes[0].html.slice(0, 150)}`);
  if (wider > 0) found.push(`${wider} pixels wider than the screen`);
  for (const fault of found) console.log(`${page}, ${scheme}, ${width} pixels: ${fault}`);
  faults += found.length;
  if (pictures) {
    const path = `${pictures}/${page.replaceAll("/", "-")}-${scheme}-${width}.png`;
    await tab.screenshot({ path, fullPage: true });
  }
  await context.close();
}

const jobs = pages.flatMap((page, place) => screensOf(place).map((screen) => [page, ...screen]));
const looks = jobs.length;
await Promise.all([1, 2].map(async () => { while (jobs.length) await look(...jobs.pop()); }));
await browser.close();
console.log(`${pages.length} pages, ${looks} looks: ${faults} faults`);
process.exit(pages.length && !faults ? 0 : 1);
