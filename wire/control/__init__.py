"""The control door: a Unix socket with HTTP and JSON, who answers there (server), who asks (client, arimon-ctl)."""
