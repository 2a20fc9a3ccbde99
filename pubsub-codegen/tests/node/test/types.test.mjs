// The types, together with the real `@trpc/client`, under the strict compiler.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { client, here, kinds } from './places.mjs';

const STRICT = {
  strict: true,
  noEmit: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  noImplicitOverride: true,
  target: 'es2022',
  lib: ['esnext', 'dom', 'dom.asynciterable', 'dom.iterable'],
  types: [],
};

/** What the compiler says of the files of a folder, with `@contracts` for the generated ones. */
function compile(name, folder, contracts, options) {
  const place = join(here, 'compiled', name);
  mkdirSync(place, { recursive: true });
  const compilerOptions = {
    ...STRICT,
    paths: {
      '@contracts/client.js': [client],
      '@contracts/*': [join(contracts, '*')],
      '@trpc/*': [join(here, 'node_modules/@trpc/*')],
    },
    // As if the client lay beside the types.
    rootDirs: [contracts, dirname(client)],
    ...options,
  };
  const config = { compilerOptions, include: [join(folder, '*.ts'), join(contracts, '*.ts'), client] };
  writeFileSync(join(place, 'tsconfig.json'), JSON.stringify(config));
  return new Promise((done) => {
    const tsc = join(here, 'node_modules/typescript/bin/tsc');
    execFile(process.execPath, [tsc, '-p', place, '--pretty', 'false'], (error, out) => done({ failed: Boolean(error), out }));
  });
}

for (const [resolution, module] of [['bundler', 'esnext'], ['nodenext', 'nodenext']]) {
  test(`right payloads compile and wrong ones do not, resolved by ${resolution}`, async () => {
    const options = { moduleResolution: resolution, module };
    const { failed, out } = await compile(resolution, join(here, 'types'), kinds, options);
    assert.equal(failed, false, out);
  });
}

test('the compiler refuses each wrong line, and no other', async () => {
  const { failed, out } = await compile('wrong', join(here, 'wrong'), kinds, { moduleResolution: 'bundler', module: 'esnext' });
  assert.equal(failed, true, 'nothing was refused');
  const refused = new Set([...out.matchAll(/payload\.ts\((\d+),/g)].map((match) => Number(match[1])));
  const lines = readFileSync(join(here, 'wrong/payload.ts'), 'utf8').split('\n');
  const wrong = lines.flatMap((line, index) => (line.endsWith('// wrong') ? [index + 1] : []));
  assert.ok(wrong.length > 0);
  assert.deepEqual([...refused].sort((a, b) => a - b), wrong, out);
});
