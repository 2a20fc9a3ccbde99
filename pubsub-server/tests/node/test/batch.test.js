// Batches, with their answers at once and one by one.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { client, failure } from '../lib/client.js';
import { Demo } from '../lib/demo.js';
import { call, channel } from '../lib/names.js';

let demo;
before(async () => {
  demo = await Demo.start();
});
after(() => demo.stop());

/** A client whose requests are counted. */
function counted(link, options = {}) {
  const requests = [];
  const counting = (url, init) => {
    requests.push({ url: String(url), method: init.method });
    return fetch(url, init);
  };
  return { requests, pubsub: client(demo.url, { link, options: { fetch: counting, ...options } }).pubsub };
}

for (const link of ['batch', 'stream']) {
  test(`${link}: calls share a request, and each has its own outcome`, async () => {
    const { requests, pubsub } = counted(link);
    const on = channel();
    const outcomes = await Promise.allSettled([
      pubsub.getChannelInfo.query({ channel: on }),
      pubsub.getChannelInfo.query({ channel: 'nowhere' }),
      pubsub.health.query(),
      pubsub.fetchHistory.query({ channel: on, limit: 0 }),
    ]);
    assert.deepEqual(outcomes.map((one) => one.status), ['fulfilled', 'rejected', 'fulfilled', 'rejected']);
    assert.equal(outcomes[0].value.name, on);
    assert.equal(outcomes[1].reason.data.code, 'NOT_FOUND');
    assert.equal(outcomes[3].reason.data.code, 'BAD_REQUEST');
    assert.equal(outcomes[3].reason.data.path, 'pubsub.fetchHistory');
    assert.equal(requests.length, 1);
  });

  test(`${link}: mutations of one request keep their order`, async () => {
    const { requests, pubsub } = counted(link);
    const on = channel();
    const numbers = Array.from({ length: 50 }, (_, n) => n);
    await Promise.all(numbers.map((payload) => pubsub.publish.mutate({ channel: on, name: 'n:n', payload })));
    assert.deepEqual(requests.map((request) => request.method), ['POST']);
    const { items } = await pubsub.fetchHistory.query({ channel: on });
    assert.deepEqual(items.map((item) => item.data.payload), numbers);
  });

  test(`${link}: a batch that is too large fails as a whole`, async () => {
    const { pubsub } = counted(link);
    const all = await Promise.all(Array.from({ length: 101 }, () => failure(pubsub.health.query())));
    assert.deepEqual(new Set(all.map((error) => error.data.code)), new Set(['BAD_REQUEST']));
    assert.equal(all[0].data.path, undefined);
    const bounded = counted(link, { maxItems: 100 });
    await Promise.all(Array.from({ length: 101 }, () => bounded.pubsub.health.query()));
    assert.equal(bounded.requests.length, 2);
  });

  test(`${link}: queries come by POST where the server allows it`, async () => {
    const { requests, pubsub } = counted(link, { methodOverride: 'POST' });
    const on = channel();
    const [info] = await Promise.all([pubsub.getChannelInfo.query({ channel: on }), pubsub.health.query()]);
    assert.equal(info.name, on);
    assert.deepEqual(requests.map((request) => request.method), ['POST']);
  });
}

test('a single query comes by POST, too', async () => {
  const { pubsub } = client(demo.url, { options: { methodOverride: 'POST' } });
  const on = channel();
  assert.equal((await pubsub.getChannelInfo.query({ channel: on })).name, on);
});

test('the wire of a batch', async () => {
  const input = encodeURIComponent(JSON.stringify({ 1: { channel: 'nowhere' } }));
  for (const comma of [',', '%2C']) {
    const mixed = await demo.fetch(`/trpc/pubsub.health${comma}pubsub.getChannelInfo?batch=1&input=${input}`);
    assert.equal(mixed.status, 207);
    assert.equal(mixed.headers.get('vary')?.includes('trpc-accept'), true);
    assert.equal(mixed.body[0].result.data.healthy, true);
    assert.equal(mixed.body[1].error.data.httpStatus, 404);
  }
  const one = await demo.fetch('/trpc/pubsub.health?batch=1');
  assert.equal(one.status, 200);
  assert.equal(one.body.length, 1);
  assert.equal((await demo.fetch('/trpc/pubsub.health,pubsub.health')).status, 404);
  const kinds = await demo.fetch('/trpc/pubsub.health,pubsub.publish?batch=1');
  assert.deepEqual([kinds.status, kinds.body.error.data.code], [400, 'BAD_REQUEST']);
  const subscriptions = await demo.fetch('/trpc/pubsub.subscribe?batch=1');
  assert.deepEqual([subscriptions.status, subscriptions.body[0].error.data.code], [400, 'BAD_REQUEST']);
  const broken = await demo.post('/trpc/pubsub.publish,pubsub.publish?batch=1', '[]');
  assert.deepEqual([broken.status, broken.body.length], [400, 2]);
  const forged = await demo.fetch('/trpc/pubsub.health,pubsub.listChannels?batch=1', {
    headers: { authorization: 'Bearer forged' },
  });
  assert.equal(forged.status, 207);
  assert.equal(forged.body[1].error.data.code, 'UNAUTHORIZED');
});

test('the wire of answers one by one', async () => {
  const headers = { 'trpc-accept': 'application/jsonl' };
  const { status, text } = await demo.fetch('/trpc/pubsub.health,no.such?batch=1', { headers });
  assert.equal(status, 200);
  assert.ok(text.endsWith('\n'));
  const [head, ...lines] = text.trimEnd().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(Object.keys(head), ['0', '1']);
  const answers = new Map(lines.map(([chunk, kind, [[value]]]) => [chunk, { kind, value }]));
  assert.deepEqual([answers.get(0).kind, answers.get(1).kind], [0, 0]);
  assert.equal(answers.get(0).value.result.data.healthy, true);
  assert.equal(answers.get(1).value.error.data.code, 'NOT_FOUND');
  const single = await demo.fetch(call('pubsub.health'), { headers });
  assert.deepEqual([single.status, single.body.error.data.code], [400, 'BAD_REQUEST']);
});
