import { AdapterError } from '../../errors.ts';
import { selfTest } from '../../shaders/selftest.ts';
import { listAdapters, openGpu } from '../device.ts';
import { nodeCodec } from '../images/codec.ts';
import { columns, defineCommand } from './command.ts';

const FEATURES = ['shader-f16', 'subgroups', 'timestamp-query'] as const;

export const doctor = defineCommand({
  name: 'doctor',
  summary: 'Shows the adapters, tests the one that would be used, and says what to install if something is missing',
  options: {},
  examples: ['', '--device llvmpipe --json'],
  async run({ openDevice, log }) {
    const { name: images } = await nodeCodec();
    const runtime = { node: process.versions.node, platform: `${process.platform} ${process.arch}`, images };
    const runtimeText = `Node ${runtime.node} on ${runtime.platform}, images by ${images}`;
    // Where there is no adapter, the error says what to install, and this line on what.
    const device = await openDevice().catch((error: unknown) => {
      if (error instanceof AdapterError) log(runtimeText);
      throw error;
    });
    const adapters = (await listAdapters(await openGpu())).map(({ info, limits, features }) => ({
      name: info.description || info.device || info.vendor,
      vendor: info.vendor,
      architecture: info.architecture,
      driver: info.device,
      software: info.isFallbackAdapter ?? false,
      used: info.vendor === device.info.vendor && info.description === device.info.description,
      subgroupSize: { min: info.subgroupMinSize ?? 0, max: info.subgroupMaxSize ?? 0 },
      features: FEATURES.filter((feature) => features.has(feature)),
      maxBindingBytes: limits.maxStorageBufferBindingSize,
      maxBufferBytes: limits.maxBufferSize,
    }));
    const tests = await selfTest(device);
    const passed = tests.every((test) => test.passed);
    const advice = [
      ...(adapters.every((adapter) => adapter.software)
        ? ["only a software adapter: it works, slowly; for speed, install your GPU's Vulkan driver"]
        : []),
      ...(passed ? [] : ['the adapter computes wrongly: update its driver, or choose another one with --device']),
    ];

    const text = [
      runtimeText,
      ...adapters.flatMap((adapter) => [
        '',
        `${adapter.name}${adapter.software ? ' (software)' : ''}${adapter.used ? ': used' : ''}`,
        ...columns([
          ['driver', [adapter.vendor, adapter.architecture, adapter.driver].filter(Boolean).join(' ')],
          ['subgroups', range(adapter.subgroupSize)],
          ['features', adapter.features.join(', ') || 'none of those that help'],
          ['largest binding', mebibytes(adapter.maxBindingBytes)],
          ['largest buffer', mebibytes(adapter.maxBufferBytes)],
        ]),
      ]),
      '',
      `Self-test on ${device.name}, largest relative error against the CPU in float64:`,
      ...columns(
        tests.map(({ name, error, tolerance, passed }) => [
          name,
          `${error.toExponential(1)} ${passed ? 'passed' : `FAILED, allowed ${tolerance}`}`,
        ]),
      ),
      ...advice.map((line) => `\n${line}`),
    ].join('\n');
    // A device that computes wrongly is no usable adapter.
    return { json: { ...runtime, adapters, selfTest: tests, passed, advice }, text, exitCode: passed ? 0 : 4 };
  },
});

const range = ({ min, max }: { min: number; max: number }): string =>
  max === 0 ? 'none' : min === max ? `${min} lanes` : `${min} to ${max} lanes`;

const mebibytes = (bytes: number): string => `${Math.floor(bytes / 2 ** 20)} MiB`;
