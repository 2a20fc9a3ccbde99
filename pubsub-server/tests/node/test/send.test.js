// Client-sent events: actions, what they emit, and that they run once.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { client, failure, Subscription } from '../lib/client.js';
import { Demo } from '../lib/demo.js';
import { id } from '../lib/names.js';

let demo, api, pubsub;
before(async () => {
  demo = await Demo.start();
  api = client(demo.url);
  pubsub = api.pubsub;
});
after(() => demo.stop());

test('an action answers, and its events are published after the one that was sent', async () => {
  const listening = await Subscription.open(pubsub.subscribe, { channel: 'pingpong' });
  const told = await pubsub.sendEvent.mutate({ name: 'ping:message', payload: { message: 'hi' }, correlationId: 'c-9' });
  const { eventId, requestId, result, emittedEvents, message, ...rest } = told;
  assert.deepEqual(rest, { success: true, status: 'success', channel: 'pingpong', duplicate: false });
  assert.ok(typeof requestId === 'string' && typeof message === 'string');
  assert.deepEqual([result.reply, result.originalMessage], ['Pong: hi', 'hi']);
  assert.deepEqual(emittedEvents.map((event) => event.name), ['ping:message', 'pong:response']);
  assert.equal(emittedEvents[0].id, eventId);
  assert.deepEqual(emittedEvents[1].payload, result);
  assert.deepEqual(emittedEvents.map((event) => event.meta.correlationId), ['c-9', 'c-9']);
  assert.deepEqual(emittedEvents.map((event) => event.meta.source), ['api', 'action']);

  const items = await listening.count(2);
  assert.deepEqual(items.map((item) => item.data), emittedEvents);
  listening.close();
});

test('an action without an answer answers null', async () => {
  const told = await pubsub.sendEvent.mutate({ name: 'system:log', payload: { message: 'm', level: 'info' } });
  assert.equal(told.result, null);
  assert.equal(told.emittedEvents.length, 1);
});

test('an action that fails publishes nothing and passes its code on', async () => {
  const orderId = id();
  const failed = await failure(pubsub.sendEvent.mutate({ name: 'orders:created', payload: { orderId, total: -1 } }));
  assert.deepEqual([failed.data.code, failed.data.httpStatus], ['UNPROCESSABLE_CONTENT', 422]);
  const { items } = await pubsub.fetchHistory.query({ channel: 'orders' });
  assert.ok(items.every((item) => item.data.payload.orderId !== orderId));
});

test('an id that was sent before does not run the action again', async () => {
  const event = { name: 'orders:created', payload: { orderId: id(), total: 3 }, clientEventId: id() };
  const first = await pubsub.sendEvent.mutate(event);
  assert.equal(first.emittedEvents[0].meta.clientEventId, event.clientEventId);
  const again = await pubsub.sendEvent.mutate(event);
  assert.deepEqual([again.duplicate, again.eventId, again.result], [true, first.eventId, first.result]);
  // The same id may stand among the options, or in a header.
  const { clientEventId, ...rest } = event;
  assert.equal((await pubsub.sendEvent.mutate({ ...rest, options: { clientEventId } })).duplicate, true);
  const plain = await demo.post('/events', rest, { 'idempotency-key': clientEventId });
  assert.deepEqual([plain.status, plain.body.duplicate, plain.body.eventId], [200, true, first.eventId]);
  // With another payload it is a mistake.
  const other = await failure(pubsub.sendEvent.mutate({ ...event, payload: { orderId: 'x', total: 4 } }));
  assert.deepEqual([other.data.code, other.data.httpStatus], ['CONFLICT', 409]);
  const { items } = await pubsub.fetchHistory.query({ channel: 'orders', limit: 1000 });
  assert.equal(items.filter((item) => item.data.payload.orderId === event.payload.orderId).length, 1);
});

test('of many with one id at the same time one runs', async () => {
  const event = { name: 'ping:message', payload: { message: id() }, clientEventId: id() };
  const told = await Promise.all(Array.from({ length: 20 }, () => pubsub.sendEvent.mutate(event)));
  assert.equal(told.filter((one) => !one.duplicate).length, 1);
  assert.equal(new Set(told.map((one) => one.eventId)).size, 1);
});

test('a failed outcome is not remembered', async () => {
  const clientEventId = id();
  const event = (total) => ({ name: 'orders:created', payload: { orderId: 'o', total }, clientEventId });
  assert.equal((await failure(pubsub.sendEvent.mutate(event(-1)))).data.code, 'UNPROCESSABLE_CONTENT');
  const told = await pubsub.sendEvent.mutate(event(1));
  assert.deepEqual([told.duplicate, told.result], [false, { success: true }]);
});

test('ids belong to the user who sends them', async () => {
  const event = { name: 'orders:created', payload: { orderId: id(), total: 1 }, clientEventId: id() };
  const [reader, writer] = ['reader-token', 'writer-token'].map((token) => client(demo.url, { token }).pubsub);
  const one = await reader.sendEvent.mutate(event);
  const two = await writer.sendEvent.mutate(event);
  assert.deepEqual([one.duplicate, two.duplicate], [false, false]);
  assert.equal(one.emittedEvents[0].meta.userId, 'reader');
  assert.equal(two.emittedEvents[0].meta.userId, 'writer');
});

test('every definition is a procedure of its own', async () => {
  assert.deepEqual(await api.orders.created.mutate({ orderId: id(), total: 2 }), { success: true });
  assert.equal(await api.system.log.mutate({ message: 'm', level: 'warn' }), null);
  const pongs = await Subscription.open(api.pingpong.onResponse, {});
  const answer = await api.pingpong.message.mutate({ message: 'typed' });
  assert.equal(answer.reply, 'Pong: typed');
  const [pong] = await pongs.count(1);
  assert.deepEqual([pong.data.name, pong.data.payload], ['pong:response', answer]);
  pongs.close();
  // Its id is the header's.
  const body = { orderId: id(), total: 2 };
  const headers = { 'idempotency-key': id() };
  await demo.post('/trpc/orders.created', body, headers);
  await demo.post('/trpc/orders.created', body, headers);
  const { items } = await pubsub.fetchHistory.query({ channel: 'orders', limit: 1000 });
  assert.equal(items.filter((item) => item.data.payload.orderId === body.orderId).length, 1);
  const faulty = await failure(api.orders.created.mutate({ orderId: 7, total: 'x' }));
  assert.deepEqual(faulty.data.issues.map((issue) => issue.pointer).sort(), ['/orderId', '/total']);
});
