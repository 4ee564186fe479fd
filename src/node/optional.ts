import { optionalDependencies } from '../../package.json';
import { MissingModuleError } from '../errors.ts';

/**
 * Imports a module that many do without, native or for one format of data sets, when it is first needed.
 *
 * @param load imports it, as `() => import('sharp')`: written out, so that bundlers see it.
 * @throws MissingModuleError where it is missing or made for another machine: one line with what to install.
 */
export async function optionalModule<T>(name: keyof typeof optionalDependencies, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    const [reason] = (error instanceof Error ? error.message : String(error)).split('\n');
    throw new MissingModuleError(
      `the module ${name} cannot be loaded (${reason}); install it: npm install ${name}@${optionalDependencies[name]}`,
      { cause: error },
    );
  }
}
