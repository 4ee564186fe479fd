"""Writes the parquet files of this folder with pyarrow; images are grey PNG files of 2x2 pixels, of level 'row'."""
import datetime
import decimal
import json
import os
import struct
import zlib

import pyarrow as pa
import pyarrow.parquet as pq

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def png(level):
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    rows = b''.join(b'\0' + bytes([level, level]) for _ in range(2))
    header = struct.pack('>IIBBBBB', 2, 2, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


def images(n, missing=()):
    kind = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
    cells = [{'bytes': png(i), 'path': f'grüße {i}.jpg' if i % 3 else None} for i in range(n)]
    return pa.array([None if i in missing else cell for i, cell in enumerate(cells)], kind)


def noted(table, features):
    return table.replace_schema_metadata({'huggingface': json.dumps({'info': {'features': features}}), 'other': 'kept'})


n = 130
labels = {'names': ['cat', 'dog', 'elk'], '_type': 'ClassLabel'}
every = pa.table({
    'id': pa.array(range(n), pa.int32()),
    'image': images(n),
    'label': pa.array([i % 2 for i in range(n)], pa.int64()),
    'text': pa.array([None if i % 7 == 0 else f'grüße {i}' for i in range(n)]),
    'micros': pa.array([1700000000123456 + i for i in range(n)], pa.timestamp('us', tz='UTC')),
    'nanos': pa.array([1700000000123456789 + i for i in range(n)], pa.timestamp('ns')),
    'date': pa.array([datetime.date(2020, 1, 1)] * n),
    'decimal': pa.array([decimal.Decimal(f'{i}2345678901234567890.12') for i in range(n)], pa.decimal128(30, 2)),
    'byte': pa.array([i % 256 for i in range(n)], pa.uint8()),
    'large': pa.array([2**64 - 1 - i for i in range(n)], pa.uint64()),
    'float': pa.array([i / 7 for i in range(n)], pa.float32()),
    'half': pa.array([i / 7 for i in range(n)], pa.float32()).cast(pa.float16()),
    'bool': pa.array([i % 2 == 0 for i in range(n)]),
    'list': pa.array([None if i % 5 == 0 else [i] * (i % 4) for i in range(n)], pa.list_(pa.int32())),
    'objects': pa.array([[{'a': i, 'b': ['x', None]} for _ in range(i % 3)] for i in range(n)]),
    'map': pa.array([[('9', i), ('10', None)] if i % 2 else None for i in range(n)], pa.map_(pa.string(), pa.int32())),
    'fixed': pa.array([[1, 2, i] for i in range(n)], pa.list_(pa.int32(), 3)),
    'bytes': pa.array([bytes([255, 0, i]) for i in range(n)], pa.binary(3)),
})
features = {'image': {'_type': 'Image'}, 'label': labels, 'mask': {'_type': 'Image'}}
pq.write_table(noted(every, features), 'every.parquet', row_group_size=110)

few = pa.table({'img': images(5, [3]), 'label': ['owl', 'elk', 'owl', 'owl', 'elk']})
pq.write_table(few, 'train-00000-of-00002.parquet', compression='zstd')
pq.write_table(few.slice(1, 2), 'train-00001-of-00002.parquet', compression='gzip')
pq.write_table(few.slice(0, 1), 'test-00000-of-00001.parquet', compression='none')

item = pa.table({'image': images(1), 'label': [0], 'list': [[1, 2]]})
pq.write_table(item, 'item.parquet', use_compliant_nested_type=False)
times = pa.array([1], pa.timestamp('ns'))
pq.write_table(pa.table({'image': images(1), 'label': [0], 'when': times}), 'int96.parquet', use_deprecated_int96_timestamps=True)
