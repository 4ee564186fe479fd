/** Of this program, as results, verifications and reports name it. */
export { version } from '../package.json';
