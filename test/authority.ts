import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const opensslMissing = spawnSync('openssl', ['version']).status !== 0;

/** `openssl req -newkey` with these: kinds of keys. */
const KEYS = {
  ec: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  ec384: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  ec521: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-521'],
  koblitz: ['ec', '-pkeyopt', 'ec_paramgen_curve:secp256k1'],
  rsa: ['rsa:2048'],
  pss: ['rsa-pss', '-pkeyopt', 'rsa_keygen_bits:2048'],
  ed25519: ['ed25519'],
};

export interface CertificateOptions {
  /** Name of the certificate that signs it; by default it signs itself. */
  readonly by?: string;
  /** In OpenSSL's notation; default `/O=Test/CN=NAME`. */
  readonly subject?: string;
  /** Lines of OpenSSL's extension file; by default those of a CA, or with `by` those of a signer of time stamps. */
  readonly extensions?: readonly string[];
  readonly key?: keyof typeof KEYS;
  readonly digest?: string;
  readonly from?: string;
  readonly to?: string;
  readonly sigopts?: readonly string[];
}

export const CA = ['basicConstraints=critical,CA:true', 'keyUsage=critical,keyCertSign,cRLSign'];
export const SIGNER = ['basicConstraints=CA:false', 'extendedKeyUsage=critical,timeStamping'];

/** A folder in which OpenSSL issues certificates and stamps times. */
export class Authorities {
  readonly folder = mkdtempSync(join(tmpdir(), 'radioactive-tsa-'));

  constructor() {
    const policy = ['O', 'OU', 'C', 'commonName', 'emailAddress'].map((name) => `${name}=optional`);
    this.write(
      'ca.cnf',
      [
        '[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=unused',
        '[ca]\ndefault_ca=c\n[c]\nnew_certs_dir=.\ndatabase=index.txt\nserial=serial',
        `default_md=sha256\npolicy=p\nunique_subject=no\n[p]\n${policy.join('\n')}`,
        '[tsa]\nserial=tsa-serial\ndefault_policy=1.2.3.4\ndigests=sha256\nsigner_digest=sha256\naccuracy=secs:1\ness_cert_id_alg=sha256',
      ].join('\n'),
    );
    this.write('index.txt', '');
    for (const name of ['serial', 'tsa-serial']) this.write(name, '01\n');
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  write(name: string, content: string | Uint8Array): void {
    writeFileSync(this.at(name), content);
  }

  read(name: string): Buffer {
    return readFileSync(this.at(name));
  }

  run(...args: string[]): string {
    return execFileSync('openssl', args, { cwd: this.folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** Makes NAME.key and NAME.pem. */
  certificate(name: string, options: CertificateOptions = {}): void {
    const { by, subject = `/O=Test/CN=${name}`, key = 'ec' } = options;
    const { extensions = by === undefined ? CA : SIGNER } = options;
    this.write(`${name}.ext`, `subjectKeyIdentifier=hash\n${extensions.join('\n')}\n`);
    this.run(
      ...['req', '-new', '-newkey', ...KEYS[key], '-nodes', '-keyout', `${name}.key`, '-subj', subject],
      ...['-out', `${name}.csr`, '-config', 'ca.cnf', '-utf8'],
    );
    this.issue(name, name, options);
  }

  /** Makes OUT.pem, another certificate for the key and subject of a name, with the same extensions. */
  issue(name: string, out: string, options: CertificateOptions): void {
    const { by, digest = 'sha256', sigopts = [], from = '20200101000000Z', to = '20990101000000Z' } = options;
    this.run(
      ...['ca', '-batch', '-config', 'ca.cnf', '-notext', '-preserveDN', '-in', `${name}.csr`, '-out', `${out}.pem`],
      ...['-extfile', `${name}.ext`, '-startdate', from, '-enddate', to, '-md', digest],
      ...(by === undefined
        ? ['-selfsign', '-keyfile', `${name}.key`]
        : ['-cert', `${by}.pem`, '-keyfile', `${by}.key`]),
      ...sigopts.flatMap((option) => ['-sigopt', option]),
    );
  }

  /** Certificates one after another, in PEM. */
  pem(...names: readonly string[]): string {
    return names.map((name) => this.read(`${name}.pem`).toString()).join('');
  }

  /** The reply of `openssl ts` to the request in a file. */
  stamp(name: string, request: string, ...args: string[]): Uint8Array {
    const out = `${name}-${request}.tsr`;
    this.run(
      ...['ts', '-reply', '-config', 'ca.cnf', '-section', 'tsa', '-queryfile', request, '-signer', `${name}.pem`],
      ...['-inkey', `${name}.key`, '-out', out, ...args],
    );
    return this.read(out);
  }

  /** The TSTInfo in a reply. */
  timeStampOf(reply: Uint8Array): Buffer {
    this.write('good.tsr', reply);
    this.run('ts', '-reply', '-in', 'good.tsr', '-token_out', '-out', 'good.cms');
    this.run('cms', '-verify', '-noverify', '-inform', 'DER', '-in', 'good.cms', '-out', 'tst.der');
    return this.read('tst.der');
  }

  /**
   * A reply whose token anyone signs over a TSTInfo, whatever the certificate is for: `openssl ts` refuses some.
   *
   * @param others certificates that the token holds beside the signer's, in this order.
   */
  sign(tstInfo: Uint8Array, name: string, others: readonly string[] = [], args: readonly string[] = []): Uint8Array {
    this.write('tst.der', tstInfo);
    this.write('others.pem', this.pem(...others));
    this.run(
      ...['cms', '-sign', '-binary', '-nodetach', '-outform', 'DER', '-econtent_type', '1.2.840.113549.1.9.16.1.4'],
      ...['-in', 'tst.der', '-signer', `${name}.pem`, '-inkey', `${name}.key`, '-cades', '-out', 'signed.cms'],
      ...(others.length > 0 ? ['-certfile', 'others.pem'] : []),
      ...args,
    );
    const body = Buffer.concat([Buffer.from('3003020100', 'hex'), this.read('signed.cms')]);
    return Buffer.concat([Buffer.from([0x30, 0x82, body.length >> 8, body.length & 255]), body]);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}
