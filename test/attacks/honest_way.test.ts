/** The whole way of an honest owner, as the documentation's commands: every check that can be made on it holds. */

import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Verification } from '../../src/evidence/verification.ts';
import { Authorities, opensslMissing } from '../authority.ts';
import { build, run } from '../cli.ts';
import { CLASSES, writeFolder } from '../small_data.ts';

describe.skipIf(opensslMissing)(`the honest way${opensslMissing ? ' (skipped: openssl is missing)' : ''}`, () => {
  let authorities: Authorities;
  const at = (name: string): string => authorities.at(name);
  /** Runs a command line in which `@name` stands for a file of this test. */
  const runLine = (line: string) =>
    run(
      'cli',
      line.split(' ').map((word) => word.replaceAll(/@(?=[a-z])/g, `${authorities.folder}/`)),
    );
  const runJson = async (line: string) => {
    const { exitCode, stdout, stderr } = await runLine(`${line} --json --quiet`);
    expect(exitCode, `${line}: ${stderr}`).toBe(0);
    return JSON.parse(stdout);
  };
  /** What the authority answers to `NAME.tsq`. */
  const stamp = (name: string): void => writeFileSync(at(`${name}.tsr`), authorities.stamp('tsa', `${name}.tsq`));

  beforeAll(() => {
    build();
    authorities = new Authorities();
    authorities.certificate('ca');
    authorities.certificate('tsa', { by: 'ca' });
    writeFolder(at('images'), 16);
    writeFolder(at('other-images'), 40, CLASSES, 1000);
    writeFolder(at('held-out'), 60, CLASSES, 2000);
  });
  afterAll(() => rmSync(authorities.folder, { recursive: true }));

  it('from keygen to report', async () => {
    const NETWORK = '--arch resnet18 --width 4 --stem small';
    await runJson(`train --data @other-images ${NETWORK} --epochs 1 -o @marker.safetensors`);
    const { commitment } = await runJson(
      'keygen --classes @images --vanilla @other-images --dimension 4 --model @marker.safetensors --held-out @held-out --await-beacon time-stamp -o @owner.key',
    );
    await runJson('commit --key @owner.key -o @key.tsq');
    stamp('key');
    await runJson('commit --key @owner.key --reply @key.tsr --ca @ca.pem');
    await runJson('complete --key @owner.key --beacon @key.tsr --ca @ca.pem');
    await runJson('commit --key @owner.key --register @owner.key.register.jsonl -o @register.tsq');
    stamp('register');
    await runJson(
      'mark --key @owner.key --model @marker.safetensors --data @images --fraction 0.5 --iterations 3 -o @published',
    );
    await runJson('commit --key @owner.key --marked @published -o @data.tsq');
    stamp('data');
    await runJson(
      'train --data @published --init @marker.safetensors --freeze-features --epochs 2 -o @suspect.safetensors',
    );
    const result = await runJson(
      'detect --key @owner.key --model @marker.safetensors --suspect @suspect.safetensors --data @held-out --fresh-keys 20 --save @evidence',
    );
    expect(result).toMatchObject({ keyCommitment: commitment, primary: true, deviations: [] });
    const verified = await runLine(
      `verify --key @owner.key --commitment ${commitment} --model @marker.safetensors --vanilla @other-images --suspect @suspect.safetensors --result @evidence/result.json --data @held-out --marked @published --original @images --reply @key.tsr,@register.tsr,@data.tsr --ca @ca.pem -o @verification.json --json --quiet`,
    );
    const verification = JSON.parse(readFileSync(at('verification.json'), 'utf8')) as Verification;
    expect(verification.checks.filter(({ state }) => state !== 'ok')).toEqual([]);
    expect(verified.exitCode, verified.stderr).toBe(0);
    expect(verification.checks.filter(({ check }) => check === 'time stamp')).toHaveLength(3);
    for (const check of ['beacon signature', 'subspace', 'marked again', 'test again', 'register complete'])
      expect(
        verification.checks.map((row) => row.check),
        check,
      ).toContain(check);
    await runJson(
      'report @evidence --register @owner.key.register.jsonl --verification @verification.json --marked @published --original @images -o @report.html',
    );
    for (const name of [
      'owner.key',
      'owner.key.register.jsonl',
      'evidence/result.json',
      'verification.json',
      'report.html',
    ])
      expect(statSync(at(name)).mode & 0o777, name).toBe(0o600);
    const page = readFileSync(at('report.html'), 'utf8');
    expect(page).toContain(commitment);
    expect(page).not.toContain((JSON.parse(readFileSync(at('owner.key'), 'utf8')) as { secret: string }).secret);
  });
});
