"""The bytes of an array on request: blocks, chunks, read-ahead."""
