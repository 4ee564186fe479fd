import { describe, expect, it } from 'vitest';
import { InputError } from '../src/errors.ts';
import { derive } from '../src/random.ts';
import { mutant } from './fuzzing/mutate.ts';
import { PARSER_NAMES, PARSERS, type ParserName } from './fuzzing/parsers.ts';
import { fuzzRound, inputOf, tryInput } from './fuzzing/round.ts';

/** Decoding an image takes longer than reading its header. */
const inputsOf = (name: ParserName): number => (/^(png|jpeg|webp|model|config|beacon-round)$/.test(name) ? 60 : 400);

describe('damaged files', () => {
  it.each(PARSER_NAMES)('%s: every input ends in a value or in one line', async (name) => {
    const inputs = inputsOf(name);
    const round = await fuzzRound(name, { seed: 1, enough: (done) => done >= inputs, timed: false });
    expect(round.failed).toBeUndefined();
    expect(round.inputs).toBe(inputs);
  });

  it('are the same for the same seed, and others for another', () => {
    const seeds = PARSERS.safetensors.seeds();
    expect(inputOf(seeds, 'safetensors', 1, 7)).toEqual(inputOf(seeds, 'safetensors', 1, 7));
    const inputs = (seed: number) => Array.from({ length: 20 }, (_, i) => inputOf(seeds, 'safetensors', seed, i));
    expect(inputs(2)).not.toEqual(inputs(1));
  });

  it('have right checksums where they are repaired, so that decoders see more than these', () => {
    const { files } = PARSERS.png.seeds();
    const accepted = (repair?: 'png') =>
      Array.from({ length: 300 }, (_, i) => mutant({ files, repair }, derive(3, i))).filter((bytes) => {
        try {
          PARSERS['png-header'].parse(bytes);
          return true;
        } catch {
          return false;
        }
      }).length;
    expect(accepted('png')).toBeGreaterThan(2 * accepted());
  });

  it('are told from those that a parser must not let pass', async () => {
    const parse = (error: unknown) => ({
      seeds: () => ({ files: [] }),
      parse: () => {
        throw error;
      },
    });
    const tried = (error: unknown) => tryInput(parse(error), new Uint8Array(0));
    expect(await tried(new InputError('one line'))).toEqual({ accepted: false });
    // Line breaks in a message are written out, whoever throws it.
    expect(await tried(new InputError('two\nlines'))).toEqual({ accepted: false });
    expect((await tried(new RangeError('Invalid array length'))).fault).toContain('RangeError: Invalid array length');
  });
});
