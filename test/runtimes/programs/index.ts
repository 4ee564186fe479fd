import type { Program } from './program.ts';

/** The programs by name. */
export const programs = {
  'self-test': async () => (await import('./self_test.ts')).default,
  'golden network': async () => (await import('./golden_network.ts')).default,
  training: async () => (await import('./training.ts')).default,
  marking: async () => (await import('./marking.ts')).default,
  refused: async () => (await import('./refused.ts')).default,
  'image files': async () => (await import('./image_files.ts')).default,
  detection: async () => (await import('./detection.ts')).default,
  report: async () => (await import('./report.ts')).default,
} satisfies Record<string, () => Promise<Program>>;

export type ProgramName = keyof typeof programs;
