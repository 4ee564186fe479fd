import {
  appendLook,
  commitment,
  concludeTest,
  makeReport,
  newRegister,
  parseStoredResult,
  type Report,
  reportPage,
} from 'radioactive';
import { whiteBox } from './detection.ts';
import { fixedKey } from './fixed_key.ts';
import { golden } from './golden.ts';
import type { Runtime } from './program.ts';

export interface Reported extends Pick<Report, 'headline' | 'evidence' | 'verdict' | 'raw' | 'corrected' | 'limits'> {
  readonly page: string;
}

/** A test with a key, its entry in the key's register, and the report of both. */
export default async function program({ load }: Runtime): Promise<Reported> {
  const file = await golden(load, 'detection');
  const [n, d] = file.shape('features_marking');
  const [K] = file.shape('weight');
  const key = await fixedKey(K, d);
  let register = newRegister('owner.key.register.jsonl', await commitment(key), true);
  const result = await concludeTest(
    await whiteBox(file),
    {
      key,
      test: 'white-box',
      suspect: { path: 'suspect.safetensors', sha256: 'cd'.repeat(32) },
      data: { path: 'held-out', count: n, sha256: 'ef'.repeat(32) },
      adapter: 'none',
      runtime: 'any',
      command: ['detect'],
    },
    (look) => {
      register = appendLook(register, look);
      return register;
    },
  );
  const report = makeReport({ result: parseStoredResult(JSON.stringify(result), 'result.json'), files: [], register });
  const { headline, evidence, verdict, raw, corrected, limits } = report;
  return { headline, evidence, verdict, raw, corrected, limits, page: reportPage(report) };
}
