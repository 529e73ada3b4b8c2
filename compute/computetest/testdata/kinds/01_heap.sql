-- Heap + Heap2 record kinds.  psql variable copyfile: a file name the server may write and read.
\set copyfile2 :copyfile .2
DROP TABLE IF EXISTS h1, h2, h3, h4, hfk, hpk, htoast CASCADE;
CREATE TABLE h1 (id int, v int, t text) WITH (fillfactor=100, autovacuum_enabled=off);
-- INSERT, INSERT+INIT (one row at a time)
DO $$ BEGIN FOR i IN 1..500 LOOP INSERT INTO h1 VALUES (i, i, rtext(i, 40)); END LOOP; END $$;
-- MULTI_INSERT and MULTI_INSERT+INIT (COPY)
COPY (SELECT i, i, rtext(i, 60) FROM generate_series(501, 6000) i) TO :'copyfile';
COPY h1 FROM :'copyfile';
COPY (SELECT i, i, rtext(i, 20) FROM generate_series(1, 3) i) TO :'copyfile2';
COPY h1 FROM :'copyfile2';
-- UPDATE moving to another page, UPDATE+INIT, HOT_UPDATE with prefix/suffix compression
UPDATE h1 SET v = v + 1 WHERE id % 7 = 0;
UPDATE h1 SET t = t || rtext(id, 500) WHERE id % 50 = 0;
UPDATE h1 SET v = v + 1 WHERE id BETWEEN 100 AND 200;
CREATE TABLE h2 (id int PRIMARY KEY, v int, t text, n int) WITH (fillfactor=50, autovacuum_enabled=off);
INSERT INTO h2 SELECT i, 0, rtext(i, 100), NULL FROM generate_series(1, 2000) i;
-- HOT chains on the same page, then pruning by reading
DO $$ BEGIN FOR k IN 1..6 LOOP UPDATE h2 SET v = v + 1 WHERE id % 3 = k % 3; COMMIT; PERFORM count(*) FROM h2; COMMIT; END LOOP; END $$;
UPDATE h2 SET n = v WHERE id % 5 = 0;            -- null bitmap changes
UPDATE h2 SET t = rtext(id, 30) WHERE id % 11 = 0; -- shrinks
-- DELETE, prune, VACUUM (LP_DEAD -> LP_UNUSED), VISIBLE, FREEZE
DELETE FROM h2 WHERE id % 4 = 0;
VACUUM (INDEX_CLEANUP ON) h2;
DELETE FROM h2 WHERE id % 9 = 0;                  -- clears VM bits
VACUUM (INDEX_CLEANUP OFF) h2;
INSERT INTO h2 SELECT i, 1, 'x', 2 FROM generate_series(5001, 5200) i;
VACUUM (FREEZE) h2;
UPDATE h2 SET v = 9 WHERE id BETWEEN 5001 AND 5100; -- clears all-visible + all-frozen
SELECT count(*) FROM (SELECT id FROM h2 WHERE id BETWEEN 5101 AND 5200 FOR UPDATE) q; -- LOCK clears all-frozen only
VACUUM h2; VACUUM (FREEZE) h2;
-- COPY FREEZE: MULTI_INSERT with all-frozen set
BEGIN; CREATE TABLE h4 (id int, v int, t text) WITH (autovacuum_enabled=off); COPY h4 FROM :'copyfile' WITH (FREEZE); COMMIT;
-- speculative insertion: CONFIRM, and superdelete by conflict is in 10_concurrent
CREATE TABLE h3 (id int PRIMARY KEY, v int) WITH (autovacuum_enabled=off);
INSERT INTO h3 SELECT i, 0 FROM generate_series(1, 300) i ON CONFLICT DO NOTHING;
INSERT INTO h3 SELECT i, 0 FROM generate_series(200, 500) i ON CONFLICT (id) DO UPDATE SET v = h3.v + 1;
-- FK checks give LOCK records
CREATE TABLE hpk (id int PRIMARY KEY, v int); CREATE TABLE hfk (id int, p int REFERENCES hpk);
INSERT INTO hpk SELECT i, 0 FROM generate_series(1, 400) i;
INSERT INTO hfk SELECT i, i FROM generate_series(1, 400) i;
-- aborted work leaves dead tuples; savepoints
BEGIN; UPDATE h3 SET v = -1 WHERE id < 50; ROLLBACK;
BEGIN; SAVEPOINT a; DELETE FROM h3 WHERE id < 20; ROLLBACK TO a; INSERT INTO h3 VALUES (9001, 1); COMMIT;
SELECT count(*) FROM h3; VACUUM h3;
-- TOAST, big rows, wide nulls
CREATE TABLE htoast (id int PRIMARY KEY, big text); ALTER TABLE htoast ALTER big SET STORAGE EXTERNAL;
INSERT INTO htoast SELECT i, rtext(i, 20000) FROM generate_series(1, 60) i;
UPDATE htoast SET big = rtext(id + 7, 30000) WHERE id % 2 = 0;
DELETE FROM htoast WHERE id % 3 = 0; VACUUM htoast;
-- TRUNCATE (Heap TRUNCATE record only with wal_level=logical), relation truncation by VACUUM, re-extension
INSERT INTO h1 SELECT i, i, rtext(i, 200) FROM generate_series(7000, 12000) i;
DELETE FROM h1 WHERE id >= 6500; VACUUM h1;       -- Storage TRUNCATE
INSERT INTO h1 SELECT i, i, rtext(i, 200) FROM generate_series(7000, 9000) i; -- extend again
TRUNCATE hfk;
BEGIN; TRUNCATE h4; INSERT INTO h4 VALUES (1,1,'a'); COMMIT;
-- in-place updates: CREATE INDEX / ANALYZE / VACUUM touch pg_class; datfrozenxid touches pg_database
ANALYZE h1; CREATE INDEX ON h1 (id); VACUUM (FREEZE) h1;
-- full rewrite
CLUSTER h2 USING h2_pkey; VACUUM FULL h1;
ALTER TABLE h1 ADD COLUMN extra int DEFAULT 5; UPDATE h1 SET extra = 6 WHERE id < 100;
ALTER TABLE h1 ALTER COLUMN v TYPE bigint;
-- dropped columns and old tuple replica identity (wal_level=logical)
ALTER TABLE h3 REPLICA IDENTITY FULL; UPDATE h3 SET v = v + 1 WHERE id < 30; DELETE FROM h3 WHERE id BETWEEN 31 AND 40;
UPDATE hpk SET id = id + 100000 WHERE id > 390; DELETE FROM hpk WHERE id > 100005;
-- partition-key update: DELETE with the moved-partition marker
DROP TABLE IF EXISTS hp CASCADE; CREATE TABLE hp (k int, v int) PARTITION BY RANGE (k);
CREATE TABLE hp1 PARTITION OF hp FOR VALUES FROM (0) TO (100); CREATE TABLE hp2 PARTITION OF hp FOR VALUES FROM (100) TO (200);
INSERT INTO hp SELECT i, i FROM generate_series(0, 99) i; UPDATE hp SET k = k + 100 WHERE k < 20;
