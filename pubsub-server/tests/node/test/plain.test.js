// The plain endpoints: event streams, and the calls that need no client.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { EventSource } from 'eventsource';

import { Cutter } from '../lib/cutter.js';
import { Demo, READER, WRITER } from '../lib/demo.js';
import { channel, id } from '../lib/names.js';
import { RawStream } from '../lib/sse.js';
import { until } from '../lib/wait.js';

let demo;
before(async () => {
  demo = await Demo.start();
});
after(() => demo.stop());

const stream = (query, headers) => RawStream.open(`${demo.url}/events?${query}`, headers);
const bearer = (token) => ({ authorization: `Bearer ${token}` });

test('a stream begins at once, and its events have names and ids', async () => {
  const on = channel();
  const raw = await stream(`channel=${on}`);
  assert.equal(raw.status, 200);
  assert.match(raw.headers.get('content-type'), /^text\/event-stream/);
  assert.equal(raw.headers.get('x-accel-buffering'), 'no');
  assert.equal(raw.headers.get('content-encoding'), null);
  assert.equal(raw.headers.get('pubsub-last-event-id'), null);
  await raw.has(() => raw.comments.length > 0, 'a comment');
  assert.equal(raw.blocks[0][0], 'retry: 300');
  const told = await demo.publish(on, 'thing:made', { text: '\n\r\n  ' });
  const [event] = await raw.count(1);
  assert.deepEqual([event.event, event.id], ['thing:made', told.cursor]);
  const { meta, ...envelope } = JSON.parse(event.data);
  assert.deepEqual(envelope, { id: told.eventId, name: 'thing:made', channel: on, payload: { text: '\n\r\n  ' }, timestamp: told.timestamp });
  assert.equal(meta.source, 'api');
  await raw.has(() => raw.comments.length >= 3, 'heartbeats');
  raw.close();
  const unnamed = await stream(`channel=${on}&named=false&lastEventId=earliest`);
  const [same] = await unnamed.count(1);
  assert.deepEqual([same.event, same.id], [undefined, told.cursor]);
  unnamed.close();
});

test('a stream is resumed, and says where it starts', async () => {
  const on = channel();
  const told = [];
  for (let n = 0; n < 5; n += 1) told.push(await demo.publish(on, 'n:n', n));
  const payloads = (raw) => raw.events.map((event) => JSON.parse(event.data).payload);
  const [one, two] = [told[1].cursor, told[2].cursor];
  for (const [query, headers, expected, starts] of [
    [`lastEventId=${one}`, {}, [2, 3, 4], one],
    [`lastEventId=${one}`, { 'last-event-id': two }, [3, 4], two],
    ['lastEventId=earliest', {}, [0, 1, 2, 3, 4], 'earliest'],
  ]) {
    const raw = await stream(`channel=${on}&${query}`, headers);
    await raw.count(expected.length);
    assert.deepEqual(payloads(raw), expected);
    assert.equal(raw.headers.get('pubsub-last-event-id'), starts);
    raw.close();
  }
  const short = channel('short');
  const gone = await demo.publish(short, 'n:n', 0);
  for (let n = 1; n < 8; n += 1) await demo.publish(short, 'n:n', n);
  const raw = await stream(`channel=${short}&event=n:n&lastEventId=${gone.cursor}`);
  await raw.count(6);
  assert.notEqual(raw.headers.get('pubsub-last-event-id'), gone.cursor);
  assert.equal(raw.events[0].event, 'pubsub:gap');
  assert.deepEqual(payloads(raw).slice(1), [3, 4, 5, 6, 7]);
  raw.close();
});

test('channels and events are chosen in the query', async () => {
  const [one, two] = [channel(), channel()];
  const raw = await stream(`channel=${one}&channel=${two}&event=a:a&event=b:b`);
  await demo.publish(one, 'a:a', 1);
  await demo.publish(one, 'c:c', 2);
  await demo.publish(two, 'b:b', 3);
  await raw.count(2);
  assert.deepEqual(raw.events.map((event) => event.event).sort(), ['a:a', 'b:b']);
  raw.close();
});

test('a stream that is refused is an HTTP error', async () => {
  const on = channel('short');
  const gone = await demo.publish(on, 'n:n', 0);
  for (let n = 1; n < 8; n += 1) await demo.publish(on, 'n:n', n);
  for (const [query, status, code, headers] of [
    ['', 400, 'BAD_REQUEST'],
    ['channel=a%20b', 400, 'BAD_REQUEST'],
    [`channel=${channel()}&event=nocolon`, 400, 'BAD_REQUEST'],
    [`channel=${channel()}&lastEventId=made%20up`, 400, 'BAD_REQUEST'],
    [`channel=${channel()}&onGap=maybe`, 400, 'BAD_REQUEST'],
    [Array.from({ length: 33 }, () => `channel=${channel()}`).join('&'), 400, 'BAD_REQUEST'],
    [`channel=${channel()}&connectionParams=7`, 400, 'PARSE_ERROR'],
    [`channel=${channel('secure')}`, 401, 'UNAUTHORIZED'],
    [`channel=${channel()}`, 401, 'UNAUTHORIZED', bearer('forged')],
    ['channel=nowhere', 404, 'NOT_FOUND'],
    [`channel=${on}&lastEventId=${gone.cursor}&onGap=error`, 412, 'PRECONDITION_FAILED'],
  ]) {
    const response = await demo.fetch(`/events?${query}`, { headers });
    assert.deepEqual([response.status, response.body?.error.data.code], [status, code], `${query}: ${response.text.slice(0, 300)}`);
    assert.equal(response.headers.get('content-type'), 'application/json');
  }
});

test('a ticket opens one stream, once', async () => {
  const on = channel('secure');
  assert.equal((await demo.post('/sse-ticket', {})).status, 401);
  const { status, body } = await demo.post('/sse-ticket', {}, bearer(READER));
  assert.equal(status, 200);
  const left = Date.parse(body.expiresAt) - Date.now();
  assert.ok(left > 50_000 && left < 61_000, `${left}`);
  const query = `channel=${on}&ticket=${encodeURIComponent(body.ticket)}`;
  const raw = await stream(query);
  assert.equal(raw.status, 200);
  await raw.has(() => raw.blocks.length > 0, 'the start');
  await demo.publish(on, 'a:b', 1, bearer(WRITER));
  await raw.count(1);
  raw.close();
  assert.equal((await demo.fetch(`/events?${query}`)).status, 401);
  assert.equal((await demo.fetch(`/events?channel=${on}&ticket=forged`)).status, 401);
});

test('an EventSource whose connection breaks again and again gets every event once', async () => {
  const on = channel();
  const cutter = await Cutter.before(demo.url);
  const source = new EventSource(`${cutter.url}/events?channel=${on}`);
  const got = [];
  source.addEventListener('n:n', (event) => got.push(JSON.parse(event.data).payload));
  await until(() => source.readyState === EventSource.OPEN, 'a connection');
  let cuts = 0;
  for (let n = 0; n < 300; n += 1) {
    await demo.publish(on, 'n:n', n);
    if (n % 60 === 30) {
      await until(() => got.length > 0 && source.readyState === EventSource.OPEN, 'a connection');
      cuts += cutter.cut() > 0 ? 1 : 0;
    }
  }
  await until(() => got.length >= 300, () => `all events, not ${got.length}`);
  assert.deepEqual(got, Array.from({ length: 300 }, (_, n) => n));
  assert.ok(cuts >= 4, `${cuts}`);
  source.close();
  cutter.close();
});

test('calls have plain endpoints', async () => {
  const on = channel();
  const published = await demo.post(`/channels/${on}/events`, { name: 'a:b', payload: 1, id: id() });
  assert.deepEqual([published.status, published.body.success, published.body.channel], [200, true, on]);
  const history = await demo.fetch(`/channels/${on}/history?limit=10`);
  assert.equal(history.body.items[0].id, published.body.cursor);
  const later = await demo.fetch(`/channels/${on}/history?after=${published.body.cursor}`);
  assert.deepEqual(later.body.items, []);
  const sent = await demo.post('/events', { name: 'ping:message', payload: { message: 'x' } });
  assert.deepEqual([sent.status, sent.body.result.reply], [200, 'Pong: x']);
  const { body } = await demo.fetch('/channels');
  assert.ok(body.channels.some((one) => one.name === on));
  assert.equal((await demo.fetch('/status')).body.status, 'running');
  const health = await demo.fetch('/health');
  assert.deepEqual([health.status, health.body.healthy], [200, true]);
  assert.equal((await demo.fetch('/livez')).status, 200);
  assert.equal((await demo.fetch('/readyz')).status, 200);
  const metrics = await demo.fetch('/metrics');
  assert.equal(metrics.status, 200);
  assert.match(metrics.headers.get('content-type'), /^text\/plain/);
  for (const type of [undefined, 'text/plain']) {
    const headers = type ? { 'content-type': type } : {};
    const body = new TextEncoder().encode('{}');
    const { status, body: told } = await demo.fetch('/events', { method: 'POST', body, headers });
    assert.deepEqual([status, told.error.data.code], [415, 'UNSUPPORTED_MEDIA_TYPE']);
  }
  assert.equal((await demo.fetch('/no/such')).status, 404);
});

test('foreign pages may ask, as the application allows', async () => {
  const origin = 'https://app.example';
  const preflight = await demo.fetch('/trpc/pubsub.publish', {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type,trpc-accept,last-event-id,idempotency-key',
    },
  });
  assert.ok([200, 204].includes(preflight.status));
  const list = (name) => (preflight.headers.get(name) ?? '').toLowerCase().split(/ *, */);
  for (const method of ['get', 'post', 'head']) assert.ok(list('access-control-allow-methods').includes(method), method);
  for (const name of ['content-type', 'authorization', 'trpc-accept', 'last-event-id', 'idempotency-key']) {
    assert.ok(list('access-control-allow-headers').includes(name), name);
  }
  for (const path of ['/trpc/pubsub.health', '/trpc/no.such', `/events?channel=nowhere`, '/status']) {
    const { headers } = await demo.fetch(path, { headers: { origin } });
    assert.ok(['*', origin].includes(headers.get('access-control-allow-origin')), path);
  }
  const raw = await stream(`channel=${channel()}&lastEventId=earliest`, { origin });
  assert.ok(['*', origin].includes(raw.headers.get('access-control-allow-origin')));
  assert.match(raw.headers.get('access-control-expose-headers') ?? '', /pubsub-last-event-id/i);
  raw.close();
});
