// node server.js MODEL KEY [PORT]: marks images sent to POST /mark?class=NAME, and answers with PNG files.
import { createServer } from 'node:http';
import { InputError } from 'radioactive';
import { openMarking } from './marking.js';
import { Queue } from './queue.js';

const MAX_BYTES = 20e6;
const MAX_PIXELS = 8e6;
const QUEUE_LENGTH = Number(process.env.QUEUE_LENGTH ?? 16);

const [modelFile, keyFile, port = '8080'] = process.argv.slice(2);
const marking = await openMarking(modelFile, keyFile);
const queue = new Queue(QUEUE_LENGTH);
let stopping = false;

/** Ends a request with a status and one line. */
class Refusal extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @param {import('node:http').IncomingMessage} request */
async function bodyOf(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) throw new Refusal(413, `an image may have ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/**
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:http').ServerResponse} response
 */
async function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  if (pathname === '/health') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ adapter: marking.adapter, jobs: queue.length, capacity: queue.capacity, stopping }));
    return;
  }
  if (pathname !== '/mark') throw new Refusal(404, 'there are /mark and /health');
  if (request.method !== 'POST') throw new Refusal(405, 'POST an image');
  const className = searchParams.get('class') ?? '';
  if (!marking.classes.includes(className))
    throw new Refusal(400, `class must be one of: ${marking.classes.join(', ')}`);
  // Before the body is read: who sends more than is marked has to wait.
  if (stopping || queue.full) throw new Refusal(503, stopping ? 'stopping' : 'busy');
  // A client that goes away takes its job along.
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const { signal } = gone;
  const png = await queue.add(
    () => bodyOf(request),
    async (file) => {
      signal.throwIfAborted();
      return await marking.mark(file, className, { maxPixels: MAX_PIXELS, signal });
    },
  );
  response.setHeader('content-type', 'image/png');
  response.end(png);
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    if (response.destroyed) return;
    const status = error instanceof Refusal ? error.status : error instanceof InputError ? 422 : 500;
    if (status === 500) console.error(error);
    if (status === 503) response.setHeader('retry-after', '10');
    // What was not read of the body is not waited for.
    response.writeHead(status, { 'content-type': 'text/plain', connection: 'close' });
    response.end(`${status === 500 ? 'internal error' : error.message}\n`);
  });
});
// A client that is slow to send takes a place, for no longer than this.
server.requestTimeout = 60_000;
server.listen(Number(port), '127.0.0.1', () => {
  const address = server.address();
  console.log(`on ${marking.adapter}: http://127.0.0.1:${typeof address === 'object' ? address?.port : port}`);
});

// Stops when the jobs that are there are done.
process.once('SIGTERM', async () => {
  stopping = true;
  await queue.drain();
  await new Promise((closed) => server.close(closed));
  marking.close();
  console.log('stopped');
});
