// A browser without a screen, and its tabs, which may be held still as a browser does with those that nobody looks at.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

import { launch } from 'puppeteer-core';

const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const DEADLINE_MS = 60_000;

function program() {
  const named = process.env.PUBSUB_CHROMIUM;
  if (named) return named;
  const places = (process.env.PATH ?? '').split(delimiter).flatMap((folder) => PROGRAMS.map((name) => join(folder, name)));
  const found = places.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error(`needs a browser: one of ${PROGRAMS.join(', ')} on PATH, or its path in PUBSUB_CHROMIUM`);
  return found;
}

export function browser() {
  // The sandbox of the browser needs rights that neither root nor containers give it; the pages are ours.
  return launch({ executablePath: program(), args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] });
}

/** Waits until a question is answered with something true, and gives that. */
export async function until(question, what) {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${await what()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export class Tab {
  faults = [];
  #page;
  #session;

  /** Opens the shop's page in a window of its own, and signs in. */
  static async open(browser, url, who) {
    const tab = new Tab();
    tab.#page = await (await browser.createBrowserContext()).newPage();
    tab.#page.on('pageerror', (error) => tab.faults.push(String(error)));
    tab.#session = await tab.#page.createCDPSession();
    await tab.#page.goto(url);
    await tab.#page.type('#enter input', `${who}-token`);
    await tab.#page.click('#enter button');
    await until(async () => (await tab.seen()).opened === 1, () => tab.told());
    return tab;
  }

  /** What the page counts. */
  seen() {
    return this.#page.evaluate(() => globalThis.seen);
  }

  /** The numbers of the orders in the list, from above. */
  numbers() {
    return this.#page.$$eval('#orders tr td:first-child', (cells) => cells.map((cell) => Number(cell.textContent)));
  }

  state() {
    return this.#page.$eval('#state', (element) => element.textContent);
  }

  async told() {
    return JSON.stringify([await this.state(), await this.seen(), await this.numbers(), this.faults]);
  }

  /** Waits until the list is this one. */
  async shows(numbers) {
    const wanted = JSON.stringify(numbers);
    await until(async () => JSON.stringify(await this.numbers()) === wanted, async () => `${wanted}; ${await this.told()}`);
  }

  /** Places an order by the form. */
  async order(item, quantity) {
    await this.#page.select('#order select', item);
    await this.#page.$eval('#order input', (input, value) => (input.value = value), String(quantity));
    await this.#page.click('#order button');
  }

  async freeze() {
    await this.#session.send('Page.setWebLifecycleState', { state: 'frozen' });
  }

  async thaw() {
    await this.#session.send('Page.setWebLifecycleState', { state: 'active' });
  }
}
