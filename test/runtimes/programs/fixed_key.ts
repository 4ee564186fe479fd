import { createKey, defaultMarkingRecipe, type Key } from 'radioactive';

/** A key that is the same at every run, with all that its carriers are derived from. */
export async function fixedKey(
  classCount: number,
  featureDimension: number,
  probes?: { readonly decoys: number; readonly perClass: number },
): Promise<Key> {
  const key = await createKey({
    classes: Array.from({ length: classCount }, (_, c) => `class ${c}`),
    model: { sha256: 'ab'.repeat(32), architecture: 'resnet18', featureDimension },
    basis: null,
    centre: true,
    blackBox: probes ? { combine: 'sum', ...probes, recipe: defaultMarkingRecipe(64), references: null } : undefined,
  });
  return { ...key, secret: '01'.repeat(32), nonce: '02'.repeat(32), created: '2020-01-01T00:00:00.000Z' };
}
