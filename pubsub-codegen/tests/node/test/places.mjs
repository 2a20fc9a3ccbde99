// Where things lie. The tests run in a copy of this package, so that nothing is installed into the tree.

import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const here = resolve(dirname(fileURLToPath(import.meta.url)), '..');

const { PUBSUB_CONTRACTS: named, PUBSUB_CLIENT: source } = process.env;
if (!named) throw new Error('PUBSUB_CONTRACTS names the folders of generated files, with `:` between them');
if (!source) throw new Error('PUBSUB_CLIENT names the helper client');

/** The folders of generated files; the first has every kind of type. */
export const folders = named.split(':').map((folder) => resolve(folder));
export const kinds = folders[0];

/** The same for every catalog, and so not beside the types. */
export const client = resolve(source);

export const json = (folder, name) => JSON.parse(readFileSync(join(folder, name), 'utf8'));
