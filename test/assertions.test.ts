import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';

/** Places of `!` behind expressions that cannot be null or undefined anyway. */
function idleAssertions(program: ts.Program, root: string): { file: string; line: number; end: number }[] {
  const checker = program.getTypeChecker();
  const found: { file: string; line: number; end: number }[] = [];
  for (const source of program.getSourceFiles()) {
    if (!source.fileName.startsWith(root) || source.fileName.includes('/node_modules/')) continue;
    const visit = (node: ts.Node): void => {
      if (ts.isNonNullExpression(node)) {
        const type = checker.getTypeAtLocation(node.expression);
        if (type === checker.getNonNullableType(type) && !(type.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)))
          found.push({
            file: source.fileName.slice(root.length),
            line: source.getLineAndCharacterOfPosition(node.getEnd()).line + 1,
            end: node.getEnd(),
          });
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return found;
}

it('no `!` stands where it changes nothing', () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile);
  const { fileNames, options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const program = ts.createProgram(fileNames, options);
  expect(idleAssertions(program, root).map(({ file, line }) => `${file}:${line}`)).toEqual([]);
});
