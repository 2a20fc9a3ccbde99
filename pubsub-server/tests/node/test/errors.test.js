// What is refused, and how clients get to know.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { client, failure } from '../lib/client.js';
import { Demo, READER, WRITER } from '../lib/demo.js';
import { call, channel, id } from '../lib/names.js';

const NUMBERS = {
  BAD_REQUEST: [-32600, 400],
  UNAUTHORIZED: [-32001, 401],
  FORBIDDEN: [-32003, 403],
  NOT_FOUND: [-32004, 404],
  PRECONDITION_FAILED: [-32012, 412],
  PAYLOAD_TOO_LARGE: [-32013, 413],
};

let demo, pubsub;
before(async () => {
  demo = await Demo.start();
  pubsub = client(demo.url).pubsub;
});
after(() => demo.stop());

async function refuses(code, path, pending) {
  const error = await failure(pending);
  const [number, httpStatus] = NUMBERS[code];
  const { code: name, httpStatus: status, path: told } = error.data;
  assert.deepEqual([name, status, told, error.shape.code], [code, httpStatus, path, number], error.message);
  assert.equal(error.data.stack, undefined);
  assert.equal(error.meta.response.status, httpStatus);
  return error;
}

test('publish refuses what breaks a rule', async () => {
  const publish = (input) => pubsub.publish.mutate(input);
  const event = { channel: channel(), name: 'a:b' };
  for (const faulty of [
    undefined,
    null,
    [],
    'text',
    {},
    { ...event, channel: undefined },
    { ...event, channel: 7 },
    { ...event, name: undefined },
    { ...event, meta: [] },
    { ...event, id: '' },
    { ...event, id: 'x'.repeat(129) },
    { ...event, id: 'two words' },
    { ...event, id: 'line\nbreak' },
    { ...event, id: 7 },
    { ...event, name: 'nocolon' },
    { ...event, name: 'a:b:c' },
    { ...event, name: ':b' },
    { ...event, name: 'a b:c' },
    { ...event, name: `a:${'b'.repeat(127)}` },
    { ...event, name: 'pubsub:gap' },
    { ...event, channel: '' },
    { ...event, channel: '.hidden' },
    { ...event, channel: 'demo.a b' },
    { ...event, channel: 'demo.*' },
    { ...event, channel: `demo.${'x'.repeat(124)}` },
    { ...event, channel: 'demo.a\r\nb' },
  ]) {
    await refuses('BAD_REQUEST', 'pubsub.publish', publish(faulty)).catch((fault) => {
      throw new Error(`${JSON.stringify(faulty)}: ${fault.message}`);
    });
  }
  await refuses('NOT_FOUND', 'pubsub.publish', publish({ ...event, channel: 'nowhere' }));
  await refuses('NOT_FOUND', 'pubsub.publish', publish({ channel: 'orders', name: 'orders:unknown' }));
  await refuses('FORBIDDEN', 'pubsub.publish', publish({ channel: 'pingpong', name: 'ping:message', payload: { message: 'x' } }));
  await refuses('BAD_REQUEST', 'pubsub.publish', publish({ channel: 'system', name: 'orders:created', payload: { orderId: 'x', total: 1 } }));
  const faulty = await refuses('BAD_REQUEST', 'pubsub.publish', publish({ channel: 'orders', name: 'orders:created', payload: { orderId: 1, total: '2' } }));
  assert.deepEqual(faulty.data.issues.map((issue) => issue.pointer).sort(), ['/payload/orderId', '/payload/total']);
  assert.ok(faulty.data.issues.every((issue) => typeof issue.message === 'string'));
  await refuses('PAYLOAD_TOO_LARGE', 'pubsub.publish', publish({ channel: channel('tiny'), name: 'a:b', payload: 'x'.repeat(1023) }));
  await publish({ channel: channel('tiny'), name: 'a:b', payload: 'x'.repeat(1022) });
  await publish({ ...event, id: `!${'~'.repeat(127)}` });
});

test('sendEvent refuses what breaks a rule', async () => {
  const send = (input) => pubsub.sendEvent.mutate(input);
  const path = 'pubsub.sendEvent';
  const ping = { name: 'ping:message', payload: { message: 'x' } };
  await refuses('BAD_REQUEST', path, send({}));
  await refuses('BAD_REQUEST', path, send({ ...ping, payload: { message: '' } }));
  await refuses('BAD_REQUEST', path, send({ ...ping, payload: undefined }));
  await refuses('BAD_REQUEST', path, send({ ...ping, channel: 'orders' }));
  await refuses('BAD_REQUEST', path, send({ ...ping, clientEventId: 'a b' }));
  await refuses('BAD_REQUEST', path, send({ ...ping, options: 7 }));
  await refuses('BAD_REQUEST', path, send({ name: 'pubsub:gap' }));
  await refuses('NOT_FOUND', path, send({ name: 'no:such' }));
  await refuses('FORBIDDEN', path, send({ name: 'pong:response', payload: {} }));
});

test('history and channels refuse what breaks a rule', async () => {
  const on = channel();
  for (const faulty of [
    {},
    { channel: on, limit: 0 },
    { channel: on, limit: 1001 },
    { channel: on, limit: 1.5 },
    { channel: on, limit: '7' },
    { channel: on, since: 'yesterday' },
    { channel: on, after: 'not a cursor' },
    { channel: on, after: 'x'.repeat(2049) },
    { channel: 7 },
  ]) {
    await refuses('BAD_REQUEST', 'pubsub.fetchHistory', pubsub.fetchHistory.query(faulty));
  }
  await refuses('NOT_FOUND', 'pubsub.fetchHistory', pubsub.fetchHistory.query({ channel: 'nowhere' }));
  await refuses('NOT_FOUND', 'pubsub.getChannelInfo', pubsub.getChannelInfo.query({ channel: 'nowhere' }));
  await refuses('BAD_REQUEST', 'pubsub.listChannels', pubsub.listChannels.query({ family: 7 }));
  await refuses('NOT_FOUND', 'pubsub.noSuch', pubsub.noSuch.query());
  await refuses('NOT_FOUND', 'no.such', client(demo.url).no.such.mutate({}));
});

test('scopes hold for anonymous callers, readers and writers', async () => {
  const on = channel('secure');
  const event = { channel: on, name: 'a:b', payload: 1 };
  const [reader, writer, forged] = [READER, WRITER, 'forged'].map((token) => client(demo.url, { token }).pubsub);
  await refuses('UNAUTHORIZED', 'pubsub.publish', pubsub.publish.mutate(event));
  await refuses('UNAUTHORIZED', 'pubsub.fetchHistory', pubsub.fetchHistory.query({ channel: on }));
  await refuses('FORBIDDEN', 'pubsub.publish', reader.publish.mutate(event));
  await writer.publish.mutate(event);
  const { items } = await reader.fetchHistory.query({ channel: on });
  assert.equal(items[0].data.meta.userId, 'writer');
  // What is wrong is not the same as nothing, also where nothing would do.
  await refuses('UNAUTHORIZED', 'pubsub.publish', forged.publish.mutate({ ...event, channel: channel() }));
  await refuses('UNAUTHORIZED', 'pubsub.listChannels', forged.listChannels.query());
  assert.equal((await forged.health.query()).healthy, true);
  for (const document of ['/openapi.json', '/asyncapi.json']) {
    const { status } = await demo.fetch(document, { headers: { authorization: 'Bearer forged' } });
    assert.equal(status, 200);
  }
});

test('a user is known by connectionParams, too', async () => {
  const params = (value) => `connectionParams=${encodeURIComponent(value)}`;
  const on = channel('secure');
  const ask = (value) => demo.fetch(call('pubsub.fetchHistory', { channel: on }, params(value)));
  assert.equal((await ask(JSON.stringify({ token: READER }))).status, 200);
  assert.equal((await ask(JSON.stringify({ token: 'forged' }))).status, 401);
  assert.equal((await ask('null')).status, 401);
  for (const bad of ['', '{', '7', '[]', '{"token":7}']) {
    const { status, body } = await ask(bad);
    assert.deepEqual([status, body.error.data.code, body.error.code], [400, 'PARSE_ERROR', -32700], bad);
  }
});

test('requests that are none are refused on the wire', async () => {
  const told = async (response, status, code) => {
    assert.deepEqual([response.status, response.body?.error.data.code], [status, code], response.text);
    assert.equal(response.headers.get('content-type'), 'application/json');
  };
  const wrongMethod = await demo.fetch(call('pubsub.publish', { channel: 'demo.x', name: 'a:b' }));
  await told(wrongMethod, 405, 'METHOD_NOT_SUPPORTED');
  assert.equal(wrongMethod.headers.get('allow'), 'POST');
  await told(await demo.post('/trpc/pubsub.publish', '{'), 400, 'BAD_REQUEST');
  await told(await demo.post('/trpc/pubsub.publish', '{"a":1}', { 'content-type': 'text/plain' }), 415, 'UNSUPPORTED_MEDIA_TYPE');
  await told(await demo.fetch('/trpc/%'), 400, 'BAD_REQUEST');
  await told(await demo.fetch('/trpc/pubsub.health?input=%7B'), 400, 'BAD_REQUEST');
  const head = await demo.fetch('/trpc/pubsub.publish', { method: 'HEAD' });
  assert.equal(head.status, 204);
});

test('a body over the limit is refused, and the answer arrives', async () => {
  for (const size of [1024 * 1024 + 1, 4 * 1024 * 1024]) {
    for (const path of ['/trpc/pubsub.publish', '/events', `/channels/${channel()}/events`]) {
      const { status, body } = await demo.post(path, 'x'.repeat(size));
      assert.deepEqual([status, body.error.data.code], [413, 'PAYLOAD_TOO_LARGE'], `${path} ${size}`);
    }
  }
  const payload = 'x'.repeat(900_000);
  const told = await pubsub.publish.mutate({ channel: channel(), name: 'a:b', payload, id: id() });
  assert.equal(told.success, true);
});
