"""The journal: everything that can cause a message, in the order in which we had it, on disk.

::

    loop thread ──append──▶ deque ──writer thread──▶ 00000041-….journal   whole, closed
                            (bounded)                00000042-….journal   being written
                                                          │
                            on_committed(uuid, n)         ╰──▶ JournalReader, in another process: rows after (uuid, n)

One directory per PBX, one writer (`JournalWriter`, in the Connection's process), any number of readers. It is a chain
of segments (wire/store/segment.py), because deleting rows from a large file is slow and frees nothing, while a whole
segment that nobody needs is unlinked at once.

What is promised:

- **n** counts from 1 without gaps, across segments and restarts, and never repeats within a **uuid**. A journal whose
  end cannot be trusted (its last segment damaged; the host lost power; rows gone that a reader had seen) is left as it
  is, and a new one with a new uuid is begun beside it, n from 1, whose first row is a `lost` row that says why: but not
  after a power cut under `full`, where nothing should be lost. A reader finishes the old one first.
- **Committed is kept** whatever happens to the process; and to the host, as `journal.synchronous` says. What
  `on_committed` has told survives SIGKILL.
- **Damage is told.** Each row has a checksum of all of it: SQLite notices no other byte in a value, nor whole pages in
  each other's place. A reader that meets damaged or missing rows gives one `lost` row in their place, with the position
  of the last of them, and goes on behind them. A file whose head or schema is damaged is told as a whole.
- **A disk that refuses** stops nothing: rows wait in a bounded reserve; beyond it they are counted, and a `lost` row
  tells them as soon as the disk works.
"""

from wire.store.journal_reader import Batch, JournalRange, JournalReader, export_line
from wire.store.journal_writer import JournalHealth, JournalWriter

__all__ = ["Batch", "JournalHealth", "JournalRange", "JournalReader", "JournalWriter", "export_line"]
