// A server that is told to end: it lets go of its clients so that they come back to another one.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { client, Subscription } from '../lib/client.js';
import { Demo } from '../lib/demo.js';
import { call, channel } from '../lib/names.js';
import { RawStream } from '../lib/sse.js';
import { until } from '../lib/wait.js';

test('while it drains nobody is sent away for good', async () => {
  const demo = await Demo.start();
  const on = channel();
  const streams = await Promise.all(
    Array.from({ length: 40 }, (_, n) =>
      RawStream.open(demo.url + (n % 2 ? `/events?channel=${on}` : call('pubsub.subscribe', { channel: on }))),
    ),
  );
  await demo.subscribed(40);
  const ended = demo.stop('SIGTERM');
  await until(async () => (await demo.fetch('/readyz')).status === 503, 'readiness to end');

  const [plain, trpc, query] = await Promise.all([
    demo.fetch(`/events?channel=${on}`),
    demo.fetch(call('pubsub.subscribe', { channel: on })),
    demo.post(`/channels/${on}/events`, { name: 'a:b', payload: 1 }),
  ]);
  assert.equal(plain.status, 200);
  assert.match(plain.text, /^retry: \d+$/m);
  assert.match(plain.headers.get('content-type'), /^text\/event-stream/);
  assert.equal(trpc.status, 200);
  assert.match(trpc.text, /^event: connected$/m);
  const [, error] = /^event: serialized-error\ndata: (.*)$/m.exec(trpc.text);
  assert.deepEqual([JSON.parse(error).code, JSON.parse(error).data.code], [-32603, 'SERVICE_UNAVAILABLE']);
  // Calls may still be served.
  if (query.status !== 200) {
    assert.deepEqual([query.status, query.body.error.data.code], [503, 'SERVICE_UNAVAILABLE']);
    assert.ok(Number(query.headers.get('retry-after')) >= 1);
  }

  for (const stream of streams) await stream.end();
  assert.ok(streams.every((stream) => stream.events.every((event) => event.event !== 'return')));
  assert.ok(streams.every((stream) => stream.rest === ''), 'each ended at the end of an event');
  await ended;
});

test('a subscription goes on at the server that follows', async () => {
  const demo = await Demo.start();
  const on = channel();
  const subscription = await Subscription.open(client(demo.url).pubsub.subscribe, { channel: on });
  await demo.publish(on, 'n:n', 0);
  await subscription.count(1);
  await demo.stop('SIGTERM');
  await demo.start();
  await subscription.has((all) => all.started >= 2, 'a second connection');
  await demo.publish(on, 'n:n', 1);
  await subscription.has((all) => all.payloads().includes(1), 'what came later');
  assert.deepEqual([subscription.error, subscription.completed], [null, false]);
  subscription.close();
  await demo.stop();
});
