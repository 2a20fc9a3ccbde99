// The demonstration server as a process of its own, which tests may kill and start again at the same address.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

import { until } from './wait.js';

const PROGRAM = process.env.PUBSUB_DEMO;
const START_MS = 20_000;

// Whatever happens to the tests, no server stays behind: a signal alone would end this process without a word.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

export const READER = 'reader-token';
export const WRITER = 'writer-token';

export class Demo {
  #process = null;
  #listen = '127.0.0.1:0';
  #options = [];
  /** Where the router is mounted, without a slash at the end. */
  url = '';

  /** Starts one with these options, and has it ended with the test file. */
  static async start(...options) {
    if (!PROGRAM) throw new Error('PUBSUB_DEMO must name the program of the example `demo`');
    const demo = new Demo();
    demo.#options = options;
    await demo.start();
    return demo;
  }

  async start() {
    const child = spawn(PROGRAM, ['--listen', this.#listen, ...this.#options], { stdio: ['ignore', 'pipe', 'pipe'] });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      errors = (errors + text).slice(-4000);
    });
    this.#process = child;
    process.once('exit', () => child.kill('SIGKILL'));
    const line = new Promise((resolve, reject) => {
      createInterface({ input: child.stdout }).once('line', resolve);
      child.once('error', reject);
      child.once('exit', (code, signal) => reject(new Error(`the demo ended: ${code ?? signal}\n${errors}`)));
      setTimeout(() => reject(new Error(`the demo did not start\n${errors}`)), START_MS).unref();
    });
    const said = await line;
    const found = /^listening on (http:\/\/(\S+))$/.exec(said);
    if (!found) throw new Error(`the demo said: ${said}`);
    this.url = found[1];
    // Later ones take the same port.
    this.#listen = found[2];
  }

  async stop(signal = 'SIGKILL') {
    const child = this.#process;
    if (child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await ended;
    }
  }

  async restart() {
    await this.stop();
    await this.start();
  }

  /** Holds the process as it is, until the function that is returned lets it go on. */
  freeze() {
    this.#process.kill('SIGSTOP');
    return () => this.#process.kill('SIGCONT');
  }

  /** A request to the plain endpoints. */
  async fetch(path, init = {}) {
    const response = await fetch(this.url + path, init);
    const text = await response.text();
    let body;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    return { status: response.status, headers: response.headers, text, body };
  }

  /** Sends JSON. */
  async post(path, body, headers = {}) {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    return this.fetch(path, { method: 'POST', body: text, headers: { 'content-type': 'application/json', ...headers } });
  }

  /** Publishes, and returns what the server says. */
  async publish(channel, name, payload, headers = {}) {
    const { status, body } = await this.post(`/channels/${channel}/events`, { name, payload }, headers);
    if (status !== 200) throw new Error(`publish: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  /** How many subscriptions there are. */
  async subscriptions() {
    const { body } = await this.fetch('/trpc/pubsub.getSubscriptionStats');
    return body.result.data.totalSubscriptions;
  }

  /** Waits until there are that many subscriptions. */
  async subscribed(count) {
    await until(async () => (await this.subscriptions()) === count, `${count} subscriptions`);
  }
}
