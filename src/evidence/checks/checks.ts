/** The list of all checks of `verifyEvidence`. */

import { type Checker, ofResult } from '../material.ts';
import { checkAgreement, checkHeldOutMarks, checkOverlap, checkReferences, checkSuspectNetwork } from './doubts.ts';
import {
  checkBeaconStamp,
  checkClassWeights,
  checkCommitment,
  checkGuarantees,
  checkMarkingNetwork,
  checkPatterns,
} from './key.ts';
import { checkMarked } from './marks.ts';
import { checkNetworks } from './networks.ts';
import { checkProbes } from './probes.ts';
import { checkComplete, checkEntry, checkRegister, checkTimes } from './register.ts';
import { checkDeviations, checkHeldOut, checkItself, checkResult, checkStatistics, checkTestImages } from './result.ts';
import { checkTimeStamps } from './stamps.ts';

export { readStamps } from './stamps.ts';

/** All checks, in the order of the table. A new one is an entry here, and a function in this folder. */
export const CHECKS: readonly Checker[] = [
  checkCommitment,
  checkMarkingNetwork,
  checkGuarantees,
  checkBeaconStamp,
  checkPatterns,
  checkClassWeights,
  checkTimeStamps,
  checkMarked,
  checkResult,
  ofResult(checkItself),
  ofResult(checkTestImages),
  ofResult(checkHeldOut),
  ofResult(checkOverlap),
  ofResult(checkHeldOutMarks),
  ofResult(checkProbes),
  ofResult(checkDeviations),
  ofResult(checkStatistics),
  ofResult(checkSuspectNetwork),
  ofResult(checkAgreement),
  ofResult(checkReferences),
  ofResult(checkNetworks),
  checkRegister,
  checkComplete,
  ofResult(checkTimes),
  ofResult(checkEntry),
];
