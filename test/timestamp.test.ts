import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError, IntegrityError } from '../src/errors.ts';
import { stampedHash, timeStampRequest, verifyReply } from '../src/evidence/timestamp.ts';

const openssl = spawnSync('openssl', ['version'], { encoding: 'utf8' });
const missing = openssl.status === 0 ? '' : ' (skipped: the program openssl is missing)';

const imprint = 'c0ffee'.repeat(11).slice(0, 64);

describe.skipIf(missing !== '')(`time stamps against openssl ts${missing}`, () => {
  let folder: string;
  const at = (name: string): string => join(folder, name);
  const run = (...args: string[]): string =>
    execFileSync('openssl', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

  /** An authority's certificate and the configuration to stamp with. */
  function authority(
    name: string,
    options: { usage: string; key: readonly string[]; startdate?: string; enddate?: string },
  ): void {
    run(
      'req',
      '-new',
      '-newkey',
      ...options.key,
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-subj',
      `/O=Test/CN=${name}`,
      '-out',
      `${name}.csr`,
      '-config',
      'ca.cnf',
    );
    writeFileSync(
      at(`${name}.ext`),
      `basicConstraints=CA:false\nextendedKeyUsage=${options.usage}\nsubjectKeyIdentifier=hash\n`,
    );
    const dates = [
      '-startdate',
      options.startdate ?? '20200101000000Z',
      '-enddate',
      options.enddate ?? '20990101000000Z',
    ];
    run(
      'ca',
      '-batch',
      '-config',
      'ca.cnf',
      '-notext',
      '-in',
      `${name}.csr`,
      '-out',
      `${name}.pem`,
      '-extfile',
      `${name}.ext`,
      ...dates,
    );
  }
  const stamp = (name: string, request: string, ...args: string[]): Uint8Array => {
    const out = `${name}-${request}.tsr`;
    run(
      'ts',
      '-reply',
      '-config',
      'ca.cnf',
      '-section',
      'tsa',
      '-queryfile',
      request,
      '-signer',
      `${name}.pem`,
      '-inkey',
      `${name}.key`,
      '-out',
      out,
      ...args,
    );
    return readFileSync(at(out));
  };

  let request: Uint8Array;
  let ca: string;
  const verify = (reply: Uint8Array, options: Partial<Parameters<typeof verifyReply>[1]> = {}) =>
    verifyReply(reply, { fileName: 'x.tsr', imprint, request, ca, ...options });

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'radioactive-tsa-'));
    writeFileSync(
      at('ca.cnf'),
      [
        '[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=unused',
        '[ca]\ndefault_ca=c\n[c]\nnew_certs_dir=.\ndatabase=index.txt\nserial=serial\ncertificate=ca.pem\nprivate_key=ca.key',
        'default_md=sha256\npolicy=p\nunique_subject=no\n[p]\nO=optional\ncommonName=supplied',
        '[root]\nbasicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign',
        '[tsa]\nserial=tsa-serial\ndefault_policy=1.2.3.4\ndigests=sha256\nsigner_digest=sha256\naccuracy=secs:1\ness_cert_id_alg=sha256',
      ].join('\n'),
    );
    writeFileSync(at('index.txt'), '');
    for (const name of ['serial', 'tsa-serial']) writeFileSync(at(name), '01\n');
    for (const name of ['ca', 'other'])
      run(
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-keyout',
        `${name}.key`,
        '-subj',
        `/CN=Root of ${name}`,
        '-days',
        '3650',
        '-out',
        `${name}.pem`,
        '-config',
        'ca.cnf',
        '-extensions',
        'root',
      );
    const ec = ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    authority('rsa', { usage: 'critical,timeStamping', key: ['rsa:2048'] });
    authority('ec', { usage: 'critical,timeStamping', key: ec });
    authority('old', {
      usage: 'critical,timeStamping',
      key: ec,
      startdate: '20010101000000Z',
      enddate: '20020101000000Z',
    });
    request = timeStampRequest(imprint);
    writeFileSync(at('q.tsq'), request);
    writeFileSync(at('r.tsq'), timeStampRequest(imprint));
    writeFileSync(at('other.tsq'), timeStampRequest('11'.repeat(32)));
    ca = readFileSync(at('ca.pem'), 'utf8');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('asks for what openssl reads: the hash, a nonce of its own, the certificate', () => {
    const text = run('ts', '-query', '-in', 'q.tsq', '-text');
    expect(text).toContain('Hash Algorithm: sha256');
    expect(text).toContain('Certificate required: yes');
    const bytes = [...text.matchAll(/^ {4}0000.*?-|^ {4}0010.*?-/gm)].length;
    expect(bytes).toBeGreaterThan(0);
    const nonce = (file: string) => /Nonce: (0x\w+)/.exec(run('ts', '-query', '-in', file, '-text'))![1];
    expect(nonce('q.tsq')).toMatch(/^0x[4-7][0-9A-F]{15}$/);
    expect(nonce('q.tsq')).not.toBe(nonce('r.tsq'));
  });

  it.each(['rsa', 'ec'])('accepts what openssl stamped and accepts: %s', (name) => {
    const before = Date.now() - 1000;
    const reply = stamp(name, 'q.tsq');
    expect(run('ts', '-verify', '-digest', imprint, '-in', `${name}-q.tsq.tsr`, '-CAfile', 'ca.pem')).toContain('OK');
    const found = verify(reply);
    expect(found).toMatchObject({
      authority: `CN=${name}, O=Test`,
      policy: '1.2.3.4',
      accuracySeconds: 1,
      chain: [`CN=${name}, O=Test`, 'CN=Root of ca'],
      nonceChecked: true,
    });
    expect(Date.parse(found.time)).toBeGreaterThanOrEqual(before);
    expect(Date.parse(found.time)).toBeLessThanOrEqual(Date.now() + 1000);
    expect(verify(reply, { ca: undefined, request: undefined })).toMatchObject({ chain: null, nonceChecked: false });
    expect(stampedHash(reply, 'x.tsr')).toBe(imprint);
  });

  it('refuses everything else', () => {
    const good = stamp('ec', 'q.tsq');
    const refused = (reply: Uint8Array, message: string, options = {}): void => {
      const check = () => verify(reply, options);
      expect(check).toThrow(IntegrityError);
      expect(check).toThrow(`x.tsr: ${message}`);
    };
    refused(stamp('ec', 'r.tsq'), 'its nonce is not that of the request');
    refused(stamp('ec', 'other.tsq'), `stamps another hash, ${'11'.repeat(32)}; expected ${imprint}`);
    refused(good, `stamps another hash, ${imprint}; expected`, { imprint: '22'.repeat(32) });
    refused(stamp('old', 'q.tsq'), 'the certificate of CN=old, O=Test was not valid at ');
    refused(stamp('old', 'q.tsq'), 'the certificate of CN=old, O=Test was not valid at ', { ca: undefined });
    refused(good, 'no authority that was given issued the certificate of CN=ec', {
      ca: readFileSync(at('other.pem'), 'utf8'),
    });
    refused(readFileSync(at('q.tsq')), 'is no time-stamp reply');
    refused(new Uint8Array(0), 'is no time-stamp reply');
    writeFileSync(at('sha1.cnf'), readFileSync(at('ca.cnf'), 'utf8').replace('digests=sha256', 'digests=sha512'));
    spawnSync(
      'openssl',
      [
        'ts',
        '-reply',
        '-config',
        'sha1.cnf',
        '-section',
        'tsa',
        '-queryfile',
        'q.tsq',
        '-signer',
        'ec.pem',
        '-inkey',
        'ec.key',
        '-out',
        'no.tsr',
      ],
      { cwd: folder },
    );
    refused(readFileSync(at('no.tsr')), 'the authority did not grant the time stamp: rejection (');
    expect(() => verify(good, { request: good })).toThrow(InputError);
    expect(() => verify(good, { ca: 'nothing' })).toThrow(InputError);
  });

  it('refuses a certificate that is not for time stamps alone', () => {
    const ec = ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    const good = stamp('ec', 'q.tsq');
    // openssl does not sign with such certificates: the purpose is changed in the certificate that a token holds.
    const purpose = Buffer.from('06082b06010505070308', 'hex');
    const at8 = Buffer.from(good).indexOf(purpose);
    expect(at8).toBeGreaterThan(0);
    const changed = Uint8Array.from(good);
    changed[at8 + purpose.length - 1] = 3;
    expect(() => verify(changed)).toThrow(IntegrityError);
    authority('web', { usage: 'critical,serverAuth', key: ec });
    run(
      'cms',
      '-sign',
      '-binary',
      '-nodetach',
      '-outform',
      'DER',
      '-econtent_type',
      '1.2.840.113549.1.9.16.1.4',
      '-in',
      'tst.der',
      '-signer',
      'web.pem',
      '-inkey',
      'web.key',
      '-cades',
      '-out',
      'web.cms',
      ...tstOf(good),
    );
    const token = readFileSync(at('web.cms'));
    const body = Buffer.concat([Buffer.from('3003020100', 'hex'), token]);
    const head = Buffer.from([0x30, 0x82, body.length >> 8, body.length & 255]);
    expect(() => verify(Buffer.concat([head, body]))).toThrow(
      'the certificate that signed it is not one for time stamps (CN=web, O=Test)',
    );
  });

  /** Writes the time stamp inside a reply to tst.der. */
  function tstOf(reply: Uint8Array): string[] {
    writeFileSync(at('good.tsr'), reply);
    run('ts', '-reply', '-in', 'good.tsr', '-token_out', '-out', 'good.cms');
    run('cms', '-verify', '-noverify', '-inform', 'DER', '-in', 'good.cms', '-out', 'tst.der');
    return [];
  }

  it('notices a change of any byte, or says what openssl says', () => {
    const good = stamp('ec', 'q.tsq');
    const whole = verify(good);
    for (let i = 0; i < good.length; i += 3) {
      const changed = Uint8Array.from(good);
      changed[i] ^= 0x10;
      let found: unknown;
      try {
        found = verify(changed);
      } catch (error) {
        expect(error, `byte ${i}`).toBeInstanceOf(IntegrityError);
        continue;
      }
      // Bytes that nothing depends on, such as the list of digests beside the signature: what is attested is the same.
      expect(found, `byte ${i}`).toEqual(whole);
    }
  });
});
