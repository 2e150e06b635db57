"""A disk that can lose power: what a program did to a folder, and what may be left of it.

:class:`Recording` notes every write, truncate, fsync, create, rename, unlink and mkdir below a
folder, by replacing ``os`` and ``io`` functions, so that nothing can slip past.
:meth:`Recording.crashes` yields the folders that a kill or lost power after any of these calls may
leave behind:

* a kill keeps all that was done; a write under way may be torn;
* lost power keeps what was fsynced. Of file contents written since, nothing, all, all but the
  first write, or all but a torn last one may be there, and where the length was written before the
  contents, zeros. Of names changed since their folder was fsynced, any first few may be there, or
  the last alone. New folders stay.
"""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Folder = dict[str, bytes]
"""Contents by path below the folder."""


@dataclass(frozen=True)
class Step:
    """One call: ``kind`` and what it concerns. ``file`` numbers files over all renames."""

    kind: str
    file: int = 0
    path: str = ""
    target: str = ""
    at: int = 0
    data: bytes = b""


class Recording:
    """Records what is done below ``base`` while it is in force; ``mark`` notes what is promised."""

    def __init__(self, base: Path, patch: Any) -> None:
        self.base = base
        self.steps: list[Step] = []
        self.marks: list[tuple[int, bool, Any]] = []
        self._files: dict[str, int] = {}
        self._descriptors: dict[int, str] = {}
        self._count = 0
        base.mkdir(parents=True, exist_ok=True)
        self.start = {self._name(p): p.read_bytes() for p in base.rglob("*") if p.is_file()}
        for name in self.start:
            self._files[name] = self._number()
        self._initial = dict(self._files)
        self._install(patch)

    def mark(self, promise: Any, *, power: bool = False) -> None:
        """Note what has to survive a kill from here on, with ``power`` lost power as well."""
        self.marks.append((len(self.steps), power, promise))

    def promised(self, after: int, lost: bool) -> Any:
        """Return the last promise that stands after so many steps, None if there is none."""
        found = (p for at, power, p in reversed(self.marks) if at <= after and (power or not lost))
        return next(found, None)

    def _install(self, patch: Any) -> None:
        patch.setattr(io, "open", self._opener(io.open))
        patch.setattr(os, "open", self._os_open(os.open))
        patch.setattr(os, "close", self._os_close(os.close))
        patch.setattr(os, "fsync", self._fsync)
        patch.setattr(os, "replace", self._renamer(os.replace))
        patch.setattr(os, "rename", self._renamer(os.rename))
        patch.setattr(os, "unlink", self._unlinker(os.unlink))

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _name(self, path: Any) -> str:
        try:
            return str(Path(path).relative_to(self.base))
        except (TypeError, ValueError):
            return ""

    def _created(self, name: str) -> None:
        if name not in self._files:
            self._files[name] = self._number()
            self.steps.append(Step("create", self._files[name], name))

    def _opener(self, honest: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", buffering: int = -1, *a: Any, **k: Any) -> Any:
            inside = self._descriptors.get(file) if isinstance(file, int) else self._name(file)
            if not inside or not set(mode) & set("wax+"):
                return honest(file, mode, buffering, *a, **k)
            assert "b" in mode, "text files are not simulated"
            if "r" in mode and inside not in self._files:
                return honest(file, mode, buffering, *a, **k)  # which says that it is not there
            raw = _File(self, inside, file, mode.replace("b", ""))
            if buffering == 0:
                return raw
            return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

        return opened

    def _os_open(self, honest: Callable[..., int]) -> Callable[..., int]:
        def opened(path: Any, flags: int, *a: Any, **k: Any) -> int:
            descriptor = honest(path, flags, *a, **k)
            name = self._name(path)
            if name:
                self._descriptors[descriptor] = name
                if flags & os.O_CREAT:
                    self._created(name)
            return descriptor

        return opened

    def _os_close(self, honest: Callable[[int], None]) -> Callable[[int], None]:
        def close(descriptor: int) -> None:
            self._descriptors.pop(descriptor, None)
            honest(descriptor)

        return close

    def _fsync(self, descriptor: int) -> None:
        name = self._descriptors[descriptor]
        if (self.base / name).is_dir():
            self.steps.append(Step("sync names", path=name))
        else:
            self.steps.append(Step("sync", self._files[name], name))

    def _renamer(self, honest: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def rename(source: Any, target: Any) -> None:
            honest(source, target)
            old, new = self._name(source), self._name(target)
            if old:
                self.steps.append(Step("rename", self._files[old], old, new))
                self._files[new] = self._files.pop(old)

        return rename

    def _unlinker(self, honest: Callable[..., None]) -> Callable[..., None]:
        def unlink(path: Any, *a: Any, **k: Any) -> None:
            honest(path, *a, **k)
            name = self._name(path)
            if name:
                self.steps.append(Step("unlink", self._files.pop(name), name))

        return unlink

    # -- for :class:`_File` ---------------------------------------------------------------------

    def opened(self, descriptor: int, name: str, mode: str) -> int:
        """Note an open file; return its number."""
        self._descriptors[descriptor] = name
        self._created(name)
        if "w" in mode:
            self.steps.append(Step("truncate", self._files[name], name))
        return self._files[name]

    def closed(self, descriptor: int) -> None:
        """Note that a file is closed."""
        self._descriptors.pop(descriptor, None)

    # -- what may be left -----------------------------------------------------------------------

    def crashes(self) -> Iterator[tuple[int, bool, Folder]]:
        """Yield (steps done, whether power was lost, what is left), each folder once per step."""
        for done in range(len(self.steps) + 1):
            seen: set[tuple[bool, frozenset[tuple[str, bytes]]]] = set()
            for lost, left in self._after(done):
                key = (lost, frozenset(left.items()))
                if key not in seen:
                    seen.add(key)
                    yield done, lost, left

    def _after(self, done: int) -> Iterator[tuple[bool, Folder]]:
        disk = _Disk(self.start, self._initial)
        for step in self.steps[:done]:
            disk.apply(step)
        yield False, disk.left(disk.names, lambda f: f.now())
        if done < len(self.steps) and self.steps[done].kind == "write":
            step = self.steps[done]
            for cut in _cuts(len(step.data)):
                torn = _Disk(self.start, self._initial)
                for earlier in self.steps[:done]:
                    torn.apply(earlier)
                torn.apply(Step("write", step.file, step.path, at=step.at, data=step.data[:cut]))
                yield False, torn.left(torn.names, lambda f: f.now())
        for names in disk.name_variants():
            for contents in _CONTENTS:
                yield True, disk.left(names, contents)


class _File(io.FileIO):
    def __init__(self, recording: Recording, name: str, file: Any, mode: str) -> None:
        super().__init__(file if isinstance(file, int) else os.fspath(file), mode)
        self._recording = recording
        self._descriptor = self.fileno()
        self._number = recording.opened(self._descriptor, name, mode)
        self._path = name
        self._appends = "a" in mode

    def write(self, data: Any) -> int:
        at = self.seek(0, os.SEEK_END) if self._appends else self.tell()
        written = super().write(data)
        content = bytes(memoryview(data).cast("B")[:written])
        self._recording.steps.append(Step("write", self._number, self._path, at=at, data=content))
        return written

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        if size != os.fstat(self._descriptor).st_size:
            self._recording.steps.append(Step("truncate", self._number, self._path, at=size))
        return super().truncate(size)

    def close(self) -> None:
        if not self.closed:
            self._recording.closed(self._descriptor)
        super().close()


@dataclass
class _Content:
    durable: bytes = b""
    pending: list[Step] = field(default_factory=list)

    def now(self) -> bytes:
        return _written(self.durable, self.pending)


def _written(content: bytes, steps: list[Step]) -> bytes:
    for step in steps:
        if step.kind == "truncate":
            content = content[: step.at].ljust(step.at, b"\0")
        else:
            content = content.ljust(step.at, b"\0")
            content = content[: step.at] + step.data + content[step.at + len(step.data) :]
    return content


def _torn(file: _Content) -> bytes:
    if not file.pending or file.pending[-1].kind != "write":
        return _written(file.durable, file.pending[:-1])
    last = file.pending[-1]
    half = Step("write", last.file, last.path, at=last.at, data=last.data[: len(last.data) // 2])
    return _written(file.durable, [*file.pending[:-1], half])


def _zeros(file: _Content) -> bytes:
    blank = [Step(s.kind, s.file, s.path, at=s.at, data=bytes(len(s.data))) for s in file.pending]
    return _written(file.durable, blank)


def _late(file: _Content) -> bytes:
    """The first write since the last fsync is not there, what came after it is."""
    return _written(file.durable, file.pending[1:])


_CONTENTS: tuple[Callable[[_Content], bytes], ...] = (
    lambda f: f.durable, _Content.now, _torn, _zeros, _late,
)  # fmt: skip


class _Disk:
    """Contents and names, on the disk and in memory."""

    def __init__(self, start: Folder, files: dict[str, int]) -> None:
        self.contents = {files[name]: _Content(data) for name, data in start.items()}
        self.names = dict(files)
        self.durable = dict(files)
        self.pending: list[Step] = []

    def apply(self, step: Step) -> None:
        if step.kind in ("write", "truncate"):
            self.contents[step.file].pending.append(step)
        elif step.kind == "sync":
            file = self.contents[step.file]
            file.durable, file.pending = file.now(), []
            # Fsyncing a new file brings its name along, but no rename: as ext4, XFS and APFS do.
            self._settle(lambda s: s.kind == "create" and s.file == step.file)
        elif step.kind == "sync names":
            self._settle(lambda s: str(Path(s.path).parent) == step.path)
        else:
            if step.kind == "create":
                self.contents[step.file] = _Content()
            self.pending.append(step)
            _rename(self.names, step)

    def _settle(self, which: Callable[[Step], bool]) -> None:
        for step in [s for s in self.pending if which(s)]:
            _rename(self.durable, step)
            self.pending.remove(step)

    def name_variants(self) -> Iterator[dict[str, int]]:
        chosen = [self.pending[:n] for n in range(len(self.pending) + 1)] + [self.pending[-1:]]
        for steps in chosen:
            names = dict(self.durable)
            for step in steps:
                _rename(names, step)
            yield names

    def left(self, names: dict[str, int], contents: Callable[[_Content], bytes]) -> Folder:
        return {name: contents(self.contents[number]) for name, number in names.items()}


def _rename(names: dict[str, int], step: Step) -> None:
    if step.kind == "create":
        names[step.path] = step.file
    elif step.kind == "unlink":
        names.pop(step.path, None)
    else:
        names.pop(step.path, None)
        names[step.target] = step.file


def _cuts(length: int) -> Iterator[int]:
    """Where a write is torn: in it, and around the records of a header store."""
    places = {1, length // 3, length // 2, 75, 76, 77, length - 77, length - 76, length - 1}
    yield from sorted(at for at in places if 0 < at < length)


def lay_out(folder: Path, left: Folder) -> Path:
    """Write what is left into a new folder."""
    folder.mkdir(parents=True)
    for name, data in left.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
