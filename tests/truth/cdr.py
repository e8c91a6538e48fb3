"""A row of Asterisk's call detail records, read.

Artefact rows (ari/truth.md): no dstchannel and lastapp `AppDial…`; they repeat another row's party B.
"""

from dataclasses import dataclass
from decimal import Decimal


def microseconds(epoch: str) -> int:
    """CEL's and CDR's "1795337565.516338" as integer microseconds."""
    return int(Decimal(epoch) * 1_000_000)


@dataclass(frozen=True, slots=True)
class CdrRow:
    """A row of the CDR. Times are microseconds."""

    number: int
    """Its line in the file; the header is line 1."""
    uniqueid: str
    linkedid: str
    channel: str
    dst_channel: str | None
    src: str
    lastapp: str
    lastdata: str
    start: int
    answer: int | None
    end: int
    billsec: int
    disposition: str

    @property
    def is_artefact(self) -> bool:
        return self.dst_channel is None and self.lastapp.startswith("AppDial")

    @property
    def is_answered(self) -> bool:
        """An answered row in ari/truth.md's sense: it says ANSWERED, and somebody would be billed for it."""
        return self.disposition == "ANSWERED" and self.billsec > 0 and not self.is_artefact

    @property
    def is_dialled(self) -> bool:
        """Whether party A dialled party B in the application that the row names.

        CDR does not say so; lastdata does: Queue dials its members, Dial the endpoints it lists. After a transfer,
        pickup or retrieval the row still shows the Dial of before, whose lastdata does not list B's endpoint.
        """
        if self.dst_channel is None:
            return False
        if self.lastapp == "Queue":
            return True
        endpoint = self.dst_channel.rpartition("-")[0]
        technology, _, resource = endpoint.partition("/")
        dialled = self.lastdata.split(",", 1)[0].split("&")
        return self.lastapp == "Dial" and any(
            target.startswith(f"{technology}/")
            and (target.partition("/")[2].split("/")[0] == resource or resource in target)
            for target in dialled
        )

    def __str__(self) -> str:
        return f"CDR line {self.number}: {self.channel} > {self.dst_channel or '-'} ({self.lastapp})"


def cdr_row(number: int, row: dict[str, str]) -> CdrRow:
    """Read a row.

    Args:
        number: Its line in the file.
        row: Its cells, by the header's names.
    """
    return CdrRow(
        number=number,
        uniqueid=row["uniqueid"],
        linkedid=row["linkedid"],
        channel=row["channel"],
        dst_channel=row["dstchannel"] or None,
        src=row["src"],
        lastapp=row["lastapp"],
        lastdata=row["lastdata"],
        start=microseconds(row["start"]),
        answer=microseconds(row["answer"]) or None,
        end=microseconds(row["end"]),
        billsec=int(row["billsec"]),
        disposition=row["disposition"],
    )
