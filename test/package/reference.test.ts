import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

it('the API reference: no export without a comment, no dead link, no type out of reach', () => {
  // What typedoc demands is in typedoc.json; `npm run docs` writes the pages.
  const args = ['node_modules/typedoc/bin/typedoc', '--emit', 'none'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect(stdout + stderr).toBe('');
  expect(status).toBe(0);
});
