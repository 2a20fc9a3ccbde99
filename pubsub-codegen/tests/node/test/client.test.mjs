// The helper client before a server that is told what to answer.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { EventSource } from 'eventsource';
import ts from 'typescript';
import { client, here } from './places.mjs';

const LIMIT = 10_000;

async function loadClient() {
  const source = readFileSync(client, 'utf8');
  const { outputText } = ts.transpileModule(source, { compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 } });
  mkdirSync(join(here, 'compiled'), { recursive: true });
  const file = join(here, 'compiled/client.mjs');
  writeFileSync(file, outputText);
  return import(pathToFileURL(file));
}

const { createPubSub } = await loadClient();

/** A server; `script` answers each request, and all of them are kept. */
async function serve(t, script) {
  const requests = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (part) => (body += part));
    request.on('end', () => {
      const url = new URL(request.url, 'http://x');
      requests.push({ method: request.method, path: url.pathname, query: url.searchParams, headers: request.headers, body });
      script(requests.at(-1), response);
    });
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}/api/`, requests };
}

/** Resolves when the condition holds; rejects when it takes too long. */
function until(what, condition) {
  const deadline = Date.now() + LIMIT;
  return new Promise((resolve, reject) => {
    (function look() {
      if (condition()) resolve();
      else if (Date.now() > deadline) reject(new Error(`never: ${what}`));
      else setTimeout(look, 5);
    })();
  });
}

const event = (number) => JSON.stringify({ id: `e${number}`, name: 'chat:said', channel: 'chat', payload: `word ${number}`, timestamp: 't' });

test('a stream goes on behind the last event, with a new ticket each time', { timeout: LIMIT }, async (t) => {
  let tickets = 0;
  let streams = 0;
  const { url, requests } = await serve(t, (request, response) => {
    if (request.path === '/api/sse-ticket') {
      response.setHeader('content-type', 'application/json');
      return response.end(JSON.stringify({ ticket: `t${++tickets}`, expiresAt: 'soon' }));
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('retry: 5\n\n');
    if (++streams === 1) return response.end(`id: c1\ndata: ${event(1)}\n\nid: c2\ndata: ${event(2)}\n\n`);
    if (streams === 2) return response.destroy();
    response.write(`id: g\ndata: {"id":"x","name":"pubsub:gap","channel":"chat","payload":{"requested":"c2","resumedAfter":null},"timestamp":"t"}\n\n`);
    response.write(`id: c3\ndata: ${event(3)}\n\n`);
  });
  let token = 0;
  const pubsub = createPubSub({ url, EventSource, token: () => `token${++token}`, reconnect: { first: 5, longest: 20 } });
  const [events, gaps, states] = [[], [], []];
  const subscription = pubsub.subscribe('chat', {
    events: ['chat:said'],
    onEvent: (event, cursor) => events.push([event.payload, cursor]),
    onMissed: (gap) => gaps.push(gap),
    onState: (state) => states.push(state),
  });
  await until('three events', () => events.length === 3);
  subscription.close();
  assert.deepEqual(events, [['word 1', 'c1'], ['word 2', 'c2'], ['word 3', 'c3']]);
  assert.deepEqual(gaps, [{ requested: 'c2', resumedAfter: null }]);
  assert.equal(subscription.cursor, 'c3');
  assert.equal(states[0], 'connecting');
  assert.equal(states.at(-1), 'closed');

  const opened = requests.filter(({ path }) => path === '/api/events');
  assert.deepEqual(opened.map(({ query }) => query.get('lastEventId')), [null, 'c2', 'c2']);
  assert.deepEqual(opened.map(({ query }) => query.get('ticket')), ['t1', 't2', 't3']);
  assert.deepEqual(opened[0].query.getAll('event'), ['chat:said']);
  assert.equal(opened[0].query.get('named'), 'false');
  const asked = requests.filter(({ path }) => path === '/api/sse-ticket');
  assert.deepEqual(asked.map(({ headers }) => headers.authorization), ['Bearer token1', 'Bearer token2', 'Bearer token3']);
});

test('a caller whom the server refuses is told, once', { timeout: LIMIT }, async (t) => {
  let asked = 0;
  const { url } = await serve(t, (_, response) => {
    // A server that is away for a moment is no refusal.
    response.writeHead(++asked === 1 ? 503 : 401).end();
  });
  const pubsub = createPubSub({ url, EventSource, token: () => 'stale', reconnect: { first: 5, longest: 20 } });
  const [errors, states] = [[], []];
  pubsub.subscribe('chat', { onEvent: assert.fail, onError: (error) => errors.push(error.message), onState: (state) => states.push(state) });
  await until('the refusal', () => errors.length > 0);
  assert.deepEqual(errors, ['no ticket: HTTP status 401']);
  assert.equal(states.at(-1), 'closed');
  assert.equal(asked, 2);
});

test('nothing comes after closing, however early', { timeout: LIMIT }, async (t) => {
  const { url, requests } = await serve(t, (request, response) => {
    if (request.path === '/api/sse-ticket') return response.end('{"ticket":"t"}');
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(`id: c1\ndata: ${event(1)}\n\n`);
  });
  const pubsub = createPubSub({ url, EventSource, token: () => 'x' });
  const states = [];
  const subscription = pubsub.subscribe('chat', { onEvent: assert.fail, onState: (state) => states.push(state) });
  subscription.close();
  subscription.close();
  // The ticket was on its way; another subscription's whole way is long enough for it to come.
  let open = false;
  const other = pubsub.subscribe('chat', { onEvent: () => (open = true) });
  await until('the other subscription', () => open);
  other.close();
  assert.deepEqual(states, ['connecting', 'closed']);
  assert.equal(requests.filter(({ path }) => path === '/api/events').length, 1);
});

test('calls go to the procedures, with the token', { timeout: LIMIT }, async (t) => {
  const { url, requests } = await serve(t, (_, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify([{ result: { data: { success: true, result: null, eventId: 'e' } } }]));
  });
  const pubsub = createPubSub({ url, token: () => 'x' });
  assert.equal((await pubsub.publish('chat', 'chat:said', 'hello', { id: '1' })).eventId, 'e');
  assert.equal((await pubsub.sendEvent('chat:said', 'hello', { clientEventId: '2' })).result, null);
  assert.deepEqual(requests.map(({ path }) => path), ['/api/trpc/pubsub.publish', '/api/trpc/pubsub.sendEvent']);
  assert.deepEqual(JSON.parse(requests[0].body)['0'], { id: '1', channel: 'chat', name: 'chat:said', payload: 'hello' });
  assert.deepEqual(JSON.parse(requests[1].body)['0'], { clientEventId: '2', name: 'chat:said', payload: 'hello' });
  assert.equal(requests[0].headers.authorization, 'Bearer x');
});
