// The live page in a browser: what it shows, that it runs nothing of what it shows, and that it asks nobody else.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Browser } from '../lib/browser.js';
import { Demo, READER } from '../lib/demo.js';
import { until } from '../lib/wait.js';

let browser, demo;
before(async () => {
  [browser, demo] = await Promise.all([Browser.start(), Demo.start('--dashboard')]);
});
after(async () => {
  await browser.close();
  await demo.stop();
});

const order = (orderId) => demo.publish('orders', 'orders:created', { orderId, total: 9.5 });

/** What the page shows, as text. */
const shown = (page) =>
  page.evaluate(() => {
    const texts = (selector) => [...document.querySelectorAll(selector)].map((found) => found.innerText);
    return {
      channels: texts('#channels tr'),
      parts: texts('#parts tr'),
      definitions: texts('#definitions summary'),
      // Newest first.
      tail: [...document.querySelectorAll('#tail li')].filter((item) => !item.hidden).map((item) => item.innerText),
      connection: document.querySelector('#connection').innerText,
      fault: document.querySelector('#fault').innerText,
      images: document.querySelectorAll('main img').length,
      hit: globalThis.hit,
    };
  });

const has = (page, condition, what) =>
  until(async () => {
    const seen = await shown(page);
    return condition(seen) && seen;
  }, what);

test('the page shows channels, events, definitions and states, and is paused and filtered', async () => {
  const { page, faults, requests } = await browser.open(`${demo.url}/_dashboard`);
  await has(page, (seen) => seen.connection === 'live', 'a stream');
  const evil = '<img src=x onerror="globalThis.hit = 1">';
  for (const id of ['o-1', evil, 'o-3']) await order(id);
  const first = await has(page, (seen) => seen.tail.length === 3, 'three events');
  assert.ok(first.tail[0].includes('o-3') && first.tail[1].includes('onerror') && first.tail[2].includes('o-1'));
  assert.deepEqual([first.images, first.hit], [0, undefined], 'events are text');
  await has(page, (seen) => seen.channels.some((row) => /^orders\s+0\.[1-9]\s+1\s+orders:created/.test(row)), 'a rate');
  assert.ok(first.definitions.some((text) => text.startsWith('orders:created · version 1 · BOTH')));
  assert.ok(first.parts.some((text) => /^adapter\s+ready/.test(text)) && first.parts.some((text) => text.startsWith('handlers demo on orders')));

  await page.type('#filter [name=text]', 'o-3');
  await has(page, (seen) => seen.tail.length === 1 && seen.tail[0].includes('o-3'), 'one event');
  await page.evaluate(() => {
    const form = document.querySelector('#filter');
    form.reset();
    form.dispatchEvent(new Event('input'));
  });

  await page.click('#filter [name=pause]');
  await order('o-4');
  const held = await has(page, (seen) => seen.connection === 'paused, 1 more', 'an event that is held');
  assert.equal(held.tail.length, 3);
  await page.click('#filter [name=pause]');
  await has(page, (seen) => seen.tail.length === 4 && seen.tail[0].includes('o-4'), 'the event that was held');
  if (process.env.PUBSUB_SCREENSHOT) await page.screenshot({ path: process.env.PUBSUB_SCREENSHOT });

  await page.click('#filter [name=clear]');
  await page.select('#filter [name=channel]', 'orders');
  await page.click('#filter [name=history]');
  const history = await has(page, (seen) => seen.tail.length === 4, 'the history');
  assert.ok(history.tail[0].includes('o-4') && history.tail[3].includes('o-1'));
  assert.deepEqual(faults, []);
  assert.deepEqual(requests.filter((url) => !url.startsWith(`${demo.url}/`) && !url.startsWith('data:')), []);
  await page.close();
});

test('the page comes back to a server that starts again, and shows each event once', async () => {
  const { page } = await browser.open(`${demo.url}/_dashboard`);
  await has(page, (seen) => seen.connection === 'live', 'a stream');
  await order('before');
  await has(page, (seen) => seen.tail.length === 1, 'an event');
  await demo.restart();
  await has(page, (seen) => seen.connection === 'live' && seen.tail.length === 2, 'the stream again');
  await order('after');
  const { tail } = await has(page, (seen) => seen.tail.length === 3, 'the next event');
  assert.ok(tail[0].includes('after') && tail[1].includes('pubsub:gap') && tail[2].includes('before'), tail.join('\n'));
  await page.close();
});

test('a wrong token is told, and a right one helps', async () => {
  const { page } = await browser.open(`${demo.url}/_dashboard`);
  const signIn = async (token) => {
    await page.type('#sign-in [name=token]', token);
    await page.click('#sign-in button');
  };
  await signIn('wrong');
  await has(page, (seen) => seen.fault !== '', 'a complaint');
  await signIn(READER);
  await has(page, (seen) => seen.fault === '' && seen.connection === 'live', 'a stream');
  await page.close();
});

test('there is no page where nobody mounted it', async () => {
  const bare = await Demo.start();
  for (const path of ['/_dashboard', '/_dashboard/app.js']) assert.equal((await bare.fetch(path)).status, 404);
  await bare.stop();
  const { status, headers } = await demo.fetch('/_dashboard');
  assert.equal(status, 200);
  const policy = headers.get('content-security-policy');
  assert.ok(policy.startsWith("default-src 'none'") && policy.includes("frame-ancestors 'none'") && !policy.includes('unsafe'));
  assert.equal(headers.get('x-content-type-options'), 'nosniff');
});
