// The documents that describe the server are what their standards say.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import SwaggerParser from '@apidevtools/swagger-parser';
import { Parser } from '@asyncapi/parser';
import { createConfig, lintFromString } from '@redocly/openapi-core';

import { Demo } from '../lib/demo.js';

let demo;
before(async () => {
  demo = await Demo.start();
});
after(() => demo.stop());

async function document(path) {
  const { status, headers, body, text } = await demo.fetch(path);
  assert.equal(status, 200);
  assert.match(headers.get('content-type'), /json/);
  return { body, text };
}

test('OpenAPI 3.1', async () => {
  const { body, text } = await document('/openapi.json');
  assert.match(body.openapi, /^3\.1\./);
  await SwaggerParser.validate(structuredClone(body));
  const config = await createConfig({ extends: ['minimal'], rules: { struct: 'error', 'no-unresolved-refs': 'error' } });
  const problems = await lintFromString({ source: text, absoluteRef: 'openapi.json', config });
  const errors = problems.filter((problem) => problem.severity === 'error');
  assert.deepEqual(errors.map((error) => `${error.ruleId} ${error.message} ${error.location[0]?.pointer}`), []);
  for (const path of ['/events', '/channels', '/channels/{channel}/events', '/channels/{channel}/history', '/status', '/health', '/sse-ticket']) {
    assert.ok(body.paths[path], path);
  }
});

test('AsyncAPI 3.0', async () => {
  const { body, text } = await document('/asyncapi.json');
  assert.match(body.asyncapi, /^3\.0\./);
  const { document: parsed, diagnostics } = await new Parser().parse(text);
  const errors = diagnostics.filter((one) => one.severity === 0);
  assert.deepEqual(errors.map((error) => `${error.code} ${error.message} ${error.path.join('/')}`), []);
  const messages = parsed.allMessages().all().map((message) => message.name());
  for (const name of ['ping:message', 'pong:response', 'orders:created', 'system:log']) {
    assert.ok(messages.includes(name), `${name} in ${messages}`);
  }
});
