"""What arimon keeps on disk: journal, ledger, outbox; SQLite, opened one way, by one writer each."""
