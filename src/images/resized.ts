/** The size of an image whose shorter side is resized (`torchvision.transforms.Resize`); its own where that is no larger. */
export function resizedTo(
  { width, height }: { readonly width: number; readonly height: number },
  side: number,
): { readonly width: number; readonly height: number } {
  const [shorter, longer] = width < height ? [width, height] : [height, width];
  if (shorter <= side) return { width, height };
  const long = Math.max(1, Math.floor((side * longer) / shorter));
  return width < height ? { width: side, height: long } : { width: long, height: side };
}
