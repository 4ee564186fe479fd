/** Parquet files: values as they are stored, without what their logical types make of them, so that they are written as they were. */

import { gzipSync } from 'node:zlib';
import type { AsyncBuffer, Compressors, FileMetaData, SchemaElement, SchemaTree } from 'hyparquet';
import { InputError, RadioactiveError } from '../../errors.ts';
import { optionalModule } from '../optional.ts';

/** A row's values by column: of nested columns trees of groups, as the schema has them. */
export type RawRow = Readonly<Record<string, unknown>>;

/** Rows that are written in a group at most: Hugging Face's viewer and loaders read images by groups. */
const GROUP_ROWS = 100;
/** Codecs that are read without another module. */
const BUILT_IN: ReadonlySet<string> = new Set(['SNAPPY', 'UNCOMPRESSED']);

const hyparquet = () => optionalModule('hyparquet', () => import('hyparquet'));

/** Does what may fail on a damaged file. Throws InputError, in one line, where it does. */
async function readable<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RadioactiveError) throw error;
    const [reason] = (error as Error).message.split('\n');
    throw new InputError(`${path}: cannot be read as parquet (${reason}); restore or convert it`, { cause: error });
  }
}

/** An element without its logical type; `keep` names those that stay. */
function plain(element: SchemaElement, keep: readonly string[] = []): SchemaElement {
  const { converted_type, logical_type, scale, precision, ...rest } = element;
  return converted_type !== undefined && keep.includes(converted_type) ? { ...rest, converted_type } : rest;
}

/** The part that a position is in, of parts that begin at `starts`, whose last is the end. */
export function partOf(starts: readonly number[], position: number): number {
  let [low, high] = [0, starts.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= position) low = middle;
    else high = middle;
  }
  return low;
}

/** A parquet file that is open for reading. */
export class ParquetFile {
  readonly path: string;
  readonly metadata: FileMetaData;
  /** Its columns. */
  readonly columns: readonly SchemaTree[];
  /** Rows before each row group, and of all. */
  readonly starts: readonly number[];
  readonly #file: AsyncBuffer;
  readonly #compressors: Compressors | undefined;

  private constructor(
    path: string,
    file: AsyncBuffer,
    metadata: FileMetaData,
    columns: readonly SchemaTree[],
    compressors: Compressors | undefined,
  ) {
    this.path = path;
    this.#file = file;
    this.metadata = metadata;
    this.columns = columns;
    const starts = [0];
    for (const group of metadata.row_groups) starts.push(starts.at(-1)! + Number(group.num_rows));
    this.starts = starts;
    this.#compressors = compressors;
  }

  /** Reads its footer. Throws InputError where it is no parquet file; MissingModuleError without hyparquet. */
  static async open(path: string): Promise<ParquetFile> {
    const { asyncBufferFromFile, parquetMetadataAsync, parquetSchema } = await hyparquet();
    return readable(path, async () => {
      const file = await asyncBufferFromFile(path);
      const metadata = await parquetMetadataAsync(file, { geoparquet: false });
      const codecs = metadata.row_groups.flatMap(({ columns }) =>
        columns.map(({ meta_data }) => meta_data?.codec ?? ''),
      );
      const compressors = codecs.every((codec) => BUILT_IN.has(codec))
        ? undefined
        : (await optionalModule('hyparquet-compressors', () => import('hyparquet-compressors'))).compressors;
      return new ParquetFile(path, file, metadata, parquetSchema(metadata).children, compressors);
    });
  }

  get length(): number {
    return this.starts.at(-1)!;
  }

  /** The row group that a row is in. */
  groupOf(row: number): number {
    return partOf(this.starts, row);
  }

  /** What the file says of itself under a key. */
  note(key: string): string | undefined {
    return this.metadata.key_value_metadata?.find((entry) => entry.key === key)?.value;
  }

  /** Rows of a group, as they are stored: texts are bytes; of the named columns, by default all. */
  async rows(group: number, columns?: readonly string[]): Promise<RawRow[]> {
    const { parquetReadObjects } = await hyparquet();
    const metadata = { ...this.metadata, schema: this.metadata.schema.map((element) => plain(element)) };
    const rows = await readable(this.path, () =>
      parquetReadObjects({
        file: this.#file,
        metadata,
        ...(columns && { columns: [...columns] }),
        rowStart: this.starts[group],
        rowEnd: this.starts[group + 1],
        utf8: false,
        geoparquet: false,
        ...(this.#compressors && { compressors: this.#compressors }),
      }),
    );
    return rows;
  }
}

/** A value of a column in the form that it is written from; undefined: as it was read. */
type Conversion = ((value: unknown) => unknown) | undefined;

/**
 * From trees of groups to lists, maps and structures.
 *
 * @throws InputError, without a file's name, where a column is nested in a way that is not written
 */
function conversionOf({ element, children, path }: SchemaTree): Conversion {
  const refuse = (what: string): never => {
    throw new InputError(`column ${path.join('.')} ${what}; leave it out, or write the file anew with pyarrow`);
  };
  if (element.repetition_type === 'REPEATED') refuse('repeats outside a list or a map');
  if (children.length === 0) {
    if (element.type === 'INT96') refuse('has times of 96 bits, which are not written');
    return undefined;
  }
  const field = (value: unknown, name: string): unknown => (value as Record<string, unknown>)[name];
  const entries = children[0];
  const structure = (parts: readonly SchemaTree[]): Conversion => {
    const fields = parts.map((child) => [child.element.name, conversionOf(child)] as const);
    if (fields.every(([, convert]) => !convert)) return undefined;
    return (value) =>
      value === null || value === undefined
        ? value
        : Object.fromEntries(
            fields.map(([name, convert]) => [name, convert ? convert(field(value, name)) : field(value, name)]),
          );
  };
  const { converted_type: type } = element;
  if (type !== 'LIST' && type !== 'MAP') return structure(children);
  const isMap = type === 'MAP';
  const fits = isMap
    ? entries.children.map((child) => child.element.name).join() === 'key,value'
    : entries.children.length === 1;
  if (children.length !== 1 || entries.element.repetition_type !== 'REPEATED' || !fits)
    refuse(`is a ${type.toLowerCase()} of an old form`);
  const entriesName = entries.element.name;
  const listOf = (value: unknown): unknown[] => (field(value, entriesName) as unknown[] | null | undefined) ?? [];
  if (isMap) {
    const convert = structure(entries.children);
    return (value) =>
      value === null || value === undefined ? value : listOf(value).map((entry) => convert?.(entry) ?? entry);
  }
  const [item] = entries.children;
  const convert = conversionOf(item);
  const name = item.element.name;
  return (value) =>
    value === null || value === undefined
      ? value
      : listOf(value).map((entry) => (convert ? convert(field(entry, name)) : field(entry, name)));
}

/** Throws InputError where a file has columns that are not written as they were. */
export function requireWritable({ columns, path }: ParquetFile): void {
  try {
    for (const column of columns) conversionOf(column);
  } catch (error) {
    throw error instanceof InputError ? new InputError(`${path}: ${error.message}`, { cause: error }) : error;
  }
}

/**
 * A file with the schema and the notes of another, piece by piece, from its rows.
 *
 * @param large a column whose values differ, and are long
 */
export async function* parquetBytes(
  like: ParquetFile,
  rows: AsyncIterable<RawRow>,
  large: string,
): AsyncGenerator<Uint8Array> {
  const { ParquetWriter, ByteWriter } = await optionalModule('hyparquet-writer', () => import('hyparquet-writer'));
  const { metadata, columns } = like;
  const bytes = new ByteWriter();
  const writer = new ParquetWriter({
    writer: bytes,
    schema: metadata.schema.map((element) => plain(element, ['LIST', 'MAP'])),
    statistics: false,
    compressors: { GZIP: (input) => new Uint8Array(gzipSync(input)) },
    ...(metadata.key_value_metadata && { kvMetadata: metadata.key_value_metadata }),
  });
  const conversions = new Map(columns.map((column) => [column.element.name, conversionOf(column)]));
  const codecs = new Map(
    metadata.row_groups[0]?.columns.map(({ meta_data }) => [meta_data?.path_in_schema[0], meta_data?.codec]),
  );
  const written = function* (): Generator<Uint8Array> {
    if (bytes.index === 0) return;
    yield bytes.getBytes().slice();
    bytes.index = 0;
  };
  const write = (group: readonly RawRow[]): void => {
    const columnData = columns.map(({ element: { name } }) => {
      const convert = conversions.get(name);
      const codec = codecs.get(name);
      return {
        name,
        data: group.map((row) => (convert ? convert(row[name]) : row[name])),
        codec: codec === 'GZIP' || codec === 'UNCOMPRESSED' ? codec : ('SNAPPY' as const),
        // Whether an image is missing is seen from the number of those that are.
        ...(name === large && { encoding: 'PLAIN' as const, statistics: true }),
      };
    });
    void writer.write({ columnData, rowGroupSize: GROUP_ROWS });
  };
  let group: RawRow[] = [];
  for await (const row of rows) {
    group.push(row);
    if (group.length < GROUP_ROWS) continue;
    write(group);
    yield* written();
    group = [];
  }
  if (group.length > 0) write(group);
  // Logical types stand in the schema alone. Of integers the converted type says the same, and its other form is not written rightly.
  writer.schema = metadata.schema.map((element) => {
    const { logical_type, ...rest } = element;
    return logical_type?.type === 'INTEGER' ? rest : element;
  });
  void writer.finish();
  yield* written();
}
