//! Does the work on one node: borg backups and restores.
