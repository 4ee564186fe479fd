import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError, IntegrityError } from '../src/errors.ts';
import { type ReplyOptions, stampedHash, timeStampRequest, verifyReply } from '../src/evidence/timestamp.ts';
import { Authorities, CA, opensslMissing, SIGNER } from './authority.ts';

const missing = opensslMissing ? ' (skipped: the program openssl is missing)' : '';

const imprint = 'c0ffee'.repeat(11).slice(0, 64);

describe.skipIf(opensslMissing)(`time stamps against openssl ts${missing}`, () => {
  let authorities: Authorities;
  let request: Uint8Array;
  let ca: string;
  const verify = (reply: Uint8Array, options: Partial<ReplyOptions> = {}) =>
    verifyReply(reply, { fileName: 'x.tsr', imprint, request, ca, ...options });

  beforeAll(() => {
    authorities = new Authorities();
    authorities.certificate('ca', { subject: '/CN=Root of ca' });
    authorities.certificate('other', { subject: '/CN=Root of other' });
    authorities.certificate('rsa', { by: 'ca', key: 'rsa' });
    authorities.certificate('ec', { by: 'ca' });
    authorities.certificate('old', { by: 'ca', from: '20010101000000Z', to: '20020101000000Z' });
    request = timeStampRequest(imprint);
    authorities.write('q.tsq', request);
    authorities.write('r.tsq', timeStampRequest(imprint));
    authorities.write('other.tsq', timeStampRequest('11'.repeat(32)));
    ca = authorities.pem('ca');
  });
  afterAll(() => authorities.remove());

  it('asks for what openssl reads: the hash, a nonce of its own, the certificate', () => {
    const text = authorities.run('ts', '-query', '-in', 'q.tsq', '-text');
    expect(text).toContain('Hash Algorithm: sha256');
    expect(text).toContain('Certificate required: yes');
    const bytes = [...text.matchAll(/^ {4}0000.*?-|^ {4}0010.*?-/gm)].length;
    expect(bytes).toBeGreaterThan(0);
    const nonce = (file: string) => /Nonce: (0x\w+)/.exec(authorities.run('ts', '-query', '-in', file, '-text'))![1];
    expect(nonce('q.tsq')).toMatch(/^0x[4-7][0-9A-F]{15}$/);
    expect(nonce('q.tsq')).not.toBe(nonce('r.tsq'));
  });

  it.each(['rsa', 'ec'])('accepts what openssl stamped and accepts: %s', async (name) => {
    const before = Date.now() - 1000;
    const reply = authorities.stamp(name, 'q.tsq');
    expect(
      authorities.run('ts', '-verify', '-digest', imprint, '-in', `${name}-q.tsq.tsr`, '-CAfile', 'ca.pem'),
    ).toContain('OK');
    const found = await verify(reply);
    const fingerprint = authorities.run('x509', '-in', 'ca.pem', '-noout', '-fingerprint', '-sha256');
    expect(found).toMatchObject({
      authority: `CN=${name}, O=Test`,
      policy: '1.2.3.4',
      accuracySeconds: 1,
      chain: [`CN=${name}, O=Test`, 'CN=Root of ca'],
      root: {
        subject: 'CN=Root of ca',
        sha256: fingerprint.split('=')[1].trim().replaceAll(':', '').toLowerCase(),
      },
      nonceChecked: true,
    });
    expect(Date.parse(found.time)).toBeGreaterThanOrEqual(before);
    expect(Date.parse(found.time)).toBeLessThanOrEqual(Date.now() + 1000);
    expect(await verify(reply, { ca: undefined, request: undefined })).toMatchObject({
      chain: null,
      root: null,
      nonceChecked: false,
    });
    expect(stampedHash(reply, 'x.tsr')).toBe(imprint);
  });

  it('refuses everything else', async () => {
    const good = authorities.stamp('ec', 'q.tsq');
    const refused = async (reply: Uint8Array, message: string, options = {}): Promise<void> => {
      const error: unknown = await verify(reply, options).catch((reason) => reason);
      expect(error).toBeInstanceOf(IntegrityError);
      expect((error as Error).message).toContain(`x.tsr: ${message}`);
    };
    await refused(authorities.stamp('ec', 'r.tsq'), 'its nonce is not that of the request');
    await refused(authorities.stamp('ec', 'other.tsq'), `stamps another hash, ${'11'.repeat(32)}; expected ${imprint}`);
    await refused(good, `stamps another hash, ${imprint}; expected`, { imprint: '22'.repeat(32) });
    const old = authorities.stamp('old', 'q.tsq');
    await refused(old, 'the certificate of CN=old, O=Test was not valid at ');
    await refused(old, 'the certificate of CN=old, O=Test was not valid at ', { ca: undefined });
    await refused(good, 'no authority that was given issued the certificate of CN=ec', {
      ca: authorities.pem('other'),
    });
    await refused(authorities.read('q.tsq'), 'is no time-stamp reply');
    await refused(new Uint8Array(0), 'is no time-stamp reply');
    authorities.write('sha512.cnf', authorities.read('ca.cnf').toString().replace('digests=sha256', 'digests=sha512'));
    const rejecting = ['ts', '-reply', '-config', 'sha512.cnf', '-section', 'tsa', '-queryfile', 'q.tsq'];
    spawnSync('openssl', [...rejecting, '-signer', 'ec.pem', '-inkey', 'ec.key', '-out', 'no.tsr'], {
      cwd: authorities.folder,
    });
    await refused(authorities.read('no.tsr'), 'the authority did not grant the time stamp: rejection (');
    await expect(verify(good, { request: good })).rejects.toThrow(InputError);
    await expect(verify(good, { ca: 'nothing' })).rejects.toThrow(InputError);
    await expect(verify(good, { ca: ca.replace(/\n\w{8}/, '\nAAAAAAAA') })).rejects.toThrow(InputError);
  });

  it('notices a change of any byte, or says what openssl says', async () => {
    const good = authorities.stamp('ec', 'q.tsq');
    const whole = await verify(good);
    for (let i = 0; i < good.length; i += 3) {
      const changed = Uint8Array.from(good);
      changed[i] ^= 0x10;
      let found: unknown;
      try {
        found = await verify(changed);
      } catch (error) {
        expect(error, `byte ${i}`).toBeInstanceOf(IntegrityError);
        continue;
      }
      // Bytes that nothing depends on, such as the list of digests beside the signature: what is attested is the same.
      expect(found, `byte ${i}`).toEqual(whole);
    }
  });

  it.each([
    ['nested 20 000 deep', () => nested(20_000)],
    ['of a million elements', () => der(0x30, Buffer.alloc(2_000_000, Buffer.from('0500', 'hex')))],
    ['of 17 MB', () => der(0x30, der(0x04, Buffer.alloc(17_000_000)))],
  ])('refuses DER that is %s', async (_, make) => {
    const reply = make();
    await expect(verify(reply)).rejects.toThrow('x.tsr: is no time-stamp reply');
    expect(() => stampedHash(reply, 'x.tsr')).toThrow(IntegrityError);
    await expect(verify(authorities.stamp('ec', 'q.tsq'), { request: reply })).rejects.toThrow(InputError);
    const pem = `-----BEGIN CERTIFICATE-----\n${reply.toString('base64')}\n-----END CERTIFICATE-----\n`;
    await expect(verify(authorities.stamp('ec', 'q.tsq'), { ca: pem })).rejects.toThrow(InputError);
  });
});

/** A DER element. */
function der(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  const head = length < 128 ? [length] : [0x84, length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255];
  return Buffer.concat([Buffer.from([tag, ...head]), content]);
}

function nested(depth: number): Buffer {
  const heads: Buffer[] = [];
  let length = 0;
  for (let i = 0; i < depth; i++) {
    const head = Buffer.from([0x30, 0x84, length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255]);
    heads.push(head);
    length += head.length;
  }
  return Buffer.concat(heads.reverse());
}

interface PathCase {
  /** The one who stamps. */
  readonly signer: string;
  /** What else the token holds. */
  readonly others?: readonly string[];
  /** What is trusted; default the root. */
  readonly trusted?: readonly string[];
  /** Of the stamp. */
  readonly time?: string;
  readonly args?: readonly string[];
  /** In the message; none where it is accepted, with this many certificates in the chain. */
  readonly refused?: string;
  readonly length?: number;
}

describe.skipIf(opensslMissing)(`the path of certificates${missing}`, () => {
  let authorities: Authorities;
  let tstInfo: Buffer;
  beforeAll(() => {
    authorities = new Authorities();
    authorities.write('q.tsq', timeStampRequest(imprint));
    authorities.certificate('root');
    authorities.certificate('direct', { by: 'root' });
    authorities.certificate('stranger');
    tstInfo = authorities.timeStampOf(authorities.stamp('direct', 'q.tsq'));
  });
  afterAll(() => authorities.remove());

  const cases: Record<string, (a: Authorities) => PathCase> = {
    'signer, intermediate, root': (a) => {
      a.certificate('middle', { by: 'root', extensions: CA });
      a.certificate('leaf', { by: 'middle' });
      return { signer: 'leaf', others: ['middle'], length: 3 };
    },
    'an intermediate beside the root in the file of authorities': () => ({
      signer: 'leaf',
      trusted: ['root', 'middle'],
      length: 2,
    }),
    'an intermediate alone is trusted': () => ({ signer: 'leaf', trusted: ['middle'], length: 2 }),
    'the signer itself is trusted': () => ({ signer: 'leaf', trusted: ['leaf'], length: 1 }),
    'the intermediate is missing': () => ({
      signer: 'leaf',
      refused: 'no authority that was given issued the certificate of CN=leaf, O=Test',
    }),
    'the token brings its own root': () => ({
      signer: 'leaf',
      others: ['middle', 'root'],
      trusted: ['stranger'],
      refused: 'no authority that was given issued the certificate of CN=leaf, O=Test',
    }),
    'certificates in another order, and others among them': (a) => {
      a.certificate('lower', { by: 'middle', extensions: CA });
      a.certificate('low', { by: 'lower' });
      return { signer: 'low', others: ['stranger', 'root', 'lower', 'direct', 'middle'], length: 4 };
    },
    'a forged issuer of the same name': (a) => {
      a.certificate('false', { subject: '/O=Test/CN=middle', extensions: CA });
      a.certificate('forged', { by: 'false' });
      return {
        signer: 'forged',
        others: ['middle', 'root'],
        refused: 'no authority that was given issued the certificate of CN=forged',
      };
    },
    'a short way that does not hold beside a longer one that does': (a) => {
      // The same name and key, certified twice: one has expired.
      a.certificate('twice', { by: 'root', subject: '/CN=Twice', extensions: CA, to: '20210101000000Z' });
      a.certificate('under', { by: 'twice' });
      a.issue('twice', 'second', { by: 'middle' });
      return { signer: 'under', others: ['twice', 'second', 'middle'], length: 4 };
    },
    'certificates that certify each other in a circle': (a) => {
      a.certificate('east', { extensions: CA });
      a.certificate('west', { by: 'east', extensions: CA });
      a.issue('east', 'eastwest', { by: 'west' });
      a.certificate('circle', { by: 'west' });
      return { signer: 'circle', others: ['west', 'east', 'eastwest'], refused: 'no authority that was given issued' };
    },

    'pathLen of the root is exceeded': (a) => {
      a.certificate('short', { extensions: ['basicConstraints=critical,CA:true,pathlen:0'] });
      a.certificate('middle0', { by: 'short', extensions: CA });
      a.certificate('leaf0', { by: 'middle0' });
      return {
        signer: 'leaf0',
        others: ['middle0'],
        trusted: ['short'],
        refused: 'the certificate of CN=short, O=Test allows at most 0 intermediate certificates below it',
      };
    },
    'pathLen of an intermediate is exceeded': (a) => {
      a.certificate('middle1', { by: 'root', extensions: ['basicConstraints=critical,CA:true,pathlen:0'] });
      a.certificate('lower1', { by: 'middle1', extensions: CA });
      a.certificate('leaf1', { by: 'lower1' });
      return {
        signer: 'leaf1',
        others: ['lower1', 'middle1'],
        refused: 'the certificate of CN=middle1, O=Test allows at most 0 intermediate',
      };
    },
    'pathLen is reached and not exceeded': (a) => {
      a.certificate('direct1', { by: 'middle1' });
      return { signer: 'direct1', others: ['middle1'], length: 3 };
    },
    'pathLen does not count self-issued certificates': (a) => {
      a.certificate('renewed', { by: 'short', subject: '/O=Test/CN=short', extensions: CA });
      a.certificate('self', { by: 'renewed' });
      return { signer: 'self', others: ['renewed'], trusted: ['short'], length: 3 };
    },

    ...constraintCases({
      'excludes the directory of the signer': ['excluded;dirName:dir', [], 'names'],
      'excludes it in other letters and spaces': ['excluded;dirName:other_dir', [], 'names'],
      'excludes another directory': ['excluded;dirName:elsewhere', [], undefined],
      'permits the directory of the signer': ['permitted;dirName:other_dir', [], undefined],
      'permits another directory': ['permitted;dirName:elsewhere', [], 'names'],
      'permits the directory, not the alternative one': [
        'permitted;dirName:dir',
        ['subjectAltName=dirName:elsewhere'],
        'names',
      ],
      'permits a domain': ['permitted;DNS:test.org', ['subjectAltName=DNS:a.test.org,DNS:TEST.org'], undefined],
      'permits another domain': ['permitted;DNS:test.org', ['subjectAltName=DNS:a.test.org,DNS:atest.org'], 'names'],
      'excludes a domain': ['excluded;DNS:.test.org', ['subjectAltName=DNS:a.test.org'], 'names'],
      'says nothing of the kinds of names there are': ['permitted;DNS:test.org', [], undefined],
      'permits an address of mail': [
        'permitted;email:test.org,permitted;email:mail.org',
        ['subjectAltName=email:a@test.org'],
        undefined,
      ],
      'permits hosts of mail below': [
        'permitted;email:.test.org,permitted;email:mail.org',
        ['subjectAltName=email:a@test.org'],
        'names',
      ],
      'excludes one box': ['excluded;email:a@test.org', ['subjectAltName=email:a@TEST.org'], 'names'],
      'excludes mail in the subject': ['excluded;email:mail.org', [], 'names'],
      'permits an address range': ['permitted;IP:10.0.0.0/255.0.0.0', ['subjectAltName=IP:10.1.2.3'], undefined],
      'permits another range': ['permitted;IP:10.0.0.0/255.0.0.0', ['subjectAltName=IP:11.1.2.3'], 'names'],
      'permits version 4 and the name is of 6': ['permitted;IP:10.0.0.0/255.0.0.0', ['subjectAltName=IP:::1'], 'names'],
      'excludes a range of version 6': [
        'excluded;IP:fe80:0:0:0:0:0:0:0/ffff:0:0:0:0:0:0:0',
        ['subjectAltName=IP:fe80::1'],
        'names',
      ],
      'permits a host of addresses': [
        'permitted;URI:.test.org',
        ['subjectAltName=URI:http://u@a.test.org:8/x'],
        undefined,
      ],
      'excludes a host of addresses': ['excluded;URI:test.org', ['subjectAltName=URI:http://test.org/x'], 'names'],
      'excludes a number that the signer has': ['excluded;RID:1.2.3', ['subjectAltName=RID:1.2.3.4'], 'names'],
      'excludes numbers and the signer has none': ['excluded;RID:1.2.3', [], undefined],
    }),

    ...Object.fromEntries(
      (['signer', 'intermediate', 'root'] as const).map((which) => [
        `an unknown critical extension in the ${which}`,
        (a: Authorities): PathCase => {
          const unknown = (own: string): string[] => (own === which ? ['1.2.3.4.5=critical,ASN1:NULL'] : []);
          a.certificate(`u-root-${which}`, { extensions: [...CA, ...unknown('root')] });
          a.certificate(`u-middle-${which}`, {
            by: `u-root-${which}`,
            extensions: [...CA, ...unknown('intermediate'), '1.2.3.4.6=ASN1:NULL'],
          });
          a.certificate(`u-leaf-${which}`, {
            by: `u-middle-${which}`,
            extensions: [...SIGNER, ...unknown('signer'), '1.2.3.4.6=ASN1:NULL'],
          });
          return {
            signer: `u-leaf-${which}`,
            others: [`u-middle-${which}`],
            trusted: [`u-root-${which}`],
            refused: 'has a critical extension that is not known here, 1.2.3.4.5',
          };
        },
      ]),
    ),
    'a policy that must be explicit': (a) => {
      a.certificate('policy', {
        by: 'root',
        extensions: [...CA, 'policyConstraints=critical,requireExplicitPolicy:0', 'certificatePolicies=1.2.3'],
      });
      a.certificate('policed', { by: 'policy', extensions: [...SIGNER, 'certificatePolicies=1.2.3'] });
      return { signer: 'policed', others: ['policy'], refused: 'requires a policy' };
    },

    'the intermediate had expired at the time of the stamp': (a) => {
      a.certificate('early', { by: 'root', extensions: CA, to: '20210101000000Z' });
      a.certificate('late', { by: 'early' });
      return { signer: 'late', others: ['early'], refused: 'the certificate of CN=early, O=Test was not valid at ' };
    },
    'all have expired, and were valid at the time of the stamp': () => ({
      signer: 'late',
      others: ['early'],
      time: '20200601000000Z',
      length: 3,
    }),
    'the signer was not valid yet': () => ({
      signer: 'late',
      others: ['early'],
      time: '20190601000000Z',
      refused: 'the certificate of CN=late, O=Test was not valid at 2019-06-01T00:00:00.000Z',
    }),
    'the root had expired at the time of the stamp': (a) => {
      a.certificate('gone', { to: '20210101000000Z' });
      a.certificate('orphan', { by: 'gone' });
      return { signer: 'orphan', trusted: ['gone'], refused: 'the certificate of CN=gone, O=Test was not valid at ' };
    },

    ...purposeCases({
      'a purpose that is not critical': ['basicConstraints=CA:false', 'extendedKeyUsage=timeStamping'],
      'another purpose': ['extendedKeyUsage=critical,serverAuth'],
      'several purposes': ['extendedKeyUsage=critical,timeStamping,codeSigning'],
      'any purpose': ['extendedKeyUsage=critical,anyExtendedKeyUsage'],
      'no purpose': ['basicConstraints=CA:false'],
      'a key that may not sign': [...SIGNER, 'keyUsage=critical,keyEncipherment'],
      'a key that may sign certificates too': [...SIGNER, 'keyUsage=critical,digitalSignature,keyCertSign'],
    }),
    'a key that may sign': (a) => {
      a.certificate('usage', { by: 'root', extensions: [...SIGNER, 'keyUsage=critical,digitalSignature'] });
      return { signer: 'usage', length: 2 };
    },

    ...caCases({
      'an intermediate without keyCertSign': ['basicConstraints=critical,CA:true', 'keyUsage=critical,cRLSign'],
      'an intermediate without basicConstraints': ['keyUsage=critical,keyCertSign'],
      'an intermediate that is none by basicConstraints': ['basicConstraints=critical,CA:false'],
      'an intermediate for other purposes': [...CA, 'extendedKeyUsage=serverAuth'],
    }),
    'an intermediate without keyUsage, for time stamps': (a) => {
      a.certificate('free', { by: 'root', extensions: ['basicConstraints=CA:true', 'extendedKeyUsage=timeStamping'] });
      a.certificate('freed', { by: 'free' });
      return { signer: 'freed', others: ['free'], length: 3 };
    },
    'a root without keyCertSign': (a) => {
      a.certificate('weak', { extensions: ['basicConstraints=critical,CA:true', 'keyUsage=critical,cRLSign'] });
      a.certificate('weakened', { by: 'weak' });
      return { signer: 'weakened', trusted: ['weak'], refused: 'CN=weak, O=Test may not issue certificates' };
    },
    'a root without basicConstraints': (a) => {
      a.certificate('bare', { extensions: ['keyUsage=critical,keyCertSign'] });
      a.certificate('bared', { by: 'bare' });
      return { signer: 'bared', trusted: ['bare'], refused: 'CN=bare, O=Test may not issue certificates' };
    },

    'a signer certified by SHA-1': (a) => {
      a.certificate('sha1', { by: 'root', digest: 'sha1' });
      return { signer: 'sha1', refused: 'the certificate of CN=sha1, O=Test is signed by 1.2.840.10045.4.1' };
    },
    'an intermediate certified by SHA-1': (a) => {
      a.certificate('rsaroot', { key: 'rsa' });
      a.certificate('sha1middle', { by: 'rsaroot', digest: 'sha1', extensions: CA });
      a.certificate('sha1leaf', { by: 'sha1middle' });
      return {
        signer: 'sha1leaf',
        others: ['sha1middle'],
        trusted: ['rsaroot'],
        refused: 'the certificate of CN=sha1middle, O=Test is signed by 1.2.840.113549.1.1.5',
      };
    },
    'a root that signed itself by SHA-1, which proves nothing either way': (a) => {
      a.certificate('sha1root', { key: 'rsa', digest: 'sha1' });
      a.certificate('sha1rooted', { by: 'sha1root' });
      return { signer: 'sha1rooted', trusted: ['sha1root'], length: 2 };
    },
    'a token signed by SHA-1': () => ({
      signer: 'direct',
      args: ['-md', 'sha1'],
      refused: 'its digest 1.3.14.3.2.26 is not accepted',
    }),
    'a token signed by SHA-512': () => ({ signer: 'direct', args: ['-md', 'sha512'], length: 2 }),

    'certificates and token by RSA-PSS': (a) => {
      a.certificate('pssroot', { key: 'rsa' });
      const sigopts = ['rsa_padding_mode:pss', 'rsa_pss_saltlen:digest'];
      a.certificate('pss', { by: 'pssroot', key: 'rsa', sigopts });
      return { signer: 'pss', trusted: ['pssroot'], args: ['-keyopt', 'rsa_padding_mode:pss'], length: 2 };
    },
    'keys that are for RSA-PSS alone, and a long salt': (a) => {
      a.certificate('pssonly', { key: 'pss' });
      const sigopts = ['rsa_padding_mode:pss', 'rsa_pss_saltlen:max'];
      a.certificate('psskey', { by: 'pssonly', key: 'pss', digest: 'sha384', sigopts });
      const args = ['-keyopt', 'rsa_padding_mode:pss', '-md', 'sha512'];
      return { signer: 'psskey', trusted: ['pssonly'], args, length: 2 };
    },
    'RSA-PSS by SHA-1': (a) => {
      const sigopts = ['rsa_padding_mode:pss', 'rsa_pss_saltlen:digest'];
      a.certificate('psssha1', { by: 'pssroot', digest: 'sha1', sigopts });
      return { signer: 'psssha1', trusted: ['pssroot'], refused: 'the certificate of CN=psssha1, O=Test is signed by' };
    },
    'RSA-PSS with SHA-1 for its mask': (a) => {
      const sigopts = ['rsa_padding_mode:pss', 'rsa_pss_saltlen:digest', 'rsa_mgf1_md:sha1'];
      a.certificate('pssmask', { by: 'pssroot', sigopts });
      return { signer: 'pssmask', trusted: ['pssroot'], refused: 'the certificate of CN=pssmask, O=Test is signed by' };
    },
    'curves of 384 and 521 bits': (a) => {
      a.certificate('root521', { key: 'ec521', digest: 'sha512' });
      a.certificate('leaf384', { by: 'root521', key: 'ec384', digest: 'sha512' });
      return { signer: 'leaf384', trusted: ['root521'], args: ['-md', 'sha384'], length: 2 };
    },
    'a curve that WebCrypto does not know': (a) => {
      a.certificate('koblitz', { by: 'root', key: 'koblitz' });
      return { signer: 'koblitz', refused: 'the key of CN=koblitz, O=Test is of a kind that is not accepted' };
    },
    'an authority with a key for Ed25519': (a) => {
      a.certificate('edroot', { key: 'ed25519' });
      a.certificate('ed', { by: 'edroot' });
      return { signer: 'ed', trusted: ['edroot'], length: 2 };
    },
    'more certificates than any token needs': (a) => {
      const names = readdirSync(a.folder).flatMap((file) => /^(.*)\.pem$/.exec(file)?.[1] ?? []);
      const others = names.filter((name) => !['direct', 'others'].includes(name) && !/^[0-9A-F]+$/.test(name));
      expect(others.length).toBeGreaterThan(40);
      return { signer: 'direct', others: others.slice(0, 40), refused: 'holds more than 32 certificates' };
    },
  };

  /** A constraint of the intermediate, what the signer has beside its subject, and what is said where it is refused. */
  function constraintCases(
    table: Record<string, readonly [string, readonly string[], string | undefined]>,
  ): Record<string, (a: Authorities) => PathCase> {
    const sections = ['[dir]\nO=Test', '[other_dir]\nO= tEST ', '[elsewhere]\nO=Elsewhere'];
    return Object.fromEntries(
      Object.entries(table).map(([title, [constraint, names, refused]], i) => [
        `a constraint that ${title}`,
        (a: Authorities): PathCase => {
          const extensions = [...CA, `nameConstraints=critical,${constraint}`, 'authorityKeyIdentifier=keyid'];
          a.certificate(`nc${i}`, { by: 'root', subject: `/C=DE/CN=nc${i}`, extensions: [...extensions, ...sections] });
          a.certificate(`n${i}`, {
            by: `nc${i}`,
            subject: `/O=Test/CN=n${i}/emailAddress=x@mail.org`,
            extensions: [...SIGNER, ...names, 'authorityKeyIdentifier=keyid', ...sections],
          });
          const chain = { signer: `n${i}`, others: [`nc${i}`] };
          return refused === undefined
            ? { ...chain, length: 3 }
            : { ...chain, refused: `n${i}, O=Test has a name that the certificate of CN=nc${i}, C=DE does not allow` };
        },
      ]),
    );
  }

  function purposeCases(table: Record<string, readonly string[]>): Record<string, (a: Authorities) => PathCase> {
    return Object.fromEntries(
      Object.entries(table).map(([title, extensions], i) => [
        title,
        (a: Authorities): PathCase => {
          a.certificate(`purpose${i}`, { by: 'root', extensions });
          return {
            signer: `purpose${i}`,
            refused: `the certificate that signed it is not one for time stamps (CN=purpose${i}, O=Test)`,
          };
        },
      ]),
    );
  }

  function caCases(table: Record<string, readonly string[]>): Record<string, (a: Authorities) => PathCase> {
    return Object.fromEntries(
      Object.entries(table).map(([title, extensions], i) => [
        title,
        (a: Authorities): PathCase => {
          a.certificate(`ca${i}`, { by: 'root', extensions });
          a.certificate(`below${i}`, { by: `ca${i}` });
          return { signer: `below${i}`, others: [`ca${i}`], refused: `CN=ca${i}, O=Test may not issue certificates` };
        },
      ]),
    );
  }

  it.each(Object.entries(cases))('%s', async (_, make) => {
    const { signer, others = [], trusted = ['root'], time, args = [], refused, length } = make(authorities);
    const info = Buffer.from(tstInfo);
    if (time) info.write(time, info.indexOf(Buffer.from([0x18, 0x0f])) + 2);
    const reply = authorities.sign(info, signer, others, args);
    const verified = verifyReply(reply, { fileName: 'x.tsr', imprint, ca: authorities.pem(...trusted) });
    if (refused === undefined) expect((await verified).chain).toHaveLength(length!);
    else {
      await expect(verified).rejects.toThrow(IntegrityError);
      await expect(verified).rejects.toThrow(refused);
    }
  });
});
