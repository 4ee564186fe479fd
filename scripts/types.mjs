// Writes the package's declarations, dist/types/, for users of any `moduleResolution`: sources import `./x.ts`, what ships imports `./x.js`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));
const { config } = ts.readConfigFile(join(root, 'tsconfig.types.json'), ts.sys.readFile);
const { fileNames, options, errors } = ts.parseJsonConfigFileContent(config, ts.sys, root);
const program = ts.createProgram(fileNames, options);

/** The text with `.js` for `.ts` in every relative import, `import('./x.ts')` in types among them. */
function withJsExtensions(text) {
  const { importedFiles } = ts.preProcessFile(text, true, true);
  let done = 0;
  let result = '';
  for (const { fileName, end } of importedFiles) {
    if (!/^\.\.?\/.*\.ts$/.test(fileName)) continue;
    // `end` is behind the file name, before its quote.
    const extension = text.lastIndexOf('.ts', end + 1);
    result += `${text.slice(done, extension)}.js`;
    done = extension + '.ts'.length;
  }
  return result + text.slice(done);
}

const { diagnostics } = program.emit(undefined, (path, text) => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, withJsExtensions(text));
});
const problems = [...errors, ...ts.getPreEmitDiagnostics(program), ...diagnostics];
if (problems.length > 0) {
  const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => root, getNewLine: () => '\n' };
  process.stderr.write(ts.formatDiagnostics(problems, host));
  process.exitCode = 1;
}
