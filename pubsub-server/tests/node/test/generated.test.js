// The client that is generated from the events of the demonstration server, compiled by the strict compiler, before that
// server.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

import { Cutter } from '../lib/cutter.js';
import { Demo, READER } from '../lib/demo.js';
import { until } from '../lib/wait.js';

const run = promisify(execFile);
const here = fileURLToPath(new URL('..', import.meta.url));
const place = `${here}compiled`;
const OPTIONS = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  module: 'nodenext',
  target: 'es2022',
  lib: ['esnext', 'dom', 'dom.asynciterable', 'dom.iterable'],
  types: [],
  outDir: 'out',
  // The declarations of other packages are theirs; ours are looked at by the tests of the generator.
  skipLibCheck: true,
};

let demo;
let program;

before(async () => {
  await rm(place, { recursive: true, force: true });
  await mkdir(place);
  await run(process.env.PUBSUB_DEMO, ['codegen', '--out', place, '--only', 'typescript,client']);
  await cp(`${here}typed/program.ts`, `${place}/program.ts`);
  await writeFile(`${place}/tsconfig.json`, JSON.stringify({ compilerOptions: OPTIONS, include: ['*.ts'] }));
  await run(process.execPath, [`${here}node_modules/typescript/bin/tsc`, '-p', place, '--pretty', 'false']).catch(
    (error) => assert.fail(error.stdout),
  );
  program = await import(pathToFileURL(`${place}/out/program.js`));
  demo = await Demo.start();
});

after(() => demo?.stop());

test('calls are typed, done once, and refused with their codes', async () => {
  const pubsub = program.connect(demo.url);
  const { reply, again, duplicates, emitted } = await program.ping(pubsub, 'hi', 'generated-1');
  assert.deepEqual([reply, again, duplicates], ['Pong: hi', 'Pong: hi', [false, true]]);
  assert.deepEqual(emitted, ['ping:message', 'pong:response']);
  const [first, second] = [await program.publish(pubsub, 'A', 1, 'generated-2'), await program.publish(pubsub, 'A', 1, 'generated-2')];
  assert.deepEqual([first.duplicate, second.duplicate, second.cursor], [false, true, first.cursor]);
  assert.equal(await program.create(pubsub, 'B', 2), true);

  const { refusal } = program;
  const code = async (call) => (await refusal(call)).code;
  assert.deepEqual(await refusal(() => program.create(pubsub, 'C', -1)), { code: 'UNPROCESSABLE_CONTENT', status: 422, pointers: [] });
  // What no compiler let through.
  const wrong = await refusal(() => pubsub.sendEvent('orders:created', { orderId: 7, total: 1 }));
  assert.deepEqual(wrong, { code: 'BAD_REQUEST', status: 400, pointers: ['/payload/orderId'] });
  assert.equal(await code(() => pubsub.sendEvent('pong:response', {})), 'FORBIDDEN');
  assert.equal(await code(() => pubsub.sendEvent('no:such', {})), 'NOT_FOUND');
  assert.equal(await code(() => pubsub.sendEvent('ping:message', { message: 'other' }, { clientEventId: 'generated-1' })), 'CONFLICT');
  assert.equal(await code(() => pubsub.publish('elsewhere', 'demo:x', 1)), 'NOT_FOUND');
  assert.equal(await code(() => pubsub.publish('secure.a', 'demo:x', 1)), 'UNAUTHORIZED');
  const reader = program.connect(demo.url, () => READER);
  assert.equal(await code(() => reader.publish('secure.a', 'demo:x', 1)), 'FORBIDDEN');
});

test('a stream survives cut connections without loss or repetition', async (t) => {
  const wire = await Cutter.before(demo.url);
  t.after(() => wire.close());
  const pubsub = program.connect(wire.url);
  const heard = program.listen(pubsub, ['orders', 'pingpong']);
  t.after(() => heard.subscription.close());
  await until(() => heard.states.at(-1) === 'open', 'the stream');
  const expected = [];
  for (let round = 0; round < 4; round++) {
    for (let number = 0; number < 3; number++) {
      expected.push(`cut-${round}-${number}`);
      await demo.publish('orders', 'orders:created', { orderId: expected.at(-1), total: 1 });
    }
    await until(() => heard.orders.length === expected.length, () => `all of ${expected}, not ${heard.orders}`);
    wire.cut();
  }
  assert.deepEqual(heard.orders, expected);
  assert.deepEqual([heard.missed, heard.errors], [0, []]);
});

test('after a restart that lost its log a stream tells so, and goes on', async (t) => {
  const pubsub = program.connect(demo.url);
  const heard = program.listen(pubsub, 'orders');
  t.after(() => heard.subscription.close());
  await until(() => heard.states.at(-1) === 'open', 'the stream');
  await program.publish(pubsub, 'before', 1);
  await until(() => heard.orders.length === 1, 'the first order');
  await demo.restart();
  await program.publish(pubsub, 'after', 2);
  await until(() => heard.orders.length === 2, 'the second order');
  assert.deepEqual([heard.orders, heard.missed, heard.errors], [['before', 'after'], 1, []]);
  assert.ok(heard.states.includes('connecting') && heard.states.at(-1) === 'open', heard.states.join());
  heard.subscription.close();
  assert.equal(heard.states.at(-1), 'closed');
  await demo.subscribed(0);
});

test('tickets open what needs a token, and a wrong token ends the subscription', async (t) => {
  const heard = program.listen(program.connect(demo.url, () => READER), 'secure.orders');
  t.after(() => heard.subscription.close());
  await until(() => heard.states.at(-1) === 'open', 'the stream');
  const refused = program.listen(program.connect(demo.url, () => 'wrong'), 'secure.orders');
  await until(() => refused.errors.length === 1, 'the refusal');
  assert.match(refused.errors[0], /401/);
  assert.deepEqual(refused.states, ['connecting', 'closed']);
  assert.ok(!refused.errors[0].includes('wrong'));
});
