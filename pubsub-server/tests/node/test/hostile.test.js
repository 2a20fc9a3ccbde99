// Clients that mean harm, or are broken: they are turned away or dropped, and others do not notice.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

import { client, Subscription } from '../lib/client.js';
import { Demo } from '../lib/demo.js';
import { call, channel } from '../lib/names.js';
import { RawStream } from '../lib/sse.js';
import { until } from '../lib/wait.js';

const CONNECTIONS = process.env.PUBSUB_TEST_LONG ? 5000 : 300;

let demo;
before(async () => {
  demo = await Demo.start();
});
after(() => demo.stop());

/** A connection that does what the test says, and nothing else. */
async function raw(text, { reads = true } = {}) {
  const { hostname, port } = new URL(demo.url);
  const socket = connect(Number(port), hostname);
  const seen = { socket, text: '', closed: false };
  socket.on('error', () => (seen.closed = true));
  socket.on('close', () => (seen.closed = true));
  if (reads) socket.setEncoding('latin1').on('data', (part) => (seen.text += part));
  else socket.pause();
  await new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  socket.write(text, 'latin1');
  return seen;
}

const post = (length) =>
  `POST /trpc/pubsub.publish HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;

/** That others are served, and soon. */
async function othersAreServed() {
  const begun = Date.now();
  const told = await demo.publish(channel(), 'a:b', 1);
  assert.equal(told.success, true);
  assert.ok(Date.now() - begun < 2000, `${Date.now() - begun} ms`);
}

test('a body that trickles is given up', async () => {
  const slow = await Promise.all(Array.from({ length: 50 }, () => raw(`${post(1000)}{`)));
  const drip = setInterval(() => slow.forEach(({ socket }) => socket.write(' ')), 100);
  await othersAreServed();
  await until(() => slow.every((one) => one.closed || one.text.startsWith('HTTP/1.1 408')), 'an end of all', 30_000);
  clearInterval(drip);
  for (const { socket } of slow) socket.destroy();
});

test('requests that never become whole do not bind the server', async () => {
  const halves = await Promise.all(Array.from({ length: 200 }, () => raw('GET /trpc/pubsub.health HTTP/1.1\r\nhost: ')));
  await othersAreServed();
  for (const { socket } of halves) socket.destroy();
  const nonsense = await raw('\x16\x03\x01\x02\x00 this is no HTTP \r\n\r\n');
  await until(() => nonsense.closed || nonsense.text.startsWith('HTTP/1.1 4'), 'a refusal');
  nonsense.socket.destroy();
});

test('a client that hangs up in the middle of a request leaves nothing', async () => {
  for (const { socket } of await Promise.all(Array.from({ length: 50 }, () => raw(`${post(1000)}{"channel":`)))) socket.destroy();
  await othersAreServed();
});

test('bytes that have no place in a header or a path are refused', async () => {
  for (const [request, statuses] of [
    ['GET /events?channel=demo.x HTTP/1.1\r\nhost: x\r\nlast-event-id: a\x01b\r\n\r\n', [400]],
    ['GET /events?channel=demo.x HTTP/1.1\r\nhost: x\r\nlast-event-id: \xff\xfe\r\n\r\n', [400]],
    ['GET /events?channel=demo.x&lastEventId=a%0d%0aset-cookie:%20x HTTP/1.1\r\nhost: x\r\n\r\n', [400]],
    ['GET /events?channel=demo.x%0d%0aset-cookie:%20x HTTP/1.1\r\nhost: x\r\n\r\n', [400]],
    ['GET /channels/a%00b/history HTTP/1.1\r\nhost: x\r\n\r\n', [400]],
    ['GET /channels/%ff/history HTTP/1.1\r\nhost: x\r\n\r\n', [400]],
    ['GET /channels/..%2f..%2fetc%2fpasswd/history HTTP/1.1\r\nhost: x\r\n\r\n', [400, 404]],
    ['GET /trpc/pubsub.health\x00 HTTP/1.1\r\nhost: x\r\n\r\n', [400]],
  ]) {
    const told = await raw(request);
    await until(() => told.text.includes('\r\n\r\n') || told.closed, `an answer to ${JSON.stringify(request)}`);
    const status = Number(told.text.split(' ')[1]);
    assert.ok(statuses.includes(status), `${JSON.stringify(request)}: ${told.text.slice(0, 200)}`);
    assert.ok(!/^set-cookie/im.test(told.text), told.text);
    told.socket.destroy();
  }
});

test('a position of another channel, or one that was changed, is worth nothing', async () => {
  const [on, other] = [channel(), channel()];
  const { cursor } = await demo.publish(on, 'n:n', 1);
  await demo.publish(on, 'n:n', 2);
  await demo.publish(other, 'n:n', 3);
  const outcome = async (position) => {
    const stream = await RawStream.open(`${demo.url}/events?channel=${other}&lastEventId=${position}`);
    if (stream.status !== 200) {
      stream.close();
      assert.equal(stream.status, 400, position);
      return;
    }
    // It may be taken for one of another time: then that is said, and only what the channel has comes.
    await stream.count(2);
    assert.deepEqual(stream.events.map((event) => event.event), ['pubsub:gap', 'n:n']);
    assert.equal(JSON.parse(stream.events[1].data).payload, 3);
    stream.close();
  };
  await outcome(cursor);
  for (let at = 0; at < cursor.length; at += 1) {
    await outcome(`${cursor.slice(0, at)}${cursor[at] === 'A' ? 'B' : 'A'}${cursor.slice(at + 1)}`);
    await outcome(cursor.slice(0, at) || 'A');
  }
});

test('clients that never read are dropped, and others get everything', async () => {
  const on = channel();
  const path = call('pubsub.subscribe', { channel: on });
  const requests = [`/events?channel=${on}`, path].map((target) => `GET ${target} HTTP/1.1\r\nhost: x\r\n\r\n`);
  const deaf = await Promise.all(Array.from({ length: CONNECTIONS }, (_, n) => raw(requests[n % 2], { reads: false })));
  const listening = await Subscription.open(client(demo.url).pubsub.subscribe, { channel: on });
  await demo.subscribed(CONNECTIONS + 1);
  // Until the buffers of the system and of the server are full, which differ from machine to machine.
  const payload = 'x'.repeat(60_000);
  let count = 0;
  while ((await demo.subscriptions()) > 1) {
    assert.ok(count < 2000, 'those who do not read are still there');
    for (let n = 0; n < 20; n += 1) await demo.publish(on, 'n:n', { n: count++, payload });
  }
  await listening.count(count);
  assert.deepEqual(listening.payloads().map(({ n }) => n), Array.from({ length: count }, (_, n) => n));
  const { body } = await demo.fetch('/trpc/pubsub.getSubscriptionStats');
  assert.equal(body.result.data.slowConsumersDropped, CONNECTIONS);
  assert.equal(listening.started, 1);
  listening.close();
  for (const { socket } of deaf) socket.destroy();
  await demo.subscribed(0);
});
