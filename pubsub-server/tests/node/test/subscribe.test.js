// Subscriptions by the stock link with an EventSource for Node.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { client, Subscription } from '../lib/client.js';
import { Demo, READER, WRITER } from '../lib/demo.js';
import { call, channel } from '../lib/names.js';
import { RawStream } from '../lib/sse.js';
import { until } from '../lib/wait.js';

let demo, pubsub;
before(async () => {
  demo = await Demo.start();
  pubsub = client(demo.url).pubsub;
});
after(() => demo.stop());

const open = (input, options) => Subscription.open(client(demo.url, options).pubsub.subscribe, input);

async function publish(on, from, count) {
  const told = [];
  for (let n = from; n < from + count; n += 1) told.push(await demo.publish(on, 'n:n', n));
  return told;
}

test('what is published once a client sees itself connected arrives', async () => {
  // Many times, for what is tried is a race.
  for (let round = 0; round < 20; round += 1) {
    const on = channel();
    const subscription = await open({ channel: on });
    const told = await demo.publish(on, 'a:b', round);
    const [item] = await subscription.count(1);
    assert.equal(item.id, told.cursor);
    assert.deepEqual([item.data.id, item.data.payload, item.data.channel], [told.eventId, round, on]);
    subscription.close();
  }
});

test('every item is tracked, in order, and only the later ones come', async () => {
  const on = channel();
  await publish(on, 0, 5);
  const subscription = await open({ channel: on });
  const told = await publish(on, 5, 100);
  const items = await subscription.count(100);
  assert.deepEqual(items.map((item) => item.id), told.map((one) => one.cursor));
  assert.deepEqual(subscription.payloads(), told.map((_, n) => n + 5));
  assert.equal(new Set(items.map((item) => item.id)).size, 100);
  subscription.close();
});

test('a subscription resumes after any position', async () => {
  const on = channel();
  const told = await publish(on, 0, 30);
  for (const position of [{ lastEventId: told[9].cursor }, { cursor: told[9].cursor }, { cursor: told[3].cursor, lastEventId: told[9].cursor }]) {
    const subscription = await open({ channel: on, ...position });
    await subscription.count(20);
    assert.deepEqual(subscription.payloads(), Array.from({ length: 20 }, (_, n) => n + 10));
    subscription.close();
  }
  const all = await open({ channel: on, lastEventId: 'earliest' });
  await publish(on, 30, 5);
  await all.count(35);
  assert.deepEqual(all.payloads(), Array.from({ length: 35 }, (_, n) => n));
  all.close();
  const none = await open({ channel: on, lastEventId: '' });
  await publish(on, 35, 1);
  await none.count(1);
  assert.deepEqual(none.payloads(), [35]);
  none.close();
});

test('nothing is lost nor doubled where history meets what is live', async () => {
  const on = channel();
  const [first] = await publish(on, 0, 1);
  let n = 1;
  let on_going = true;
  const publishing = (async () => {
    while (on_going) await publish(on, n++, 1);
  })();
  await until(() => n > 50, 'some events');
  const subscriptions = await Promise.all(
    Array.from({ length: 10 }, () => open({ channel: on, lastEventId: first.cursor })),
  );
  await until(() => n > 200, 'more events');
  on_going = false;
  await publishing;
  for (const subscription of subscriptions) {
    await subscription.count(n - 1);
    assert.deepEqual(subscription.payloads(), Array.from({ length: n - 1 }, (_, at) => at + 1));
    subscription.close();
  }
});

test('a position that is gone is told by an event of its own', async () => {
  const on = channel('short');
  const told = await publish(on, 0, 10);
  const subscription = await open({ channel: on, lastEventId: told[0].cursor });
  await subscription.count(6);
  const [gap, ...rest] = subscription.items;
  assert.equal(gap.data.name, 'pubsub:gap');
  assert.equal(gap.data.payload.requested, told[0].cursor);
  assert.deepEqual(rest.map((item) => item.data.payload), [5, 6, 7, 8, 9]);
  subscription.close();
  // From its id on the next event follows.
  const after = await open({ channel: on, lastEventId: gap.id });
  await after.count(5);
  assert.deepEqual(after.payloads(), [5, 6, 7, 8, 9]);
  after.close();
  const strict = new Subscription(pubsub.subscribe, { channel: on, lastEventId: told[0].cursor, onGap: 'error' });
  const error = await strict.fails();
  assert.deepEqual([error.data.code, error.data.httpStatus], ['PRECONDITION_FAILED', 412]);
  assert.deepEqual(strict.items, []);
});

test('a stream has several channels, and one position for all', async () => {
  const [one, two] = [channel(), channel()];
  const subscription = await open({ channels: [one, two] });
  for (let n = 0; n < 10; n += 1) await demo.publish(n % 2 ? one : two, 'n:n', n);
  await subscription.count(10);
  subscription.close();
  const half = subscription.items[4];
  const seen = new Set(subscription.items.slice(0, 5).map((item) => item.data.payload));
  const rest = await open({ channels: [one, two], lastEventId: half.id });
  await demo.publish(one, 'n:n', 10);
  await rest.count(6);
  const all = [...seen, ...rest.payloads()].sort((a, b) => a - b);
  assert.deepEqual(all, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  rest.close();
});

test('events are chosen by name', async () => {
  const on = channel();
  const chosen = await Promise.all([
    open({ channel: on, eventTypes: ['a:a', 'c:c'] }),
    open({ channel: on, filters: { name: ['a:a', 'c:c'] } }),
  ]);
  const one = await open({ channel: on, filters: { name: 'c:c' } });
  for (const name of ['a:a', 'b:b', 'c:c', 'a:a']) await demo.publish(on, name, name);
  for (const subscription of chosen) {
    await subscription.count(3);
    assert.deepEqual(subscription.payloads(), ['a:a', 'c:c', 'a:a']);
  }
  await one.count(1);
  assert.deepEqual(one.payloads(), ['c:c']);
  for (const subscription of [...chosen, one]) subscription.close();
});

test('why a subscription is refused is told to its client', async () => {
  const on = channel();
  const cases = [
    [{}, 'BAD_REQUEST'],
    [undefined, 'BAD_REQUEST'],
    [{ channel: on, channels: [on] }, 'BAD_REQUEST'],
    [{ channels: [] }, 'BAD_REQUEST'],
    [{ channels: Array.from({ length: 33 }, () => channel()) }, 'BAD_REQUEST'],
    [{ channel: 'a b' }, 'BAD_REQUEST'],
    [{ channel: on, eventTypes: ['nocolon'] }, 'BAD_REQUEST'],
    [{ channel: on, onGap: 'maybe' }, 'BAD_REQUEST'],
    [{ channel: on, lastEventId: 'made up' }, 'BAD_REQUEST'],
    [{ channel: on, lastEventId: 'made-up' }, 'BAD_REQUEST'],
    [{ channel: on, lastEventId: 'x'.repeat(2049) }, 'BAD_REQUEST'],
    [{ channel: 'nowhere' }, 'NOT_FOUND'],
    [{ channel: channel('secure') }, 'UNAUTHORIZED'],
    [{ channel: on }, 'UNAUTHORIZED', 'forged'],
  ];
  for (const [input, code, token] of cases) {
    const subscription = new Subscription(client(demo.url, { token }).pubsub.subscribe, input);
    const error = await subscription.fails();
    assert.equal(error.data?.code, code, `${JSON.stringify(input ?? null).slice(0, 100)}: ${error.message}`);
    assert.equal(error.data.path, 'pubsub.subscribe');
  }
  // There is no stream that could tell it.
  const unknown = new Subscription(client(demo.url).no.such, {});
  assert.equal((await unknown.fails()).data, undefined);
});

test('readers read what is not for everybody', async () => {
  const on = channel('secure');
  for (const token of [READER, WRITER]) {
    const subscription = await open({ channel: on }, { token });
    await demo.publish(on, 'a:b', token, { authorization: `Bearer ${WRITER}` });
    await subscription.count(1);
    assert.equal(subscription.items[0].data.meta.userId, 'writer');
    subscription.close();
  }
});

test('a channel with enough subscribers takes no more', async () => {
  const on = channel('tiny');
  const two = [await open({ channel: on }), await open({ channel: on })];
  const third = new Subscription(pubsub.subscribe, { channel: on });
  assert.equal((await third.fails()).data.code, 'TOO_MANY_REQUESTS');
  two[0].close();
  // What a client that left held is free soon.
  await until(async () => (await pubsub.getChannelInfo.query({ channel: on })).activeSubscribers === 1, 'a free place', 2000);
  const next = await open({ channel: on });
  next.close();
  two[1].close();
});

test('a channel that is silent keeps its connection', async () => {
  const subscription = await open({ channel: channel() });
  // Longer than after what silence the client would reconnect; the pings of the wire are counted beside it.
  const raw = await RawStream.open(demo.url + call('pubsub.subscribe', { channel: channel() }));
  await raw.has(() => raw.events.filter((event) => event.event === 'ping').length >= 8, '8 pings');
  assert.equal(subscription.started, 1);
  assert.deepEqual(subscription.states.map((state) => state.state), ['connecting', 'pending']);
  subscription.close();
  raw.close();
});

test('a client takes a server that says nothing for gone, comes back, and misses nothing', async () => {
  const on = channel();
  const other = await Demo.start();
  try {
    const subscription = await Subscription.open(client(other.url).pubsub.subscribe, { channel: on });
    await other.publish(on, 'n:n', 0);
    await subscription.count(1);
    const go_on = other.freeze();
    await subscription.has((all) => all.states.some((state) => /Timeout/.test(state.error?.message)), 'a timeout');
    go_on();
    await other.publish(on, 'n:n', 1);
    await subscription.has((all) => all.started === 2, 'a second connection');
    await other.publish(on, 'n:n', 2);
    await subscription.count(3);
    assert.deepEqual(subscription.payloads(), [0, 1, 2]);
    subscription.close();
  } finally {
    await other.stop();
  }
});

test('a server that starts again has lost its history and says so, and the subscription goes on', async () => {
  const on = channel();
  const other = await Demo.start();
  try {
    const subscription = await Subscription.open(client(other.url).pubsub.subscribe, { channel: on });
    await other.publish(on, 'n:n', 0);
    await subscription.count(1);
    await other.restart();
    await subscription.has((all) => all.items.length === 2, 'the gap');
    await other.publish(on, 'n:n', 1);
    await subscription.count(3);
    assert.equal(subscription.items[1].data.name, 'pubsub:gap');
    assert.equal(subscription.items[1].data.payload.requested, subscription.items[0].id);
    assert.equal(subscription.items[2].data.payload, 1);
    assert.equal(subscription.error, null);
    assert.equal(subscription.started, 2);
    subscription.close();
  } finally {
    await other.stop();
  }
});

test('the procedure of an event resumes as well', async () => {
  const { orders } = client(demo.url);
  const first = await Subscription.open(orders.onCreated, {});
  for (let total = 1; total <= 3; total += 1) await orders.created.mutate({ orderId: `o${total}`, total });
  await first.count(3);
  first.close();
  const rest = await Subscription.open(orders.onCreated, { lastEventId: first.items[0].id });
  await rest.count(2);
  assert.deepEqual(rest.payloads().map((payload) => payload.total), [2, 3]);
  rest.close();
});

test('what a client leaves is released', async () => {
  const other = await Demo.start();
  try {
    const { pubsub: api } = client(other.url);
    const subscriptions = await Promise.all(
      Array.from({ length: 20 }, () => Subscription.open(api.subscribe, { channels: [channel(), channel()] })),
    );
    assert.equal(await other.subscriptions(), 20);
    for (const subscription of subscriptions) subscription.close();
    await until(async () => (await other.subscriptions()) === 0, 'no subscription', 2000);
  } finally {
    await other.stop();
  }
});

test('the wire of a subscription', async () => {
  const on = channel();
  const raw = await RawStream.open(demo.url + call('pubsub.subscribe', { channel: on }));
  assert.equal(raw.status, 200);
  assert.match(raw.headers.get('content-type'), /^text\/event-stream/);
  assert.match(raw.headers.get('cache-control'), /no-cache/);
  assert.match(raw.headers.get('cache-control'), /no-transform/);
  assert.equal(raw.headers.get('x-accel-buffering'), 'no');
  const [connected] = await raw.count(1);
  assert.equal(connected.event, 'connected');
  assert.deepEqual(JSON.parse(connected.data), { reconnectAfterInactivityMs: 3000 });
  assert.ok(raw.blocks.flat().includes('retry: 300'));
  const told = await demo.publish(on, 'a:b', 'two\nlines');
  await raw.has(() => raw.events.some((event) => event.id), 'an event');
  const event = raw.events.find((one) => one.id);
  assert.deepEqual([event.id, event.event], [told.cursor, undefined]);
  assert.equal(JSON.parse(event.data).payload, 'two\nlines');
  raw.close();
  // The header wins over the URL, and the URL over the input.
  const cursors = (await publish(on, 0, 3)).map((one) => one.cursor);
  for (const [headers, more, first] of [
    [{ 'last-event-id': cursors[1] }, `lastEventId=${cursors[0]}`, 2],
    [{}, `lastEventId=${cursors[0]}`, 1],
    [{}, `Last-Event-Id=${cursors[0]}`, 1],
    [{}, '', 0],
  ]) {
    const input = { channel: on, lastEventId: told.cursor };
    const resumed = await RawStream.open(demo.url + call('pubsub.subscribe', input, more), headers);
    await resumed.has(() => resumed.events.some((one) => one.id), 'an event');
    assert.equal(JSON.parse(resumed.events.find((one) => one.id).data).payload, first);
    resumed.close();
  }
  const refused = await RawStream.open(demo.url + call('pubsub.subscribe', { channel: 'nowhere' }));
  await refused.end();
  assert.equal(refused.status, 200);
  assert.deepEqual(refused.events.map((one) => one.event), ['connected', 'serialized-error']);
  assert.equal(JSON.parse(refused.events[1].data).data.code, 'NOT_FOUND');
  const unknown = await RawStream.open(`${demo.url}/trpc/no.such`);
  assert.equal(unknown.status, 404);
  unknown.close();
});
