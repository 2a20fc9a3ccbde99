// The program against the server that it is written for. `PUBSUB_SSE_AXUM` is the example's program.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { promisify } from 'node:util';

test('the program says what it hears', async () => {
  const server = spawn(process.env.PUBSUB_SSE_AXUM, ['--serve'], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const [line] = await once(createInterface(server.stdout), 'line');
    const url = line.replace('listening on ', '');
    const { stdout } = await promisify(execFile)(process.execPath, ['dist/main.js', `${url}/api`], { timeout: 30_000 });
    assert.deepEqual(stdout.trim().split('\n'), [
      'a stranger: UNAUTHORIZED',
      'a member says "hello", which has 5 letters',
      'a member says "goodbye", which has 7 letters',
      'everybody hears hello, goodbye',
    ]);
  } finally {
    server.kill('SIGTERM');
    await once(server, 'exit');
  }
});
