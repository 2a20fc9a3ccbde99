// Requests at random: those that the OpenAPI document describes, with more or less sense, and those of the tRPC wire.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import SwaggerParser from '@apidevtools/swagger-parser';
import fc from 'fast-check';

import { Demo } from '../lib/demo.js';
import { channel } from '../lib/names.js';
import { RawStream } from '../lib/sse.js';

// On a failure fast-check prints the seed; this repeats it.
const SEED = process.env.PUBSUB_TEST_SEED;
const RUNS = process.env.PUBSUB_TEST_LONG ? 3000 : 150;
const options = (runs = RUNS) => ({ numRuns: runs, ...(SEED ? { seed: Number(SEED) } : {}) });

let demo;
before(async () => {
  demo = await Demo.start();
});
after(() => demo.stop());

const CODES = new Set([400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 429]);

/** Sends a request and reads the answer, of a stream its begin. */
async function ask(path, init) {
  const abort = new AbortController();
  const response = await fetch(demo.url + path, { ...init, signal: abort.signal });
  const type = response.headers.get('content-type') ?? '';
  if (type.startsWith('text/event-stream')) {
    const { value } = await response.body.getReader().read();
    abort.abort();
    return { status: response.status, type, text: new TextDecoder().decode(value) };
  }
  return { status: response.status, type, text: await response.text() };
}

/** What holds for every answer. */
function sound({ status, type, text }, what) {
  assert.ok(status < 500, `${status} ${what}: ${text}`);
  if (status < 400) return;
  assert.equal(type, 'application/json', what);
  const told = [JSON.parse(text)].flat();
  for (const one of told.filter((one) => one.error)) {
    const { message, code, data } = one.error;
    assert.ok(typeof message === 'string' && Number.isInteger(code) && CODES.has(data.httpStatus), text);
    assert.ok(!('stack' in data), text);
    if (told.length === 1) assert.equal(data.httpStatus, status, what);
  }
}

const anything = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('', 'demo.x', 'orders', 'orders:created', 'earliest', '0', '-1', 'null', '[]', '{}', '\r\nid: 1', '\0', '*'),
);

/** What fits a schema, more or less: of each part now and then something else comes. */
function fitting(schema = {}, depth = 0) {
  const wild = depth > 4 ? fc.constant(null) : fc.jsonValue({ maxDepth: 2 });
  return fc.oneof({ weight: 6, arbitrary: exact(schema, depth) }, { weight: 1, arbitrary: wild });
}

function exact(schema, depth) {
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if ('const' in schema) return fc.constant(schema.const);
  const choice = schema.oneOf ?? schema.anyOf;
  if (choice) return fc.oneof(...choice.map((one) => fitting(one, depth + 1)));
  switch ([schema.type].flat()[0]) {
    case 'string':
      return anything;
    case 'integer':
      return fc.oneof(fc.integer(), fc.integer({ min: 1, max: 1000 }));
    case 'number':
      return fc.double({ noNaN: true, noDefaultInfinity: true });
    case 'boolean':
      return fc.boolean();
    case 'array':
      return fc.array(fitting(schema.items, depth + 1), { maxLength: 4 });
    case 'object': {
      const properties = Object.entries(schema.properties ?? {}).map(([name, one]) => [name, fitting(one, depth + 1)]);
      return fc.record(Object.fromEntries(properties), { requiredKeys: [] });
    }
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

const bodies = (schema) =>
  fc.oneof(
    { weight: 8, arbitrary: fitting(schema).map((value) => JSON.stringify(value)) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
    { weight: 1, arbitrary: fc.constantFrom('', '{', '{"a":1}}', '[[[[', '"\\ud800"', '1e999', '\ufeff{}') },
  );

const types = fc.oneof(
  { weight: 9, arbitrary: fc.constant('application/json') },
  { weight: 1, arbitrary: fc.constantFrom('text/plain', 'application/json; charset=utf-16', 'multipart/form-data; boundary=x') },
);
const tokens = fc.oneof(
  { weight: 3, arbitrary: fc.constant(undefined) },
  { weight: 2, arbitrary: fc.constantFrom('Bearer reader-token', 'Bearer writer-token') },
  { weight: 1, arbitrary: fc.constantFrom('Bearer forged', 'Bearer', 'Basic eDp5', '') },
);
const present = (headers) => Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined));

test('what the OpenAPI document describes answers as described, whatever is sent', async () => {
  const described = await SwaggerParser.dereference((await demo.fetch('/openapi.json')).body);
  const operations = Object.entries(described.paths).flatMap(([path, item]) =>
    ['get', 'post', 'put', 'delete', 'patch', 'head']
      .filter((method) => item[method])
      .map((method) => ({ path, method, operation: item[method], parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])] })),
  );
  assert.ok(operations.length >= 10);
  const request = ({ path, method, operation, parameters }) => {
    const schema = operation.requestBody?.content?.['application/json']?.schema;
    return fc.record({
      values: fc.record(Object.fromEntries(parameters.map((one) => [`${one.in}:${one.name}`, fitting(one.schema)])), { requiredKeys: [] }),
      body: schema && method !== 'get' ? bodies(schema) : fc.constant(undefined),
      type: types,
      authorization: tokens,
    }).map((given) => ({ path, method, operation, parameters, ...given }));
  };
  const send = async ({ path, method, operation, parameters, values, body, type, authorization }) => {
    const query = new URLSearchParams();
    const headers = { authorization, 'content-type': body === undefined ? undefined : type };
    let target = path;
    for (const { in: place, name } of parameters) {
      const value = values[`${place}:${name}`];
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      // A path has all its parts.
      if (place === 'path') target = target.replace(`{${name}}`, encodeURIComponent(text?.toWellFormed?.() ?? text ?? '') || 'x');
      if (value === undefined) continue;
      if (place === 'query') for (const one of [value].flat()) query.append(name, typeof one === 'string' ? one : JSON.stringify(one));
      if (place === 'header' && /^[!-~]+$/.test(text)) headers[name] = text;
    }
    // `.` and `..` are taken out of a path before it is sent.
    target = target.replace(/(?<=\/)\.{1,2}(?=\/|$)/g, 'x');
    const shown = `${method} ${target}?${query}`;
    const answer = await ask(`${target}?${query}`, { method: method.toUpperCase(), body, headers: present(headers) });
    sound(answer, shown);
    const documented = Object.keys(operation.responses);
    assert.ok(
      documented.includes(String(answer.status)) || documented.includes('default') || documented.includes(`${String(answer.status)[0]}XX`),
      `${shown} answers ${answer.status}, which is not documented: ${documented}`,
    );
  };
  for (const operation of operations) {
    await fc.assert(fc.asyncProperty(request(operation), send), options(Math.ceil(RUNS / 3)));
  }
});

test('the tRPC wire answers whatever is sent', async () => {
  const { body } = await demo.fetch('/trpc/pubsub.getEventDefinitions');
  assert.ok(body.result);
  const paths = fc.oneof(
    fc.constantFrom(
      'pubsub.publish', 'pubsub.sendEvent', 'pubsub.fetchHistory', 'pubsub.listChannels', 'pubsub.getChannelInfo',
      'pubsub.getEventDefinitions', 'pubsub.getServiceStatus', 'pubsub.getSubscriptionStats', 'pubsub.health',
      'pubsub.subscribe', 'orders.created', 'orders.onCreated', 'pingpong.message', 'pubsub', 'pubsub.', '__proto__',
    ),
    anything,
  );
  const inputs = fc.oneof(
    fitting({ type: 'object', properties: Object.fromEntries(['channel', 'name', 'id', 'lastEventId', 'after', 'since', 'clientEventId'].map((key) => [key, { type: 'string' }])) }),
    fc.jsonValue({ maxDepth: 3 }),
  );
  const request = fc.record({
    method: fc.constantFrom('GET', 'GET', 'POST', 'POST', 'PUT', 'DELETE', 'HEAD'),
    paths: fc.array(paths, { minLength: 1, maxLength: 5 }),
    batch: fc.constantFrom(undefined, '1', '1', '0'),
    inputs: fc.array(inputs, { maxLength: 5 }),
    raw: fc.option(fc.string({ unit: 'binary' }), { freq: 8 }),
    params: fc.option(fc.oneof(anything, fc.jsonValue().map((value) => JSON.stringify(value))), { freq: 6 }),
    accept: fc.option(fc.constant('application/jsonl'), { freq: 4 }),
    type: types,
    authorization: tokens,
  });
  const send = async (given) => {
    const input = given.raw ?? JSON.stringify(given.batch === '1' ? { ...given.inputs } : given.inputs[0]);
    const query = new URLSearchParams();
    if (given.batch) query.set('batch', given.batch);
    if (given.params !== null) query.set('connectionParams', given.params);
    const bodiless = ['GET', 'HEAD'].includes(given.method);
    if (bodiless && input !== undefined) query.set('input', input);
    const path = given.paths.map((one) => encodeURIComponent(one.toWellFormed?.() ?? one)).join(',');
    if (/^\.{1,2}$/.test(path)) return;
    const headers = present({
      authorization: given.authorization,
      'content-type': bodiless ? undefined : given.type,
      'trpc-accept': given.accept ?? undefined,
    });
    const target = `/trpc/${path}?${query}`;
    const answer = await ask(target, { method: given.method, headers, body: bodiless ? undefined : input });
    if (given.method === 'HEAD') return assert.equal(answer.status, 204);
    sound(answer, `${given.method} ${target}`);
    if (answer.type.startsWith('text/event-stream')) return assert.match(answer.text, /^event: connected$/m);
    if (given.accept && answer.status === 200) {
      const lines = answer.text.trimEnd().split('\n').map((line) => JSON.parse(line));
      const calls = Object.keys(lines[0]).length;
      assert.ok(lines.length >= 1 && calls >= given.paths.length);
      return;
    }
    const told = JSON.parse(answer.text);
    // A comma inside of a path makes two of it.
    if (Array.isArray(told)) assert.ok(told.length >= given.paths.length && given.batch === '1');
    for (const one of [told].flat()) assert.ok('error' in one !== 'result' in one, answer.text);
  };
  await fc.assert(fc.asyncProperty(request, send), options(RUNS * 4));
});

test('what is published comes out of every stream as it went in', async () => {
  const on = channel();
  const raw = await RawStream.open(`${demo.url}/events?channel=${on}`);
  await raw.has(() => raw.blocks.length > 0, 'the start');
  let published = 0;
  const event = fc.record({
    payload: fc.jsonValue({ stringUnit: 'binary' }),
    action: fc.string({ unit: 'binary', maxLength: 30 }),
    id: fc.option(fc.string({ unit: 'binary', minLength: 1, maxLength: 20 })),
    meta: fc.dictionary(fc.string({ unit: 'binary', maxLength: 10 }), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 3 }),
  });
  const send = async ({ payload, action, id, meta }) => {
    const given = JSON.parse(JSON.stringify({ name: `a:${action}`, payload, id: id ?? undefined, meta }));
    const { status, body, text } = await demo.post(`/channels/${on}/events`, given);
    if (status !== 200) return sound({ status, type: 'application/json', text }, 'publish');
    if (body.duplicate) return;
    const events = await raw.count((published += 1));
    const told = events[published - 1];
    assert.deepEqual([told.event, told.id], [given.name, body.cursor]);
    const envelope = JSON.parse(told.data);
    assert.deepEqual(envelope.payload, given.payload);
    assert.deepEqual([envelope.id, envelope.name], [body.eventId, given.name]);
  };
  await fc.assert(fc.asyncProperty(event, send), options(RUNS * 2));
  assert.equal(raw.events.length, published, 'nothing came that was not published');
  assert.ok(published > RUNS / 10, `${published} of ${RUNS * 2} were published`);
  raw.close();
});

test('after all that the server is as it was', async () => {
  const { body } = await demo.fetch('/health');
  assert.equal(body.healthy, true);
  await demo.subscribed(0);
  const told = await demo.publish(channel(), 'a:b', 1);
  assert.equal(told.success, true);
});
