-- Shapes of index records that workload.sql and the usual examples do not make.
-- A statement ends at a line that ends in a semicolon outside of dollar quotes.
-- Btree: VACUUM shortens posting lists, some of them to one TID.
CREATE TABLE x_bt (k int, d int);
CREATE INDEX ON x_bt (d);
INSERT INTO x_bt SELECT i, i % 10 FROM generate_series(1, 6000) i;
DELETE FROM x_bt WHERE k % 7 = 0;
VACUUM x_bt;
CREATE TABLE x_bt1 (k int, d int);
CREATE INDEX ON x_bt1 (d);
INSERT INTO x_bt1 SELECT i, i / 3 FROM generate_series(1, 3000) i;
DELETE FROM x_bt1 WHERE k % 3 <> 0;
VACUUM x_bt1;
-- Hash: an index that begins with more buckets than the single phases have.
CREATE TABLE x_ha AS SELECT i k FROM generate_series(1, 25000) i;
ANALYZE x_ha;
CREATE INDEX ON x_ha USING hash (k) WITH (fillfactor=10);
-- Hash: VACUUM finds tuples that index scans marked dead.
CREATE TABLE x_ha2 (k int, p int);
CREATE INDEX ON x_ha2 USING hash (k);
INSERT INTO x_ha2 SELECT 7, i FROM generate_series(1, 1500) i;
DELETE FROM x_ha2 WHERE p % 3 = 0;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT sum(p) FROM x_ha2 WHERE k = 7;
SELECT sum(p) FROM x_ha2 WHERE k = 7;
RESET enable_seqscan;
RESET enable_bitmapscan;
VACUUM x_ha2;
-- SPGist: inner tuples outgrow their pages, heads of lists die and are replaced.
CREATE TABLE x_sp (t text);
CREATE INDEX ON x_sp USING spgist (t);
INSERT INTO x_sp SELECT repeat(chr(97 + i % 26), 1 + i % 7) || md5(i::text) || repeat('y', i % 120) FROM generate_series(1, 9000) i;
INSERT INTO x_sp SELECT chr(33 + i % 90) || chr(33 + (i / 90) % 90) || chr(33 + (i / 8100) % 90) || i FROM generate_series(1, 25000) i;
DELETE FROM x_sp;
VACUUM x_sp;
INSERT INTO x_sp SELECT repeat(chr(97 + i % 26), 1 + i % 7) || md5(i::text) || repeat('y', i % 120) FROM generate_series(1, 3000) i;
INSERT INTO x_sp SELECT repeat('long prefix ', 150) || chr(33 + i % 90) || md5(i::text) FROM generate_series(1, 1500) i;
INSERT INTO x_sp SELECT repeat('long prefix ', 150 - i % 150) || chr(33 + i % 90) || md5(i::text) FROM generate_series(1, 1500) i;
