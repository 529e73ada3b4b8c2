-- BACKUP_END, with writes between the backup's two ends.
\if :has_strategy
SELECT lsn IS NOT NULL FROM pg_backup_start('kinds', true) lsn;
INSERT INTO hint1 SELECT i, 'during a backup' FROM generate_series(1, 100) i;
SELECT lsn IS NOT NULL FROM pg_backup_stop(false);
\else
SELECT lsn IS NOT NULL FROM pg_start_backup('kinds', true, false) lsn;
INSERT INTO hint1 SELECT i, 'during a backup' FROM generate_series(1, 100) i;
SELECT lsn IS NOT NULL FROM pg_stop_backup(false, false);
\endif
