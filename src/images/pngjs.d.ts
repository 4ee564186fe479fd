/** pngjs, of which `imports` in package.json chooses the build. */
declare module '#pngjs' {
  import pngjs from 'pngjs';
  export default pngjs;
}
