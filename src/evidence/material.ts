/** What there is to check of the evidence, and what a check is made of. */

import type { Dataset } from '../datasets/dataset.ts';
import type { StoredArrays } from '../detection/arrays.ts';
import type { ClassMapping } from '../detection/class_mapping.ts';
import type { IntegrityError } from '../errors.ts';
import type { Key } from '../marking/key.ts';
import type { ProbeManifest } from '../marking/probe_manifest.ts';
import type { VanillaImages } from '../marking/vanilla.ts';
import type { Model } from '../nn/model.ts';
import type { parseModelFile } from '../nn/model_file.ts';
import type { Check } from './check.ts';
import type { MarkedFolder } from './commitment.ts';
import type { Register } from './register.ts';
import type { Result, StoredResult } from './result.ts';
import type { TimeStamp } from './timestamp.ts';

/** A file as it was read, with where it is for messages. */
export interface NamedBytes {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What there is to check. In Node `runVerification` reads it from files. */
export interface Evidence {
  /** The revealed key. */
  readonly key: Key;
  /** What was published, 64 hex digits. */
  readonly published?: string | undefined;
  /** The marking network's file: where it is, its SHA-256, what is in it, and the network where a device is at hand. */
  readonly model?:
    | {
        readonly path: string;
        readonly sha256: string;
        readonly file?: Pick<Awaited<ReturnType<typeof parseModelFile>>, 'config' | 'tensors'> | undefined;
        readonly network?: Model | undefined;
      }
    | undefined;
  /** The images that the key's subspace was found on. */
  readonly vanilla?: VanillaImages | undefined;
  /** The model under test: its file, and the network where a device is at hand; `classes` are its outputs as the key's. */
  readonly suspect?:
    | {
        readonly path: string;
        readonly sha256: string;
        readonly network?: Model | undefined;
        readonly classes?: ClassMapping | undefined;
        /** What its file says of itself where the result took it for something else. */
        readonly contradicted?: Readonly<Record<string, unknown>> | undefined;
      }
    | undefined;
  /** Reference models of a black-box test, likewise. */
  readonly references?:
    | readonly { readonly path: string; readonly sha256: string; readonly network?: Model | undefined }[]
    | undefined;
  readonly result?: StoredResult | undefined;
  /** What lies beside the result: the files that it names in `saved`. */
  readonly arrays?: StoredArrays | undefined;
  /** The list of tests with the key. */
  readonly register?: { readonly path: string; readonly text: string } | undefined;
  /** The marked data set: its manifest, and its images. */
  readonly marked?: { readonly folder: MarkedFolder; readonly dataset: Dataset } | undefined;
  /** The same before it was marked, in the same order. */
  readonly original?: Dataset | undefined;
  /** The probes of a black-box test: what they say of themselves, the SHA-256 of that file, and their images. */
  readonly probes?:
    | { readonly manifest: ProbeManifest; readonly sha256: string; readonly dataset: Dataset }
    | undefined;
  /** The held-out images. */
  readonly heldOut?: Dataset | undefined;
  /** Replies of a time-stamping authority, and the authorities that are trusted, in PEM. */
  readonly replies?: readonly NamedBytes[] | undefined;
  readonly ca?: string | undefined;
}

/** What `verifyEvidence` checks. */
export interface VerifyOptions extends Evidence {
  /** At most so many images of each kind are looked at; absent: all that the claim rests on. */
  readonly sample?: number | undefined;
  /** Draws samples; absent: drawn anew, so that nobody knows beforehand which images are looked at. */
  readonly seed?: number | undefined;
  /** Follows what takes long. */
  readonly onProgress?: ((what: string, done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A reply of a time-stamping authority, read. */
export interface Stamp {
  /** The reply's file. */
  readonly path: string;
  /** What it stamps; undefined for a hash of nothing that was given. */
  readonly of: string | undefined;
  /** The hash that it stamps, or what is wrong with the reply. */
  readonly imprint: string | IntegrityError;
  /** What the authority attests, or what is wrong with that. Its root is null without certificates to trust. */
  readonly stamp: TimeStamp | IntegrityError | undefined;
  /** Whether it lies in the key, as its randomness. */
  readonly inKey: boolean;
}

/** What all checks are made of: the evidence, and what they all need of it. */
export interface Material extends VerifyOptions {
  readonly seed: number;
  readonly keyCommitment: string;
  /** The owner's list of tests, or what is wrong with it. */
  readonly list: Register | IntegrityError | undefined;
  readonly stamps: readonly Stamp[];
}

/** One subject's checks. What cannot be checked is a row too; what does not apply is none. */
export type Checker = (material: Material) => readonly Check[] | Promise<readonly Check[]>;

/** Checks that only a result has. */
export const ofResult =
  (check: (material: Material, value: Result) => readonly Check[] | Promise<readonly Check[]>): Checker =>
  (material) =>
    material.result ? check(material, material.result.value) : [];

/** Of what nothing given later can check. */
export const NOTHING = 'nothing afterwards';
export const ON_A_GPU = 'on a machine with a GPU';
