// Exits 0 when Dawn finds an adapter it accepts. Used by setup.sh before anything is built.
import { createRequire } from 'node:module';

try {
  const { create } = createRequire(import.meta.url)('webgpu');
  process.exit((await create([]).requestAdapter()) ? 0 : 1);
} catch {
  process.exit(1);
}
