#!/usr/bin/env node
import { version } from '../../package.json';
import { doctor } from './doctor.ts';
import { runProgram } from './program.ts';

await runProgram(
  {
    name: 'radioactive',
    summary: 'Marks images so that models trained on them can be detected',
    version,
    commands: [doctor],
  },
  process.argv.slice(2),
);
