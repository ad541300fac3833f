// Makes of the console's sources what browsers load: a page, one script, one style sheet, each named by what is in it,
// and compressed; and what has one name for ever, by which browsers ask whether it is another: the worker and what makes
// the page one that is installed. `node scripts/bundle.mjs` writes them; with `--check` it says what of them is not as it would write it.

import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from "node:zlib";

import { transform } from "lightningcss";
import { rolldown } from "rolldown";

const CONSOLE = fileURLToPath(new URL("../../../notifier_service/web/console/", import.meta.url));
const BUILT = "built/";
const WORKER = "worker.js";
// They are packed already, or too small for that.
const NOT_PACKED = /\.(png|sha256|webmanifest)$/;
const STYLES = /\s*<link rel="stylesheet" href="console\/([\w.-]+)">/g;
const SCRIPT = '<script type="module" src="console/page.js">';

function digest(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

function named(name, bytes) {
  const [stem, extension] = name.split(".");
  return `${stem}-${digest(bytes).slice(0, 16)}.${extension}`;
}

async function read(name) {
  return readFile(CONSOLE + name);
}

// All that the page is made of. What was built says of which sources, and is not served for others.
async function digestOfSources() {
  const names = (await readdir(CONSOLE, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`.slice(CONSOLE.length).replace(/^\/+/, ""))
    .filter((name) => !name.startsWith(BUILT) && /\.(css|html|js|png|svg|webmanifest)$/.test(name))
    .sort();
  const hash = createHash("sha256");
  for (const name of names) hash.update(`${name}\0`).update(await read(name)).update("\0");
  return hash.digest("hex");
}

async function bundled(name, options) {
  const bundle = await rolldown({ input: CONSOLE + name, platform: "browser", logLevel: "warn" });
  const { output } = await bundle.generate({ minify: true, comments: false, ...options });
  await bundle.close();
  return output.map(({ fileName, code }) => [fileName, Buffer.from(code)]);
}

// The page's script first, then those that it loads later, which load of the first what both need: the bundler names
// them, as each name stands in the other.
async function scripts(name) {
  const names = "[name]-[hash:16].js";
  return bundled(name, { format: "esm", entryFileNames: names, chunkFileNames: names, hashCharacters: "hex" });
}

// A worker is no module: not every browser has workers that are.
async function worker(name) {
  const [[, code], ...others] = await bundled(name, { format: "iife", codeSplitting: false });
  if (others.length > 0) throw new Error("The worker is to be one file.");
  return code;
}

async function style(page) {
  const sources = await Promise.all([...page.matchAll(STYLES)].map(([, name]) => read(name)));
  const code = Buffer.concat(sources.flatMap((source) => [source, Buffer.from("\n")]));
  return Buffer.from(transform({ filename: "style.css", code, minify: true }).code);
}

async function asData(name) {
  const text = (await read(name)).toString().replace(/\s*\n\s*/g, "");
  return `data:image/svg+xml,${encodeURIComponent(text)}`;
}

async function built() {
  const source = (await read("index.html")).toString();
  const made = new Map();
  const js = await scripts("page.js");
  const css = await style(source);
  const names = { js: js[0][0], css: named("style.css", css) };
  for (const [name, code] of js) made.set(name, code);
  made.set(names.css, css).set(WORKER, await worker(WORKER));
  for (const name of await readdir(CONSOLE)) if (/\.(png|webmanifest)$/.test(name)) made.set(name, await read(name));
  let page = source.replace(STYLES, "").replace(SCRIPT, `<script type="module" src="console/${names.js}">`);
  page = page.replace("</head>", `  <link rel="stylesheet" href="console/${names.css}">\n  </head>`);
  for (const [, icon] of source.matchAll(/"console\/([\w-]+\.svg)"/g)) page = page.replace(`console/${icon}`, await asData(icon));
  page = page.replace('data-worker="module"', 'data-worker="classic"');
  page = page.replace(/>\s+</g, "><").trim();
  const isMissing = ([, name]) => !made.has(name);
  if ([...page.matchAll(/"console\/([^"]+)"/g)].some(isMissing)) throw new Error("The page names a file that is not built.");
  made.set("index.html", Buffer.from(`${page}\n`));
  made.set("sources.sha256", Buffer.from(`${await digestOfSources()}\n`));
  return made;
}

function compressed(bytes) {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  return { ".br": brotliCompressSync(bytes, { params }), ".gz": gzipSync(bytes, { level: 9 }) };
}

const UNPACKED = { ".br": brotliDecompressSync, ".gz": gunzipSync };

async function check(made) {
  const wrong = [];
  const there = new Set(await readdir(CONSOLE + BUILT).catch(() => []));
  for (const [name, bytes] of made) {
    const copies = NOT_PACKED.test(name) ? [""] : ["", ".br", ".gz"];
    for (const ending of copies) {
      const file = name + ending;
      // How small it gets is another matter with each node: what is in it is to be the same.
      const found = there.delete(file) ? await read(BUILT + file) : null;
      if (found === null || !(UNPACKED[ending]?.(found) ?? found).equals(bytes)) wrong.push(file);
    }
  }
  return [...wrong, ...there];
}

async function write(made) {
  await rm(CONSOLE + BUILT, { recursive: true, force: true });
  await mkdir(CONSOLE + BUILT);
  for (const [name, bytes] of made) {
    await writeFile(CONSOLE + BUILT + name, bytes);
    if (NOT_PACKED.test(name)) continue;
    for (const [ending, packed] of Object.entries(compressed(bytes))) await writeFile(CONSOLE + BUILT + name + ending, packed);
  }
}

const made = await built();
if (process.argv.includes("--check")) {
  const wrong = await check(made);
  if (wrong.length > 0) {
    console.error(`The page is not built from its sources: ${wrong.join(", ")}`);
    process.exit(1);
  }
} else await write(made);
