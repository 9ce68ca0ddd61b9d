"""Games kept in a temporary file until they are printed, so that none need stay in memory."""

import json
from collections.abc import Iterator, Mapping
from tempfile import TemporaryFile, gettempdir
from types import TracebackType
from typing import Any, Self


class Spool:
    """A context in which games' records are put down one by one and read back in their order."""

    def __init__(self) -> None:
        self._file = TemporaryFile("w+", encoding="utf-8", errors="surrogatepass")  # noqa: SIM115  as long as this

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.__exit__(kind, error, trace)

    def put(self, record: Mapping[str, Any]) -> None:
        """Keeps a record (JSON). Raises OSError that names the folder of temporary files where its disk is
        full."""
        try:
            self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False, sort_keys=True) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(
                f"no more games can be kept in {gettempdir()} until they are printed ({error.strerror}): free some space there, set "
                "TMPDIR to another folder, or keep the games with --out FILE"
            ) from error

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        yield from map(json.loads, self._file)
