// The shop as a process of its own, over books in a temporary folder, which tests may end and open again.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const START_MS = 30_000;
const running = new Set();

// Whatever happens to the tests, no shop stays behind: a signal alone would end this process without a word.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export class Shop {
  #broker;
  #folder;
  #process;
  #listen = '127.0.0.1:0';
  url = '';

  /** Opens one over the broker at this address. */
  static async open(broker) {
    const shop = new Shop();
    shop.#broker = broker;
    shop.#folder = await mkdtemp(join(tmpdir(), 'pubsub-pages-'));
    await shop.start();
    return shop;
  }

  async start() {
    const environment = {
      ...process.env,
      PUBSUB_URL: this.#broker,
      ORDERS_DB: join(this.#folder, 'orders.db'),
      ORDERS_LISTEN: this.#listen,
    };
    const child = spawn(process.env.PUBSUB_ORDERS_HTTP, ['--serve'], { env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
    running.add(child);
    child.once('exit', () => running.delete(child));
    const said = await new Promise((resolve, reject) => {
      createInterface({ input: child.stdout }).once('line', resolve);
      child.once('error', reject);
      child.once('exit', (code, signal) => reject(new Error(`the shop ended: ${code ?? signal}`)));
      setTimeout(() => reject(new Error('the shop did not open')), START_MS).unref();
    });
    const found = /^listening on (http:\/\/(\S+))$/.exec(said);
    if (!found) throw new Error(`the shop said: ${said}`);
    this.#process = child;
    this.url = found[1];
    // Later ones take the same port.
    this.#listen = found[2];
  }

  /** Ends the process, by default as its operator would. */
  async stop(signal = 'SIGTERM') {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill(signal);
    await ended;
  }

  async close() {
    await this.stop('SIGKILL');
    await rm(this.#folder, { recursive: true });
  }

  /** An order of somebody, which has to be taken. */
  async order(who, item, quantity) {
    const headers = { authorization: `Bearer ${who}-token`, 'content-type': 'application/json' };
    const body = JSON.stringify({ name: 'orders:place', payload: { item, quantity } });
    const response = await fetch(`${this.url}/api/events`, { method: 'POST', headers, body });
    const answer = await response.json();
    if (!response.ok) throw new Error(JSON.stringify(answer));
    return answer.result.number;
  }
}
