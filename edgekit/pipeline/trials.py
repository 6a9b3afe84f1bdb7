"""Attempts at one model with other settings: made, measured, remembered across interruptions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from edgekit import __version__
from edgekit.core.artifact import Artifact
from edgekit.core.cell import CellReport
from edgekit.core.gain import Trial
from edgekit.core.noun import Noun, changed, from_json, to_json
from edgekit.core.plan import Plan
from edgekit.core.recipe import Pass
from edgekit.core.request import ConvertRequest
from edgekit.errors import ConfigError, MalformedError, StepError, UnsupportedError
from edgekit.parity.gain import bits8_share
from edgekit.pipeline.making import Maker
from edgekit.planner import Wish, rivals

Passes = tuple[Pass, ...]
Prove = Callable[[Plan], tuple[CellReport, Artifact]]


class Entry(Noun):
    """One line of the journal."""

    key: str
    trial: Trial


class Proven(Noun):
    """A trial that was proven, with what it was made by."""

    trial: Trial
    plan: Plan
    report: CellReport


class Trials:
    """Makes and measures attempts until `deadline` (of `time.monotonic`), each at most once.

    With a `journal` file, figures of an interrupted run are taken from it instead of made again.
    """

    def __init__(
        self,
        maker: Maker,
        request: ConvertRequest,
        *,
        prove: Prove,
        via: str | None,
        seconds: float,
    ) -> None:
        self.maker = maker
        self.all: list[Trial] = []
        self._request = request
        self._prove = prove
        self._via = via
        self._deadline = time.monotonic() + seconds
        self._journal = _journal_of(request)
        self._known = _read(self._journal) if self._journal else {}
        self._rows: dict[str, int] = {}

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._deadline

    def plan(self, passes: Passes) -> Plan | None:
        """The first plan that can do `passes`, by the same backend where that can; None where none."""
        for via in dict.fromkeys((self._via, self._request.via)):
            wish = Wish(passes=passes, via=via, features=self.maker.features)
            try:
                found = rivals(
                    self.maker.source.format, self._request.to, self.maker.cell.catalog, wish
                )
            except (UnsupportedError, ConfigError):
                continue
            return found[0]
        return None

    def measure(self, passes: Passes, label: str, *, kept: tuple[str, ...] = ()) -> Trial | None:
        """SQNR and size of one attempt; None where nothing can do it, it fails, or time is up."""
        key = self._key(passes)
        if key in self._known:
            return self._row(key, self._known[key])
        plan = self.plan(passes)
        if plan is None or self.is_over:
            return None
        try:
            made = self.maker.make(plan.steps)
            found, _ = self.maker.closeness(made)
        except (UnsupportedError, ConfigError):
            return None
        except StepError as error:
            return self._write(key, Trial(changed=label, outcome="failed", reason=error.message))
        trial = Trial(
            changed=label,
            kept=kept,
            sqnr_db=found,
            size_bytes=made.size_bytes,
            bits8_share=bits8_share(made.layers),
        )
        return self._write(key, trial)

    def prove(self, passes: Passes, label: str, *, kept: tuple[str, ...] = ()) -> Proven | None:
        """The whole verdict on one attempt, as a row of its own; None as for `measure`."""
        measured = self.measure(passes, label, kept=kept)
        plan = self.plan(passes)
        if measured is None or plan is None or measured.outcome == "failed":
            return None
        try:
            report, made = self._prove(plan)
        except (UnsupportedError, StepError) as error:
            failed = changed(measured, outcome="failed", reason=error.message)
            self.all[measured.number - 1] = failed
            return None
        trial = changed(
            measured,
            metric=report.accuracy.metric if report.accuracy else "",
            accuracy=report.accuracy.artifact if report.accuracy else None,
            drop=report.accuracy.drop if report.accuracy else None,
            latency_p50_ms=report.latency.p50_ms if report.latency else None,
            bits8_share=bits8_share(made.layers),
            outcome=report.outcome.value,
            reason=report.reason.message if report.reason else "",
        )
        self.all[trial.number - 1] = trial
        return Proven(trial=trial, plan=plan, report=report)

    def forget(self) -> None:
        """Drop the journal: what it was kept for has been brought to its end."""
        if self._journal:
            self._journal.unlink(missing_ok=True)

    def _key(self, passes: Passes) -> str:
        calibration = self.maker.calibration
        parts = (
            __version__,
            self.maker.source.sha256,
            self._request.to.value,
            self._via or "",
            calibration.sha256 if calibration else "",
            to_json(passes),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _row(self, key: str, trial: Trial) -> Trial:
        """The trial's own row, made where it is asked for the first time."""
        if key not in self._rows:
            self._rows[key] = len(self.all)
            self.all.append(changed(trial, number=len(self.all) + 1))
        return self.all[self._rows[key]]

    def _write(self, key: str, trial: Trial) -> Trial:
        self._known[key] = trial
        if self._journal:
            with self._journal.open("a", encoding="utf-8") as file:
                file.write(to_json(Entry(key=key, trial=trial), indent=-1) + "\n")
        return self._row(key, trial)


def _journal_of(request: ConvertRequest) -> Path | None:
    if not (request.auto and request.output):
        return None
    return Path(f"{request.output}.auto.jsonl")


def _read(journal: Path) -> dict[str, Trial]:
    """The entries of a journal; a last line that was cut off in the middle is passed over."""
    if not journal.is_file():
        return {}
    known = {}
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = from_json(line, Entry, origin=str(journal))
        except MalformedError:
            continue
        known[entry.key] = entry.trial
    return known
