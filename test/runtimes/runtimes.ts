import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { chromium, type Page } from 'playwright-core';
import type { RuntimesPage } from './hosts/page.ts';
import { bundlePage } from './install.ts';
import type { ProgramName } from './programs/index.ts';

const modules = fileURLToPath(new URL('node_modules/', import.meta.url));

/** Set-up puts them there (`scripts/setup.sh --runtimes`). */
export const DENO = join(
  modules,
  '@deno',
  `${process.platform}-${process.arch}${process.platform === 'linux' ? '-glibc' : ''}`,
  'deno',
);
export const NODE_24 = join(modules, `node-${process.platform}-${process.arch}`, 'bin/node');
export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** Why tests that need an executable are left out. Where all are wanted (`CI=true`) none are: they fail. */
export function missing(executable: string): string {
  if (existsSync(executable) || process.env.CI) return '';
  return `: not run, ${executable} is not there; sh scripts/setup.sh --runtimes`;
}

/** A runtime that was started with the programs at hand. */
export interface Started {
  /** Runs a program to its result, as `wire.ts` encodes it. Rejects with what went wrong there. */
  run(program: ProgramName): Promise<string>;
  stop(): Promise<void>;
}

export interface RuntimeUnderTest {
  readonly name: string;
  /** What has to be on this machine. */
  readonly executable: string;
  /** Runs kernels by the very compiler and driver that this process would: then results are the same bits. */
  readonly sameAdapter: boolean;
  /** Image files are decoded by the portable codec, not by sharp. */
  readonly portable: boolean;
  /** @param folder of `installPrograms`, @param inputs the folder that `load` reads from */
  start(folder: string, inputs: string): Promise<Started>;
}

export const node: RuntimeUnderTest = inProcesses(
  `Node ${process.versions.node.split('.')[0]}`,
  [process.execPath],
  'dawn',
);

/** One line, and the tests of a runtime are there. */
export const others: readonly RuntimeUnderTest[] = [
  inProcesses('Node 24', [NODE_24], 'dawn'),
  inProcesses('Deno', [DENO, 'run', '--allow-all', '--no-remote'], 'native'),
  inProcesses('Deno with the module webgpu', [DENO, 'run', '--allow-all', '--no-remote'], 'dawn'),
  inChromium('a Chromium page', 'page'),
  inChromium('a Chromium worker', 'worker'),
];

/** A process for each program. */
function inProcesses(name: string, command: readonly [string, ...string[]], gpu: 'native' | 'dawn'): RuntimeUnderTest {
  const [executable, ...args] = command;
  return {
    name,
    executable,
    sameAdapter: gpu === 'dawn',
    portable: gpu === 'native',
    start: async (folder, inputs) => ({
      async run(program) {
        const child: ChildProcess = spawn(
          executable,
          [...args, join(folder, 'hosts/process.js'), program, inputs, gpu],
          {
            cwd: folder,
            stdio: ['ignore', 'pipe', 'pipe'],
          },
        );
        const [stdout, stderr, [code]] = await Promise.all([
          text(child.stdout!),
          text(child.stderr!),
          once(child, 'close'),
        ]);
        if (code !== 0) throw new Error(`${name}, ${program}: exit code ${code}\n${stderr}`);
        return stdout;
      },
      stop: async () => {},
    }),
  };
}

/** The last flag keeps the browser from asking anybody for anything. */
const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu-sandbox',
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-quic',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];

/** Opens Chromium's page of an address, headless. */
export async function openPage(url: string): Promise<{ page: Page; close(): Promise<void> }> {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_FLAGS });
  const page = await browser.newPage();
  await page.goto(url);
  return { page, close: () => browser.close() };
}

/** One page for all programs; for each a worker, where workers are meant. */
function inChromium(name: string, where: keyof RuntimesPage): RuntimeUnderTest {
  return {
    name,
    executable: CHROMIUM,
    sameAdapter: false,
    portable: true,
    async start(folder, inputs) {
      const server = await serve({ '/inputs/': inputs, '/': await bundlePage(folder) });
      const { page, close } = await openPage(`${server.origin}/page.html`);
      return {
        run: (program) =>
          page.evaluate(
            ([where, program]) => (globalThis as unknown as { runtimes: RuntimesPage }).runtimes[where](program),
            [where, program] as const,
          ),
        async stop() {
          await close();
          await server.close();
        },
      };
    },
  };
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
};

/** As strict as a careful site's: nothing from elsewhere, no `eval`. */
const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data: blob:";

/** Serves folders by prefixes of the path, the first that fits, on a free port of this machine. */
export async function serve(
  folders: Readonly<Record<string, string>>,
): Promise<{ origin: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url!, 'http://127.0.0.1').pathname);
    const [prefix, folder] = Object.entries(folders).find(([prefix]) => path.startsWith(prefix))!;
    const file = join(folder, path.slice(prefix.length));
    if (!existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    const type = TYPES[extname(file)] ?? 'application/octet-stream';
    response.writeHead(200, { 'content-type': type, 'content-security-policy': POLICY });
    createReadStream(file).pipe(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
