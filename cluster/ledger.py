"""What a run has done: its fingerprint, its finished chunks and shards, its plans and its quarantine.

A run lives in `_run/` of its output directory. `manifest.json` is written before any row and holds the resolved
configuration, the inputs and the versions; the same command continues the run, another one is refused. Every
pass over the data has a folder with one file per finished chunk, and one record per finished shard. These folders
lie under the run's identity, a random name, so that what a killed run's last workers still write can never be taken
for the work of a run that was started over. They go when the run is complete, and nothing that stays depends on
time, host or order: what a run leaves behind is the same however often it was killed.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import xxhash

from cluster.errors import GristmillError
from cluster.rows import Rejected
from cluster.shards import Shard, encode
from cluster.storage import Storage

MANIFEST = "_run/manifest.json"
SUMMARY = "_run/summary.json"
IDENTITY = "_run/identity"
PASSES = "_run/passes"
DAMAGED = "_run/damaged"
NOTES = ("write/attempts/", "limiter/", "tasks/")  # what lies beside a run's work and is lost without a loss
CHUNK_MAGIC = b"GMC1"
CHUNK_FRONT = 4096  # holds the head of nearly every staged chunk, and of small ones all
DIFFERENCES_SHOWN = 20
READS_AT_ONCE = 16  # of small objects; on object storage their latency is what takes the time


class RunRefused(GristmillError):
    """The output directory holds something that this command must not touch; the message says what and the way on."""


class RunReplaced(GristmillError):
    """The output was removed, started over or finished by somebody else while this run was at work."""


class CorruptChunk(GristmillError):
    """A staged chunk that is not what was written (torn by a power failure); a worker that meets it redoes it."""


@dataclass(slots=True)
class Tally:
    """An account of rows: `rows_in` = `rows_out` + `filtered` + `quarantined`; bytes are uncompressed lines."""

    rows_in: int = 0
    rows_out: int = 0
    filtered: int = 0
    quarantined: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    counters: dict[str, float] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        self.filtered += other.filtered
        self.quarantined += other.quarantined
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        for name, amount in other.counters.items():
            self.counters[name] = self.counters.get(name, 0) + amount

    @property
    def balanced(self) -> bool:
        return self.rows_in == self.rows_out + self.filtered + self.quarantined


@dataclass(frozen=True, slots=True)
class Chunks:
    """A shard's name and the number of its staged chunks: what a reduction needs to read them all."""

    shard: str
    count: int


@dataclass(frozen=True, slots=True)
class StagedChunk:
    """One finished chunk as it lies in staging: its account, its quarantined rows, and its encoded output."""

    tally: Tally
    rejected: bytes
    payload: bytes

    def to_bytes(self) -> bytes:
        head = json.dumps(
            {"tally": asdict(self.tally), "rejected": len(self.rejected), "payload": len(self.payload)}
        ).encode()
        body = b"".join((len(head).to_bytes(4, "little"), head, self.rejected, self.payload))
        return CHUNK_MAGIC + xxhash.xxh3_64_digest(body) + body

    @classmethod
    def from_bytes(cls, data: bytes, place: str = "a staged chunk") -> StagedChunk:
        """Raises CorruptChunk, naming the place, for anything but what `to_bytes` made."""
        body = memoryview(data)[12:]
        if data[:4] != CHUNK_MAGIC or xxhash.xxh3_64_digest(body) != data[4:12]:
            raise CorruptChunk(f"{place} is not what was written there; run the same command again to redo it")
        start = 4 + int.from_bytes(body[:4], "little")
        head = json.loads(bytes(body[4:start]))
        middle = start + head["rejected"]
        return cls(Tally(**head["tally"]), bytes(body[start:middle]), bytes(body[middle:]))


def quarantine_lines(shard: str, rejected: Iterable[Rejected]) -> bytes:
    """The quarantine's rows as JSON lines in the shard's codec; bytes that are not UTF-8 are kept as base64."""
    import base64

    lines = []
    for row in rejected:
        entry: dict[str, Any] = {"shard": shard, "line": row.line, "reason": row.reason, **(row.evidence or {})}
        try:
            entry["raw"] = row.raw.decode("utf-8")
        except UnicodeDecodeError:
            entry["raw_base64"] = base64.b64encode(row.raw).decode("ascii")
        # Half of a surrogate pair, which no UTF-8 holds, is written as the JSON escape that it came as.
        lines.append(json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
    return encode(b"".join(lines), shard)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a run over its shards; `run` is the run's identity. Picklable, for the tasks that do the work."""

    output: Storage
    name: str
    run: str

    @property
    def folder(self) -> str:
        """Where everything lies that this pass keeps until the run is complete."""
        return f"{PASSES}/{self.run}/{self.name}"

    def chunk_name(self, shard: str, index: int) -> str:
        return f"{self.folder}/chunks/{shard}/{index:08d}"

    def staged(self, shard: str) -> set[int]:
        """The indices of the chunks of a shard that are staged; a torn one shows when it is read."""
        folder = f"{self.folder}/chunks/{shard}/"
        found = set()
        for entry in self.output.list(folder):
            index = entry.name.removeprefix(folder)
            if index.isdigit():
                found.add(int(index))
        return found

    def stage(self, shard: str, index: int, chunk: StagedChunk, durable: bool = False) -> None:
        self.output.publish(self.chunk_name(shard, index), chunk.to_bytes(), durable=durable)

    def read(self, shard: str, index: int) -> StagedChunk:
        name = self.chunk_name(shard, index)
        return StagedChunk.from_bytes(self.output.read(name), f"{self.output.url}/{name}")

    def read_tally(self, shard: str, index: int) -> Tally | None:
        """The account of a staged chunk, or None where it is torn (and the file deleted) or gone meanwhile."""
        try:
            return self.read(shard, index).tally
        except CorruptChunk:
            self.output.delete(self.chunk_name(shard, index))
            return None
        except FileNotFoundError:
            return None  # a worker of an earlier, killed driver has committed the shard just now

    def payloads(self, chunks: Iterable[Chunks]) -> Iterator[tuple[str, bytes]]:
        """The encoded outputs of all chunks with their shards' names, in order, one in memory at a time."""
        for part in chunks:
            for index in range(part.count):
                yield part.shard, self.read(part.shard, index).payload

    def read_account(self, shard: str, index: int) -> tuple[Tally, bytes]:
        """The account of a staged chunk and its quarantined rows, without its output."""
        front, head, start = self._front(shard, index)
        end = start + int(head["rejected"])
        if end > len(front):
            front = self.output.read_range(self.chunk_name(shard, index), 0, end)
        return Tally(**head["tally"]), front[start:end]

    def read_range(self, shard: str, index: int, start: int, length: int) -> bytes:
        """A range of the encoded output of one chunk."""
        front, head, rejected = self._front(shard, index)
        first = rejected + int(head["rejected"]) + start
        if first + length <= len(front):
            return front[first : first + length]
        return self.output.read_range(self.chunk_name(shard, index), first, length)

    def _front(self, shard: str, index: int) -> tuple[bytes, dict[str, Any], int]:
        """The first bytes of a staged chunk, its head, and where the rejected rows begin."""
        name = self.chunk_name(shard, index)
        front = self.output.read_range(name, 0, CHUNK_FRONT)
        end = 16 + int.from_bytes(front[12:16], "little")
        if len(front) < end:
            front = self.output.read_range(name, 0, end)
        return front, json.loads(front[16:end]), end

    def record_name(self, shard: str) -> str:
        return f"{self.folder}/shards/{shard}.json"

    def finish_shard(self, shard: str, chunks: int, tally: Tally) -> None:
        record = {"chunks": chunks, "tally": asdict(tally)}
        self.output.publish(self.record_name(shard), json.dumps(record).encode())

    def finished_shards(self) -> dict[str, tuple[int, Tally]]:
        """Every finished shard's number of chunks and account."""
        folder = f"{self.folder}/shards/"
        entries = self.output.list(folder)
        names = [entry.name.removeprefix(folder).removesuffix(".json") for entry in entries]
        with ThreadPoolExecutor(READS_AT_ONCE) as readers:
            records = readers.map(self.record, names)
            return {name: record for name, record in zip(names, records, strict=True) if record is not None}

    def published_shards(self) -> dict[str, tuple[int, Tally]]:
        """The finished shards whose output is there; the others are taken for unfinished, and so recorded."""
        finished = self.finished_shards()
        if finished:
            missing = finished.keys() - {entry.name for entry in self.output.list()}
            for shard in missing:
                self.output.delete(self.record_name(shard))
                del finished[shard]
        return finished

    def record(self, shard: str) -> tuple[int, Tally] | None:
        """A finished shard's number of chunks and account, None for one that is not finished."""
        try:
            record = json.loads(self.output.read(self.record_name(shard)))
        except FileNotFoundError:
            return None
        return record["chunks"], Tally(**record["tally"])

    def drop_chunks(self, shard: str) -> None:
        self.output.delete_tree(f"{self.folder}/chunks/{shard}")

    def check_current(self) -> None:
        """Raise RunReplaced unless the run that this pass belongs to is the one in the output directory."""
        if _identity(self.output) != self.run:
            raise RunReplaced(
                f"{self.output.url} was removed, started over, or finished by another process while this run was at "
                "work: see what is there, and run the same command again"
            )

    def save_plan(self, plan: bytes) -> None:
        """What a reduction over this pass decided; once it stands, the pass need not be looked at again."""
        self.output.publish(f"{self.folder}/plan", plan)

    def load_plan(self) -> bytes | None:
        try:
            return self.output.read(f"{self.folder}/plan")
        except FileNotFoundError:
            return None


def _identity(output: Storage) -> str | None:
    try:
        return output.read(IDENTITY).decode()
    except FileNotFoundError:
        return None


def unfinished_verb(output: Storage) -> str | None:
    """The verb of the run in a directory that is not complete; None where it is, or where there is none."""
    if not output.exists(MANIFEST) or output.exists(SUMMARY):
        return None
    return str(json.loads(output.read(MANIFEST)).get("verb"))


@dataclass(slots=True)
class Run:
    """A run bound to its output directory. `config` is the resolved configuration of the command."""

    output: Storage
    verb: str
    config: dict[str, Any]
    shards: list[Shard]
    versions: dict[str, str]
    text_form: dict[str, Any] | None = None  # the normal form of the output's texts, for those who read it
    identity: str = field(default="", init=False)  # known once the run is open

    @property
    def manifest(self) -> dict[str, Any]:
        inputs = {shard.name: {"url": shard.url, "size": shard.size, "version": shard.version} for shard in self.shards}
        return {
            "verb": self.verb,
            "config": self.config,
            "versions": self.versions,
            "text_form": self.text_form,
            "inputs": inputs,
        }

    def open(self, fresh: bool = False) -> dict[str, Any] | None:
        """Start or continue the run. Returns the summary where it is already complete.

        Raises RunRefused where the directory holds another run or files that no run of ours wrote.
        """
        self._refuse_overlap()
        self.output.check_writable()
        if fresh:
            self._clear()
        wanted = json.dumps(self.manifest, indent=1, sort_keys=True).encode()
        if not self.output.exists(MANIFEST):
            self._refuse_foreign_files()
            self.output.delete(SUMMARY)  # of a run whose manifest somebody removed
            self.output.publish_once(MANIFEST, wanted)
        self._continue(json.loads(self.output.read(MANIFEST)), wanted)
        if self.output.exists(SUMMARY):
            self._clean_up()  # a kill may have come between the summary and this
            return dict(json.loads(self.output.read(SUMMARY)))
        self.output.publish_once(IDENTITY, uuid.uuid4().hex[:12].encode())
        self.identity = _identity(self.output) or ""
        return None

    def step(self, name: str) -> Pass:
        return Pass(self.output, name, self.identity)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary, after which the run is complete, and remove what was only staged."""
        self.step("").check_current()
        self.output.publish(SUMMARY, json.dumps(summary, indent=1).encode())
        self._clean_up()

    def withdraw(self) -> None:
        """Take back a run that ended before it did anything, at a wrong option most likely, so that it binds nobody."""
        notes = (f"{self.step('').folder}{name}" for name in NOTES)
        allowed = (MANIFEST, IDENTITY, *notes)
        if not any(not entry.name.startswith(allowed) for entry in self.output.list()):
            self._clear()

    def _clean_up(self) -> None:
        for folder in (PASSES, DAMAGED):
            self.output.delete_tree(folder)
        self.output.delete(IDENTITY)
        self.output.sweep()

    def _continue(self, found: dict[str, Any], wanted: bytes) -> None:
        new = json.loads(wanted)
        if found == new:
            return
        repaired = self._repaired(found, new)
        if repaired is None:
            changes = "\n".join(f"  {line}" for line in differences(found, new))
            raise RunRefused(
                f"{self.output.url} holds a run with another configuration or other inputs:\n{changes}\n"
                "Use another --output-dir, or --fresh to delete that output and start over."
            )
        # In this order: whenever this is interrupted, it is either done again or not needed any more.
        self._drop_chunks(repaired)
        self.output.publish(MANIFEST, wanted)
        for shard in repaired:
            self.output.delete(f"{DAMAGED}/{shard}.json")

    def _drop_chunks(self, shards: list[str]) -> None:
        passes = {"/".join(entry.name.split("/")[:4]) for entry in self.output.list(PASSES)} if shards else set()
        for shard in shards:
            for folder in passes:
                self.output.delete_tree(f"{folder}/chunks/{shard}")

    def _repaired(self, found: dict[str, Any], new: dict[str, Any]) -> list[str] | None:
        """The shards that were damaged when the run met them and have changed since, if nothing else changed.

        Deciding to keep what is whole of damaged shards (`skip_damaged`) is no other change: none of them is finished.
        """
        lenient = {"skip_damaged": True} if new["config"].get("skip_damaged") else {}
        old = found | {"config": found["config"] | lenient}
        if {**old, "inputs": None} != {**new, "inputs": None} or old["inputs"].keys() != new["inputs"].keys():
            return None
        changed = [name for name in new["inputs"] if old["inputs"][name] != new["inputs"][name]]
        damaged = {shard.name for shard in self.damaged()}
        return changed if damaged.issuperset(changed) else None

    def mark_damaged(self, shard: str, message: str) -> None:
        self.output.publish(f"{DAMAGED}/{shard}.json", json.dumps({"message": message}).encode())

    def damage(self, shard: str) -> str | None:
        """What was wrong with a shard when the run met it."""
        try:
            return str(json.loads(self.output.read(f"{DAMAGED}/{shard}.json"))["message"])
        except FileNotFoundError:
            return None

    def damaged(self) -> list[Shard]:
        entries = self.output.list(DAMAGED)
        marked = {entry.name.removeprefix(f"{DAMAGED}/").removesuffix(".json") for entry in entries}
        return [shard for shard in self.shards if shard.name in marked]

    def _refuse_foreign_files(self) -> None:
        foreign = next((entry.name for entry in self.output.list() if not entry.name.startswith("_run/")), None)
        if foreign is not None:
            raise RunRefused(
                f"{self.output.url} is not empty (it holds {foreign}) and holds no run of gristmill: "
                "use another --output-dir, or empty this one yourself"
            )

    def _refuse_overlap(self) -> None:
        output = _place(self.output)
        for source in {_place(shard.source) for shard in self.shards}:
            if output.startswith(source):
                raise RunRefused(f"the output {output} lies inside the input {source}: use another --output-dir")
            if source.startswith(output):
                raise RunRefused(f"the input {source} lies inside the output {output}: use another --output-dir")

    def _clear(self) -> None:
        if not self.output.exists(MANIFEST):
            self._refuse_foreign_files()
            return
        # The manifest goes last: while it stands, a clearing that is interrupted is not taken for foreign files.
        for folder in ("", "_run/"):
            for name in dict.fromkeys(_child(entry.name, folder) for entry in self.output.list(folder)):
                if name.endswith("/") and name != "_run/":
                    self.output.delete_tree(name)
                elif name not in ("_run/", MANIFEST):
                    self.output.delete(name)
        self.output.delete(MANIFEST)
        self.output.sweep()


def _child(name: str, folder: str) -> str:
    """The direct child of a folder that a name under it belongs to, with a slash if that is a folder."""
    rest, slash, _ = name.removeprefix(folder).partition("/")
    return folder + rest + slash


def _place(storage: Storage) -> str:
    """Where a storage is, with a slash at the end and links resolved, so that places can be compared."""
    return os.path.join(os.path.realpath(storage.url) if storage.is_local else storage.url, "")


def differences(old: Any, new: Any) -> list[str]:
    """Where two manifests differ, one line each: the place, what it was, what it is now. At most DIFFERENCES_SHOWN."""
    lines = list(_differences(old, new, ""))
    left = len(lines) - DIFFERENCES_SHOWN
    return lines if left <= 0 else [*lines[:DIFFERENCES_SHOWN], f"… and {left:,} more"]


def _differences(old: Any, new: Any, place: str) -> Iterator[str]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield f"{place}: was {_short(old)}, now {_short(new)}"
        return
    for key in sorted(old.keys() | new.keys()):
        where = f"{place}.{key}" if place else str(key)
        if key not in old:
            yield f"{where}: new, {_short(new[key])}"
        elif key not in new:
            yield f"{where}: gone, was {_short(old[key])}"
        else:
            yield from _differences(old[key], new[key], where)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}…"


def merged(tallies: Iterable[Tally]) -> Tally:
    """The sum of several accounts."""
    total = Tally()
    for tally in tallies:
        total.add(replace(tally))
    return total
