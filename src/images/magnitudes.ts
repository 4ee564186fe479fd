/** How many magnitudes there are of each operation of RandAugment and TrivialAugment (torchvision's `num_magnitude_bins`). */
export const MAGNITUDE_BINS = 31;
