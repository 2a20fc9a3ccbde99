// The documents, under the validators of those who define them.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { Parser } from '@asyncapi/parser';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { folders, json, kinds } from './places.mjs';

async function asyncapiFaults(document) {
  const { diagnostics } = await new Parser().parse(JSON.stringify(document));
  return diagnostics.filter(({ severity }) => severity === 0).map(({ message, path }) => `${path.join('/')}: ${message}`);
}

async function openapiFaults(document) {
  const { valid, errors } = await new Validator().validate(structuredClone(document));
  const faults = valid ? [] : [JSON.stringify(errors)];
  // The rule for the names of components takes those of a schema's own parts, which may be any, for components, too.
  const rules = { 'no-unresolved-refs': 'error', 'spec-components-invalid-map-name': 'off' };
  const config = await createConfig({ extends: ['spec'], rules });
  const problems = await lintFromString({ source: JSON.stringify(document), absoluteRef: 'openapi.json', config });
  const place = ({ location }) => location.map(({ pointer }) => pointer).join(' ');
  return faults.concat(problems.filter(({ severity }) => severity === 'error').map((one) => `${place(one)}: ${one.message}`));
}

for (const folder of folders) {
  test(`AsyncAPI's parser takes asyncapi.json of ${basename(folder)}`, async () => {
    assert.deepEqual(await asyncapiFaults(json(folder, 'asyncapi.json')), []);
  });

  test(`the validators of OpenAPI take openapi.json of ${basename(folder)}`, async () => {
    assert.deepEqual(await openapiFaults(json(folder, 'openapi.json')), []);
  });

  test(`every schema of ${basename(folder)} is one`, () => {
    const ajv = addFormats(new Ajv2020({ strict: false }));
    // Widths of numbers, of which Rust has more than the standard.
    for (const width of ['int8', 'int16', 'uint', 'uint8', 'uint16', 'uint32', 'uint64', 'int128', 'uint128']) ajv.addFormat(width, true);
    const files = readdirSync(join(folder, 'schemas'), { recursive: true }).filter((name) => name.endsWith('.schema.json'));
    assert.ok(files.length > 0);
    for (const file of files) ajv.compile(json(join(folder, 'schemas'), file));
  });
}

test('the validators bite', async () => {
  const asyncapi = json(kinds, 'asyncapi.json');
  asyncapi.operations.sendOrdersCreated.action = 'shout';
  assert.notDeepEqual(await asyncapiFaults(asyncapi), []);
  const lost = json(kinds, 'asyncapi.json');
  delete lost.components.schemas.OrdersCreated;
  assert.notDeepEqual(await asyncapiFaults(lost), []);

  const openapi = json(kinds, 'openapi.json');
  openapi.paths['/events'].get.parameters[0].in = 'nowhere';
  assert.notDeepEqual(await openapiFaults(openapi), []);
  const dangling = json(kinds, 'openapi.json');
  delete dangling.components.schemas.OrdersCreated;
  assert.notDeepEqual(await openapiFaults(dangling), []);
});

const order = {
  contact: 7, createdBy: 'me', orderId: 'A-1', payment: { kind: 'cash' }, shape: 'Nothing', state: 'done', tags: ['a'],
  total: 1, lines: [{ sku: 'x', quantity: 1, size: [1, 2, 'cm'], corners: [1, 2, 3, 4] }],
};

// A document's schemas still mean what the event's own schema means.
for (const [document, pick] of [['openapi.json', 'OrdersCreated'], ['asyncapi.json', 'OrdersCreated']]) {
  test(`payloads are told apart by the schemas of ${document}`, async () => {
    const Ajv = document === 'openapi.json' ? Ajv2020 : (await import('ajv')).default;
    const ajv = new Ajv({ strict: false, validateFormats: false });
    ajv.addSchema({ $id: 'urn:pubsub:document', ...json(kinds, document) });
    const validate = ajv.compile({ $ref: `urn:pubsub:document#/components/schemas/${pick}` });
    assert.equal(validate(order), true, JSON.stringify(validate.errors));
    for (const wrong of [
      { ...order, total: 'much' },
      { ...order, lines: [{ ...order.lines[0], size: [1, 2] }] },
      { ...order, lines: [{ ...order.lines[0], size: [1, 2, 3] }] },
      { ...order, payment: { kind: 'card' } },
      { ...order, state: 'lost' },
    ]) {
      assert.equal(validate(wrong), false, JSON.stringify(wrong));
    }
  });
}
