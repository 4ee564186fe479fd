#!/usr/bin/env node
import { version } from '../../version.ts';
import { calibrate } from './calibrate.ts';
import { carriers } from './carriers.ts';
import { check } from './check.ts';
import { commit } from './commit.ts';
import { complete } from './complete.ts';
import { demo } from './demo.ts';
import { detect } from './detect.ts';
import { doctor } from './doctor.ts';
import { experiment } from './experiment.ts';
import { extract } from './extract.ts';
import { frequencies } from './frequencies.ts';
import { keygen } from './keygen.ts';
import { mark } from './mark.ts';
import { power } from './power.ts';
import { preview } from './preview.ts';
import { probes } from './probes.ts';
import { profile } from './profile.ts';
import { runProgram } from './program.ts';
import { protect } from './protect.ts';
import { report } from './report.ts';
import { survive } from './survive.ts';
import { train } from './train.ts';
import { verify } from './verify.ts';
import { weights } from './weights.ts';

await runProgram(
  {
    name: 'radioactive',
    summary: 'Marks images so that models trained on them can be detected',
    version,
    commands: [
      protect,
      check,
      doctor,
      frequencies,
      keygen,
      extract,
      preview,
      mark,
      survive,
      train,
      probes,
      detect,
      carriers,
      commit,
      complete,
      verify,
      report,
      calibrate,
      power,
      experiment,
      demo,
      weights,
      profile,
    ],
  },
  process.argv.slice(2),
);
