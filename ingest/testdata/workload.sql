-- What ingest does beside changing referenced blocks: sizes, SLRUs, two-phase
-- files, relation maps, databases, tablespaces, origins, events. A statement ends
-- at a line that ends in a semicolon outside of dollar quotes; each runs in its
-- own transaction.
CHECKPOINT;
CREATE TABLE i1 (id int PRIMARY KEY, v int, t text);
INSERT INTO i1 SELECT i, 0, repeat('x', 200) FROM generate_series(1, 3000) i;
VACUUM (FREEZE) i1;
UPDATE i1 SET v = 1 WHERE id % 50 = 0;
DELETE FROM i1 WHERE id > 1500;
VACUUM i1;
INSERT INTO i1 SELECT i, 0, repeat('y', 200) FROM generate_series(5000, 6000) i;
SELECT pg_create_restore_point('before the drop');
CREATE TABLE i2 AS SELECT i AS id, i % 7 AS v FROM generate_series(1, 5000) i;
CREATE INDEX i2_v ON i2 (v);
TRUNCATE i2;
INSERT INTO i2 SELECT i, i FROM generate_series(1, 100) i;
CREATE TABLE i3 AS SELECT * FROM i1;
DROP TABLE i3;
BEGIN; CREATE TABLE i4 (a int); INSERT INTO i4 SELECT generate_series(1, 1000); TRUNCATE i4; INSERT INTO i4 VALUES (1); COMMIT;
BEGIN; CREATE TABLE i5 (a int); INSERT INTO i5 VALUES (1); ROLLBACK;
CREATE UNLOGGED TABLE i6 (id int PRIMARY KEY, t text);
INSERT INTO i6 SELECT i, 'u' FROM generate_series(1, 100) i;
CREATE TABLE i7 (id int PRIMARY KEY, v int);
INSERT INTO i7 SELECT i, 0 FROM generate_series(1, 10) i;
BEGIN; UPDATE i7 SET v = 1 WHERE id = 1; SAVEPOINT a; UPDATE i7 SET v = 1 WHERE id = 2; ROLLBACK TO a; SAVEPOINT b; UPDATE i7 SET v = 1 WHERE id = 3; COMMIT;
BEGIN; UPDATE i7 SET v = 2 WHERE id = 4; SAVEPOINT a; UPDATE i7 SET v = 2 WHERE id = 5; PREPARE TRANSACTION 'first';
BEGIN; UPDATE i7 SET v = 3 WHERE id = 6; CREATE TABLE i8 (a int); PREPARE TRANSACTION 'second';
BEGIN; UPDATE i7 SET v = 4 WHERE id = 7; PREPARE TRANSACTION 'stays';
COMMIT PREPARED 'first';
ROLLBACK PREPARED 'second';
-- Multixacts: a row share-locked by a transaction and updated by its
-- subtransaction.
CREATE TABLE i9 (id int PRIMARY KEY, v int);
INSERT INTO i9 SELECT i, 0 FROM generate_series(1, 2500) i;
DO $$ BEGIN FOR i IN 1..2500 LOOP
  PERFORM 1 FROM i9 WHERE id = i FOR KEY SHARE;
  BEGIN UPDATE i9 SET v = v + 1 WHERE id = i; EXCEPTION WHEN division_by_zero THEN NULL; END;
END LOOP; END $$;
-- Commit log and commit timestamps grow by pages.
CREATE TABLE i10 (v int);
INSERT INTO i10 VALUES (0);
DO $$ BEGIN FOR i IN 1..1000 LOOP UPDATE i10 SET v = v + 1; COMMIT; END LOOP; END $$;
DO $$ BEGIN FOR k IN 1..30 LOOP FOR i IN 1..1000 LOOP
  BEGIN INSERT INTO i10 VALUES (i); EXCEPTION WHEN division_by_zero THEN NULL; END;
END LOOP; COMMIT; END LOOP; END $$;
VACUUM FULL i1;
VACUUM FULL pg_class;
REINDEX TABLE pg_database;
CHECKPOINT;
SELECT pg_replication_origin_create('elsewhere');
SELECT pg_replication_origin_session_setup('elsewhere');
BEGIN; SELECT pg_replication_origin_xact_setup('0/ABCDEF', '2020-02-02 02:02:02+00'); UPDATE i7 SET v = 9 WHERE id = 9; COMMIT;
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_advance('elsewhere', '0/ABCDFF');
SELECT pg_replication_origin_create('gone');
SELECT pg_replication_origin_advance('gone', '0/1234');
SELECT pg_replication_origin_drop('gone');
SELECT pg_logical_emit_message(false, 'walhaven', repeat('m', 30000));
SELECT pg_switch_wal();
CREATE SEQUENCE i11;
SELECT count(nextval('i11')) FROM generate_series(1, 100);
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE walhaven_ts LOCATION '';
CREATE TABLE i12 (a int) TABLESPACE walhaven_ts;
INSERT INTO i12 SELECT generate_series(1, 2000);
ALTER TABLE i2 SET TABLESPACE walhaven_ts;
CREATE DATABASE copied TEMPLATE template1;
CREATE DATABASE elsewhere TEMPLATE template0 TABLESPACE walhaven_ts;
CREATE DATABASE gone;
DROP DATABASE gone;
ALTER DATABASE elsewhere SET TABLESPACE pg_default;
DROP TABLE i12;
UPDATE i1 SET v = 2 WHERE id % 3 = 0;
VACUUM i1;
DELETE FROM i9 WHERE id > 100;
VACUUM (FREEZE) i9;
SELECT pg_create_restore_point('the end');
CHECKPOINT;
INSERT INTO i2 SELECT i, i FROM generate_series(1, 1000) i;
SELECT pg_switch_wal();
