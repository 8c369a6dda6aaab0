"""Delta tables on disk: committer, snapshots, manifests, ledger and the analysts' warehouse."""
