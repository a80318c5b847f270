//! Coordinator and worker shells: journal, checkpoints, restart, recovery.
