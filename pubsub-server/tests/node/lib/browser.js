// A browser without a screen, and pages that run what applications would.

import { accessSync, constants } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { launch } from 'puppeteer-core';

import { until } from './wait.js';

const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

function program() {
  const named = process.env.PUBSUB_CHROMIUM;
  if (named) return named;
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    for (const name of PROGRAMS) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not here.
      }
    }
  }
  throw new Error(`needs a browser: one of ${PROGRAMS.join(', ')} on PATH, or its path in PUBSUB_CHROMIUM`);
}

/** The modules that pages may import, where the packages have them. */
const MODULES = ['@trpc/client', ...['', '/observable', '/rpc', '/unstable-core-do-not-import'].map((part) => `@trpc/server${part}`)];

/** An application's own web server: a page, and the packages that it imports. It is another origin than the demo's. */
export class Site {
  #server;
  #root = fileURLToPath(new URL('.', import.meta.resolve('@trpc/client'))).split(/(?<=node_modules)/)[0];
  url = '';

  static async start() {
    const site = new Site();
    site.#server = createServer((request, response) => {
      site.#answer(request.url).then(
        ([type, text]) => response.writeHead(200, { 'content-type': type }).end(text),
        () => response.writeHead(404).end(),
      );
    });
    await new Promise((resolve) => site.#server.listen(0, '127.0.0.1', resolve));
    site.url = `http://127.0.0.1:${site.#server.address().port}`;
    return site;
  }

  async #answer(path) {
    if (path === '/') {
      const at = (name) => fileURLToPath(import.meta.resolve(name)).slice(this.#root.length);
      const imports = Object.fromEntries(MODULES.map((name) => [name, `/modules${at(name)}`]));
      const map = JSON.stringify({ imports });
      return ['text/html', `<!doctype html><title>page</title><script type="importmap">${map}</script>`];
    }
    const file = /^\/modules(\/[\w@./-]+\.mjs)$/.exec(path);
    if (!file || path.includes('..')) throw new Error('not found');
    return ['text/javascript', await readFile(this.#root + file[1])];
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

export class Browser {
  #browser;

  static async start() {
    const browser = new Browser();
    browser.#browser = await launch({
      executablePath: program(),
      // The sandbox of the browser needs rights that neither root nor containers give it; the pages are ours.
      args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
    });
    return browser;
  }

  /** A page that shows the site, with an object `seen` that the test can read. */
  async page(site) {
    const page = await this.#browser.newPage();
    const faults = [];
    page.on('pageerror', (error) => faults.push(String(error)));
    await page.goto(site.url);
    await page.evaluate(() => (globalThis.seen = { events: [], errors: 0 }));
    return {
      run: (program, ...values) => page.evaluate(program, ...values),
      seen: () => page.evaluate(() => globalThis.seen),
      has: (condition, what) =>
        until(async () => {
          if (faults.length > 0) throw new Error(faults.join('\n'));
          const seen = await page.evaluate(() => globalThis.seen);
          return condition(seen) && seen;
        }, what),
      close: () => page.close(),
    };
  }

  /** A page of the server itself, what it asked for, and what it complained of. */
  async open(url) {
    const page = await this.#browser.newPage();
    const [faults, requests] = [[], []];
    page.on('pageerror', (error) => faults.push(String(error)));
    page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
    page.on('request', (request) => requests.push(request.url()));
    await page.setViewport({ width: 1280, height: 800 });
    await page.goto(url);
    return { page, faults, requests };
  }

  async close() {
    await this.#browser.close();
  }
}
