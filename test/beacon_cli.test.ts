import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drandRoundAt } from '../src/marking/beacon.ts';
import { Authorities, opensslMissing } from './authority.ts';
import { build, ownLines, run } from './cli.ts';
import { writeFolder, writeModel } from './small_data.ts';

describe.skipIf(opensslMissing)(`keys with a beacon${opensslMissing ? ' (skipped: openssl is missing)' : ''}`, () => {
  let authorities: Authorities;
  /** Runs a command line in which `@name` stands for a file of this test. */
  const runLine = (line: string) =>
    run(
      'cli',
      line.split(' ').map((word) => word.replaceAll(/@(?=[a-z])/g, `${authorities.folder}/`)),
    );
  const runJson = async (line: string) => {
    const { exitCode, stdout, stderr } = await runLine(`${line} --json --quiet`);
    expect(exitCode, stderr).toBe(0);
    return JSON.parse(stdout);
  };
  const keyFile = (name: string) => JSON.parse(readFileSync(authorities.at(name), 'utf8'));
  beforeAll(() => {
    build();
    authorities = new Authorities();
    authorities.certificate('ca');
    authorities.certificate('tsa', { by: 'ca' });
    authorities.certificate('other');
    authorities.certificate('stranger', { by: 'other' });
    writeFolder(authorities.at('images'), 12);
    writeModel(authorities.at('marker.safetensors'));
  });
  afterAll(() => authorities.remove());

  const KEYGEN = 'keygen --classes @images --model @marker.safetensors --carriers uniform';
  const MARK = 'mark --model @marker.safetensors --data @images --fraction 0.5 --iterations 1';

  it('mark nothing before the stamp, and after it with the same commitment', async () => {
    const made = await runJson(`${KEYGEN} --await-beacon time-stamp -o @owner.key`);
    expect(made.beacon).toEqual({ kind: 'time-stamp' });
    const early = await runLine(`${MARK} --key @owner.key -o @early`);
    expect(early.exitCode).toBe(3);
    expect(ownLines(early)).toEqual([
      expect.stringMatching(
        /^error: .*owner\.key: the key has no carriers before a time stamp of the key's commitment;/,
      ),
    ]);
    await runJson('commit --key @owner.key -o @key.tsq');
    writeFileSync(authorities.at('key.tsr'), authorities.stamp('tsa', 'key.tsq'));
    writeFileSync(authorities.at('stranger.tsr'), authorities.stamp('stranger', 'key.tsq'));
    const before = keyFile('owner.key');
    const foreign = await runLine('complete --key @owner.key --beacon @stranger.tsr --ca @ca.pem');
    expect(foreign.exitCode).toBe(6);
    // One bit of the signature, which is at the end.
    const forged = readFileSync(authorities.at('key.tsr'));
    forged[forged.length - 1] ^= 1;
    writeFileSync(authorities.at('forged.tsr'), forged);
    expect((await runLine('complete --key @owner.key --beacon @forged.tsr')).exitCode).toBe(6);
    expect(keyFile('owner.key')).toEqual(before);

    const complete = await runJson('complete --key @owner.key --beacon @key.tsr --ca @ca.pem');
    expect(complete.commitment).toBe(made.commitment);
    expect(statSync(authorities.at('owner.key')).mode & 0o777).toBe(0o600);
    const { beaconReply, ...rest } = keyFile('owner.key');
    expect(rest).toEqual(before);
    expect(Buffer.from(beaconReply, 'base64')).toEqual(readFileSync(authorities.at('key.tsr')));
    const marked = await runJson(`${MARK} --key @owner.key -o @marked`);
    expect(marked.keyCommitment).toBe(made.commitment);
    const again = await runLine('complete --key @owner.key --beacon @key.tsr');
    expect(again.exitCode).toBe(3);
    expect(ownLines(again)).toEqual([expect.stringContaining('the key has its beacon already')]);
  });

  it('wait for a round of drand that is to come, and take no other', async () => {
    const made = await runJson(`${KEYGEN} --await-beacon drand --beacon-delay 90 -o @round.key`);
    const expected = drandRoundAt(new Date(Date.now() + 90 * 60_000));
    expect(Math.abs(made.beacon.round - expected)).toBeLessThan(200);
    const told = await runLine(`${KEYGEN} --await-beacon drand -o @told.key --quiet`);
    expect(told.stdout).toMatch(/^ {2}curl https:\/\/api\.drand\.sh\/[0-9a-f]{64}\/public\/\d+ -o round\.json$/m);
    const signature =
      'b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39';
    for (const round of [1000, made.beacon.round]) {
      writeFileSync(authorities.at('round.json'), JSON.stringify({ round, signature }));
      const { exitCode } = await runLine('complete --key @round.key --beacon @round.json');
      expect(exitCode).toBe(6);
    }
    expect(keyFile('round.key')).not.toHaveProperty('beaconReply');
    for (const [line, message] of [
      [`${KEYGEN} --beacon-delay 5 -o @x.key`, '--beacon-delay goes with --await-beacon drand'],
      [
        'complete --key @round.key --beacon @round.json --ca @ca.pem',
        '--ca goes with a key that waits for a time stamp',
      ],
    ] as const) {
      const wrong = await runLine(line);
      expect(wrong.exitCode).toBe(2);
      expect(ownLines(wrong)[0]).toContain(message);
    }
  });

  it('are no more than others where none is asked for, and say so', async () => {
    const { stdout } = await runLine(`${KEYGEN} -o @plain.key --quiet`);
    expect(stdout).toContain('no beacon: the key is ready');
    const complete = await runLine('complete --key @plain.key --beacon @round.json');
    expect(complete.exitCode).toBe(3);
    expect(ownLines(complete)).toEqual([expect.stringContaining('the key was made without a beacon')]);
  });
});
