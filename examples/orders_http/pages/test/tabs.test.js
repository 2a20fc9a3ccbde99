// Three tabs, one of them held still for 70 s, while the shop closes and opens again: each shows exactly its orders.
// `PUBSUB_ORDERS_HTTP` is the example's program; `PUBSUB_ORDERS_REDIS` and `PUBSUB_ORDERS_NATS` are brokers.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Shop } from '../lib/shop.js';
import { Tab, browser as start } from '../lib/tabs.js';

const PAUSE_MS = 70_000;

let browser;
before(async () => {
  browser = await start();
});
after(() => browser.close());

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * What happens in every case: orders of two customers, before, while and after the shop is closed and one tab is held still.
 * What each tab must show is known from the shop's answers alone.
 */
async function day(broker, signal) {
  const shop = await Shop.open(broker);
  const all = [];
  const order = async (who, item, quantity) => all.push([who, await shop.order(who, item, quantity)]);
  const numbers = (who) => all.filter(([customer]) => !who || customer === who).map(([, number]) => number);
  for (const quantity of [1, 2]) await order('ada', 'book', quantity);
  await order('bob', 'pen', 3);

  const [ada, bob, desk] = await Promise.all(['ada', 'bob', 'desk'].map((who) => Tab.open(browser, shop.url, who)));
  await Promise.all([ada.shows(numbers('ada')), bob.shows(numbers('bob')), desk.shows(numbers())]);
  await order('bob', 'lamp', 1);
  await ada.order('stool', 2);
  all.push(['ada', 5]);
  await Promise.all([ada.shows(numbers('ada')), bob.shows(numbers('bob')), desk.shows(numbers())]);

  const before = await bob.seen();
  await bob.freeze();
  const held = Date.now();
  for (const quantity of [4, 5, 6]) await order('bob', 'pen', quantity);
  await shop.stop(signal);
  await shop.start();
  for (const quantity of [7, 8]) {
    await order('bob', 'book', quantity);
    await order('ada', 'lamp', quantity);
  }
  // The others are back while one is away.
  await Promise.all([ada.shows(numbers('ada')), desk.shows(numbers())]);
  await sleep(PAUSE_MS - (Date.now() - held));
  const still = (await bob.seen()).ticks - before.ticks;
  // In that time a page that runs counts about 700.
  assert.ok(still < 100, `the tab was not held still: ${still} ticks`);
  await order('bob', 'stool', 9);
  await bob.thaw();
  await bob.shows(numbers('bob'));
  await order('bob', 'pen', 10);
  await Promise.all([ada.shows(numbers('ada')), bob.shows(numbers('bob')), desk.shows(numbers())]);

  const tabs = [ada, bob, desk];
  const seen = await Promise.all(tabs.map((tab) => tab.seen()));
  assert.deepEqual(tabs.flatMap((tab) => tab.faults), []);
  await shop.close();
  return { loads: seen.map(({ loads }) => loads), opened: seen.map(({ opened }) => opened), count: all.length };
}

// Most of the time they wait, so they wait together.
describe('three tabs', { concurrency: true }, () => {
  for (const [name, variable] of [
    ['Redis', 'PUBSUB_ORDERS_REDIS'],
    ['NATS', 'PUBSUB_ORDERS_NATS'],
  ]) {
    for (const signal of ['SIGTERM', 'SIGKILL']) {
      test(`on ${name} tabs go on where they were when the shop ended by ${signal}`, async () => {
        const broker = process.env[variable];
        assert.ok(broker, `${variable} must name a broker`);
        const prefix = `pages-${signal.toLowerCase()}`;
        const { loads, opened } = await day(`${broker}${broker.includes('?') ? '&' : '?'}prefix=${prefix}`, signal);
        assert.deepEqual(loads, [1, 1, 1], 'the books were read once: all else came by the streams');
        assert.ok(opened.every((count) => count >= 2), JSON.stringify(opened));
      });
    }
  }

  test('on memory tabs are told that events are gone, and read the books again', async () => {
    const { loads } = await day('memory:', 'SIGTERM');
    assert.ok(loads.every((count) => count >= 2), JSON.stringify(loads));
  });
});
