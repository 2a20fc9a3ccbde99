// A browser's own EventSource, and the stock tRPC client in a page of another origin.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Browser, Site } from '../lib/browser.js';
import { Cutter } from '../lib/cutter.js';
import { Demo, READER, WRITER } from '../lib/demo.js';
import { channel } from '../lib/names.js';

let browser, demo, site;
before(async () => {
  [browser, demo, site] = await Promise.all([Browser.start(), Demo.start(), Site.start()]);
});
after(async () => {
  await browser.close();
  site.close();
  await demo.stop();
});

const numbers = (count) => Array.from({ length: count }, (_, n) => n);

/**
 * Publishes that many events, and breaks the page's connection meanwhile as often: each time once it has opened again, and
 * has an event, for only then it has a position to come back to.
 */
async function publishAndCut(on, count, cuts, cutter, page, headers = {}) {
  let done = 0;
  for (let n = 0; n < count; n += 1) {
    await demo.publish(on, 'n:n', n, headers);
    if (done < cuts && n % Math.floor(count / (cuts + 1)) === 5) {
      await page.has((seen) => seen.opened > done && seen.events.length > 0, `connection ${done + 1} and an event`);
      cutter.cut();
      done += 1;
    }
  }
}

test('an EventSource whose connection breaks gets every event once', async () => {
  const on = channel();
  const cutter = await Cutter.before(demo.url);
  const page = await browser.page(site);
  await page.run((url) => {
    globalThis.source = new EventSource(url);
    source.onopen = () => (seen.opened = (seen.opened ?? 0) + 1);
    source.onerror = () => (seen.errors += 1);
    source.addEventListener('n:n', (event) => seen.events.push([event.lastEventId, JSON.parse(event.data).payload]));
  }, `${cutter.url}/events?channel=${on}`);
  await page.has((seen) => seen.opened === 1, 'a connection');
  await publishAndCut(on, 200, 3, cutter, page);
  const seen = await page.has((all) => all.events.length >= 200, 'all events');
  assert.deepEqual(seen.events.map(([, payload]) => payload), numbers(200));
  assert.equal(new Set(seen.events.map(([id]) => id)).size, 200);
  assert.ok(seen.opened >= 4 && seen.errors >= 3, JSON.stringify([seen.opened, seen.errors]));
  await page.close();
  cutter.close();
});

test('an EventSource comes back to a server that starts again, and is told what it cannot have', async () => {
  const on = channel();
  const other = await Demo.start();
  const page = await browser.page(site);
  await page.run((url) => {
    globalThis.source = new EventSource(url);
    source.onopen = () => (seen.opened = (seen.opened ?? 0) + 1);
    for (const name of ['n:n', 'pubsub:gap']) {
      source.addEventListener(name, (event) => seen.events.push([name, event.lastEventId, JSON.parse(event.data)]));
    }
  }, `${other.url}/events?channel=${on}`);
  await page.has((seen) => seen.opened === 1, 'a connection');
  for (const n of numbers(5)) await other.publish(on, 'n:n', n);
  await page.has((seen) => seen.events.length === 5, 'the first events');
  await other.restart();
  // Some before the page is back, some after.
  for (const n of [5, 6]) await other.publish(on, 'n:n', n);
  await page.has((seen) => seen.opened === 2, 'a second connection');
  for (const n of [7, 8]) await other.publish(on, 'n:n', n);
  const { events } = await page.has((seen) => seen.events.length >= 10, 'all events');
  const [, , gap] = events[5];
  assert.deepEqual(events.map(([name]) => name).filter((name) => name !== 'n:n'), ['pubsub:gap']);
  assert.equal(gap.payload.requested, events[4][1]);
  const payloads = events.filter(([name]) => name === 'n:n').map(([, , envelope]) => envelope.payload);
  assert.deepEqual(payloads, numbers(9));
  assert.equal(new Set(events.map(([, id]) => id)).size, 10);
  await page.close();
  await other.stop();
});

test('a page with tickets sees what is not for everybody, once, also when its connection breaks', async () => {
  const on = channel('secure');
  const cutter = await Cutter.before(demo.url);
  const page = await browser.page(site);
  await page.run(
    (url, on, token) => {
      let position = '';
      const open = async () => {
        const headers = { authorization: `Bearer ${token}` };
        const { ticket } = await (await fetch(`${url}/sse-ticket`, { method: 'POST', headers })).json();
        seen.url = `${url}/events?channel=${on}&ticket=${encodeURIComponent(ticket)}`;
        const source = new EventSource(`${seen.url}&lastEventId=${position}`);
        source.onopen = () => (seen.opened = (seen.opened ?? 0) + 1);
        source.addEventListener('n:n', (event) => {
          position = event.lastEventId;
          seen.events.push(JSON.parse(event.data).payload);
        });
        source.onerror = () => {
          // It would come back with the old ticket.
          source.close();
          const again = () => open().catch(() => setTimeout(again, 50));
          again();
        };
      };
      return open();
    },
    cutter.url,
    on,
    READER,
  );
  await page.has((seen) => seen.opened === 1, 'a connection');
  await publishAndCut(on, 100, 3, cutter, page, { authorization: `Bearer ${WRITER}` });
  const seen = await page.has((all) => all.events.length >= 100, 'all events');
  assert.deepEqual(seen.events, numbers(100));
  // A ticket that was used does not open another stream.
  await page.run(() => {
    const source = new EventSource(seen.url);
    source.onerror = () => (seen.refused = source.readyState === EventSource.CLOSED);
  });
  await page.has((all) => all.refused === true, 'a refusal');
  await page.close();
  cutter.close();
});

test('the stock tRPC client works in a page of another origin', async () => {
  const on = channel('secure');
  const cutter = await Cutter.before(demo.url);
  const page = await browser.page(site);
  const answers = await page.run(
    async (url, on, token) => {
      const { createTRPCClient, httpBatchStreamLink, httpSubscriptionLink, splitLink } = await import('@trpc/client');
      const client = createTRPCClient({
        links: [
          splitLink({
            condition: (op) => op.type === 'subscription',
            true: httpSubscriptionLink({ url: `${url}/trpc`, connectionParams: async () => ({ token }) }),
            false: httpBatchStreamLink({ url: `${url}/trpc`, headers: { authorization: `Bearer ${token}` } }),
          }),
        ],
      });
      await new Promise((resolve, reject) => {
        client.pubsub.subscribe.subscribe(
          { channel: on },
          {
            onStarted: () => resolve((seen.started = (seen.started ?? 0) + 1)),
            onData: (item) => seen.events.push([item.id, item.data.payload]),
            onError: reject,
          },
        );
      });
      const [info, failed] = await Promise.allSettled([
        client.pubsub.getChannelInfo.query({ channel: on }),
        client.pubsub.getChannelInfo.query({ channel: 'nowhere' }),
      ]);
      await client.pubsub.publish.mutate({ channel: on, name: 'n:n', payload: 0 });
      return [info.value.name, failed.reason.data.code];
    },
    cutter.url,
    on,
    WRITER,
  );
  assert.deepEqual(answers, [on, 'NOT_FOUND']);
  await page.has((seen) => seen.events.length === 1, 'the first event');
  const writer = { authorization: `Bearer ${WRITER}` };
  for (let n = 1; n < 30; n += 1) {
    await demo.publish(on, 'n:n', n, writer);
    if (n % 10 === 5) {
      await page.has((seen) => seen.started >= 1 + Math.floor(n / 10), 'a connection');
      cutter.cut();
    }
  }
  const seen = await page.has((all) => all.events.length >= 30, 'all events');
  assert.deepEqual(seen.events.map(([, payload]) => payload), numbers(30));
  assert.ok(seen.started >= 3);
  await page.close();
  cutter.close();
});
