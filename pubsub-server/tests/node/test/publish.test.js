// Publishing, and what can be asked about events and channels, by single calls.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { client, failure } from '../lib/client.js';
import { Demo } from '../lib/demo.js';
import { channel, id } from '../lib/names.js';

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const VISIBLE = /^[!-~]{1,2048}$/;

let demo, pubsub;
before(async () => {
  demo = await Demo.start();
  pubsub = client(demo.url).pubsub;
});
after(() => demo.stop());

test('an event that is published is in the history as it was told', async () => {
  const on = channel();
  const payload = { text: 'ä € 😀 "\n', n: 1.5, list: [null, true] };
  const told = await pubsub.publish.mutate({ channel: on, name: 'thing:made', payload, meta: { colour: 'red' }, correlationId: 'c-1' });
  const { eventId, cursor, timestamp, ...rest } = told;
  assert.deepEqual(rest, { success: true, channel: on, duplicate: false });
  assert.match(eventId, UUID_V4);
  assert.match(timestamp, ISO);
  assert.match(cursor, VISIBLE);
  assert.notEqual(cursor, eventId);

  const history = await pubsub.fetchHistory.query({ channel: on });
  assert.deepEqual({ channel: history.channel, hasMore: history.hasMore, latest: history.latest }, { channel: on, hasMore: false, latest: cursor });
  assert.equal(history.items.length, 1);
  const [{ id: at, data }] = history.items;
  assert.equal(at, cursor);
  const { meta, ...envelope } = data;
  assert.deepEqual(envelope, { id: eventId, name: 'thing:made', channel: on, payload, timestamp });
  assert.equal(meta.colour, 'red');
  assert.equal(meta.correlationId, 'c-1');
  assert.equal(meta.source, 'api');
});

test('a payload that is left out is null, and what the server says of an event cannot be forged', async () => {
  const on = channel();
  const forged = { source: 'action', userId: 'root', clientEventId: 'x', correlationId: 'y', kept: 1 };
  await pubsub.publish.mutate({ channel: on, name: 'a:b', meta: forged });
  const { items } = await pubsub.fetchHistory.query({ channel: on });
  assert.equal(items[0].data.payload, null);
  const { version, ...meta } = items[0].data.meta;
  assert.deepEqual(meta, { kept: 1, source: 'api' });
});

test('an id that is used again publishes nothing', async () => {
  const [one, other] = [channel(), channel()];
  const event = { channel: one, name: 'a:b', payload: 1, id: id() };
  const first = await pubsub.publish.mutate(event);
  assert.deepEqual([first.eventId, first.duplicate], [event.id, false]);
  const again = await pubsub.publish.mutate({ ...event, payload: 2 });
  assert.deepEqual(again, { ...first, duplicate: true });
  assert.equal((await pubsub.fetchHistory.query({ channel: one })).items.length, 1);
  // Ids belong to their channel.
  assert.equal((await pubsub.publish.mutate({ ...event, channel: other })).duplicate, false);
  // Of many at once one is published.
  const racing = { channel: one, name: 'a:b', id: id() };
  const all = await Promise.all(Array.from({ length: 20 }, () => pubsub.publish.mutate(racing)));
  assert.equal(all.filter((told) => !told.duplicate).length, 1);
  assert.equal(new Set(all.map((told) => told.cursor)).size, 1);
});

test('history is read from a position, from a time, and by pages', async () => {
  const on = channel();
  const told = [];
  for (let n = 0; n < 25; n += 1) told.push(await pubsub.publish.mutate({ channel: on, name: 'n:n', payload: n }));
  const numbers = (history) => history.items.map((item) => item.data.payload);

  const last = await pubsub.fetchHistory.query({ channel: on, limit: 10 });
  assert.deepEqual(numbers(last), [15, 16, 17, 18, 19, 20, 21, 22, 23, 24]);
  assert.equal(last.latest, told[24].cursor);

  const pages = [];
  let after = told[4].cursor;
  for (let hasMore = true; hasMore; ) {
    const page = await pubsub.fetchHistory.query({ channel: on, after, limit: 8 });
    pages.push(numbers(page));
    after = page.items.at(-1).id;
    hasMore = page.hasMore;
  }
  assert.deepEqual(pages, [[5, 6, 7, 8, 9, 10, 11, 12], [13, 14, 15, 16, 17, 18, 19, 20], [21, 22, 23, 24]]);

  const end = await pubsub.fetchHistory.query({ channel: on, after: told[24].cursor });
  assert.deepEqual([end.items, end.hasMore, end.latest], [[], false, told[24].cursor]);
  const since = await pubsub.fetchHistory.query({ channel: on, since: told[20].timestamp });
  assert.deepEqual(numbers(since), told.map((_, n) => n).filter((n) => told[n].timestamp > told[20].timestamp));
  const empty = await pubsub.fetchHistory.query({ channel: channel() });
  assert.deepEqual([empty.items, empty.hasMore, empty.latest], [[], false, null]);
});

test('history that is gone is said to be gone', async () => {
  const on = channel('short');
  const told = [];
  for (let n = 0; n < 10; n += 1) told.push(await pubsub.publish.mutate({ channel: on, name: 'n:n', payload: n }));
  const kept = await pubsub.fetchHistory.query({ channel: on });
  assert.deepEqual(kept.items.map((item) => item.data.payload), [5, 6, 7, 8, 9]);
  const expired = await failure(pubsub.fetchHistory.query({ channel: on, after: told[0].cursor }));
  assert.equal(expired.data.code, 'PRECONDITION_FAILED');
  assert.equal(expired.data.httpStatus, 412);
});

test('channels tell their policies', async () => {
  const on = channel('tiny');
  await pubsub.publish.mutate({ channel: on, name: 'a:b', payload: 1 });
  const info = await pubsub.getChannelInfo.query({ channel: on });
  assert.deepEqual(Object.keys(info).sort(), [
    'activeSubscribers', 'description', 'eventTypes', 'family', 'historyRetentionMs', 'historySize', 'latest',
    'maxEventSize', 'maxSubscribers', 'name', 'ordered', 'pattern',
  ]);
  assert.deepEqual(
    [info.name, info.pattern, info.maxEventSize, info.maxSubscribers, info.ordered, info.activeSubscribers],
    [on, false, 1024, 2, true, 0],
  );
  assert.match(info.latest, VISIBLE);

  const { channels } = await pubsub.listChannels.query();
  const names = new Map(channels.map((one) => [one.name, one]));
  for (const name of ['pingpong', 'orders', 'system']) assert.equal(names.get(name).pattern, false, name);
  for (const name of ['demo.*', 'short.*', 'tiny.*']) assert.equal(names.get(name).pattern, true, name);
  assert.equal(names.get(on).pattern, false);
  assert.equal(names.get('short.*').historySize, 5);
  assert.deepEqual(names.get('orders').eventTypes, ['orders:created']);
  assert.ok(!names.has('secure.*'), 'whoever may not read a channel does not see it');
  const seen = await client(demo.url, { token: 'reader-token' }).pubsub.listChannels.query();
  assert.ok(seen.channels.some((one) => one.name === 'secure.*'));
});

test('definitions come with their schemas', async () => {
  const { events, definitions, totalEvents } = await pubsub.getEventDefinitions.query();
  assert.deepEqual([...events].sort(), ['orders:created', 'ping:message', 'pong:response', 'system:log']);
  assert.equal(totalEvents, 4);
  const directions = Object.values(definitions).map((one) => [one.name, one.channel, one.direction]);
  assert.deepEqual(directions.sort(), [
    ['orders:created', 'orders', 'BOTH'],
    ['ping:message', 'pingpong', 'CSE'],
    ['pong:response', 'pingpong', 'SSE'],
    ['system:log', 'system', 'CSE'],
  ]);
  const schema = definitions['orders:created'].payloadSchema;
  assert.deepEqual([...schema.required].sort(), ['orderId', 'total']);
  assert.equal(schema.properties.total.type, 'number');
});

test('the service tells how it is', async () => {
  const status = await pubsub.getServiceStatus.query();
  assert.equal(status.status, 'running');
  assert.equal(status.adapter, 'memory');
  assert.equal(status.eventsRegistered, 4);
  assert.match(status.timestamp, ISO);
  assert.ok(status.uptime >= 0 && status.uptime < 3600 && typeof status.version === 'string');
  assert.ok(Array.isArray(status.channels) && Number.isInteger(status.activeSubscribers));

  const stats = await pubsub.getSubscriptionStats.query();
  assert.equal(stats.connectionStatus, 'connected');
  assert.deepEqual([stats.totalSubscriptions, stats.slowConsumersDropped], [0, 0]);
  assert.equal((await pubsub.health.query()).healthy, true);
});
