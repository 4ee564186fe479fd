import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { describe, expect, it } from 'vitest';
import { tarball } from './packed.ts';

describe('the tarball', () => {
  it('holds the built code with its declarations and maps, the weights, what was measured, and nothing else', () => {
    const files = execFileSync('tar', ['-tzf', tarball()], { encoding: 'utf8' }).trim().split('\n');
    const unexpected = files.filter(
      (file) =>
        !/^package\/(package\.json|README\.md|LICENSE)$/.test(file) &&
        !/^package\/dist\/([\w.]+\/)*[\w.]+\.js(\.map)?$/.test(file) &&
        !/^package\/dist\/types\/.*\.d\.ts$/.test(file) &&
        !/^package\/weights\/[\w.]+$/.test(file) &&
        !/^package\/experiments\/[\w-]+\/results\.json$/.test(file),
    );
    expect(unexpected).toEqual([]);
    expect(files).toContain('package/LICENSE');
    expect(files).toContain('package/weights/marker.safetensors');
    // Built apart, or not at all.
    expect(files.filter((file) => /bench|photographs|\.test\.|\/tests?\/|cases/.test(file))).toEqual([]);
  });

  it('passes publint', async () => {
    const bytes = readFileSync(tarball());
    const { messages, pkg } = await publint({ pack: { tarball: new Uint8Array(bytes).buffer }, strict: true });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });

  it('passes are-the-types-wrong, for users of ES modules', () => {
    const attw = 'node_modules/@arethetypeswrong/cli/dist/index.js';
    // It exits with 1, and so throws, where it finds something.
    const json = execFileSync(process.execPath, [attw, tarball(), '--profile', 'esm-only', '--format', 'json'], {
      encoding: 'utf8',
    });
    const { analysis } = JSON.parse(json);
    expect(Object.keys(analysis.entrypoints)).toContain('./engine');
    for (const [name, { resolutions }] of Object.entries<{ resolutions: Record<string, { isWildcard?: boolean }> }>(
      analysis.entrypoints,
    ))
      for (const how of ['node16-esm', 'bundler'])
        if (!resolutions[how].isWildcard) expect(resolutions[how], `${name}, ${how}`).toHaveProperty('resolution');
  });
});
