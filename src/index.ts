export * from './errors.ts';
export { Device } from './gpu/device.ts';
