"""The queue: LaunchPad and JobStore, the embedded database server, rockets, and the state of runs."""
