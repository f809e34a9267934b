"""Reads the file that W&B writes offline: LevelDB's log framing around protobuf records."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER, FRAME = 32768, 7, 7


def records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file, in order."""
    from wandb.proto import wandb_internal_pb2

    data, position, payload = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while position + FRAME <= len(data):
        left = BLOCK - position % BLOCK
        if left < FRAME:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += FRAME
        payload += data[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(payload)
            payload = b""
            yield record


def config(path: Path) -> dict[str, Any]:
    """The settings of the run."""
    found = {}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        update = {"run": record.run.config, "config": record.config}.get(kind)
        for item in update.update if update else ():
            found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return found


def history(path: Path) -> list[dict[str, Any]]:
    """The rows that were logged; nested keys joined by a dot."""
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in row.item}
        for row in (r.history for r in records(path) if r.WhichOneof("record_type") == "history")
    ]


def artifacts(path: Path) -> dict[str, dict[str, Path]]:
    """Type of each artifact to its files: name to where it lies until it is sent."""
    found: dict[str, dict[str, Path]] = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "artifact":
            contents = record.artifact.manifest.contents
            found[record.artifact.type] = {c.path: Path(c.local_path) for c in contents}
    return found
