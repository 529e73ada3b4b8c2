-- XLOG kinds.
SELECT pg_create_restore_point('rp1');              -- RESTORE_POINT
CHECKPOINT; 
UPDATE m1 SET v = v + 1 WHERE id < 100;
-- hint bits set after a checkpoint: FPI_FOR_HINT (checksums on, or wal_log_hints)
DROP TABLE IF EXISTS hint1; CREATE TABLE hint1 WITH (autovacuum_enabled=off) AS SELECT i AS a, rtext(i, 50) AS t FROM generate_series(1, 5000) i; CHECKPOINT; SELECT count(*) FROM hint1;
SELECT pg_switch_wal();                             -- SWITCH
INSERT INTO hint1 VALUES (1, 'after switch'); SELECT pg_switch_wal();
