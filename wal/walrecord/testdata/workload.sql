-- A little of nearly every kind of record, in few bytes. Needs a superuser,
-- max_prepared_transactions > 0 and wal_level = logical. Runs once in a database.
\set ON_ERROR_STOP on
create table h (id int primary key, n int, t text) with (fillfactor = 70);
insert into h select g, g % 10, repeat('x', g % 50) from generate_series(1, 400) g;
copy h (id) from program 'seq 1001 1400';
update h set t = 'hot' where id % 3 = 0;
update h set id = id + 5000 where id % 7 = 0;
delete from h where id % 5 = 0;
insert into h values (1, 1, 'again') on conflict do nothing;
insert into h values (9999, 1, 'new') on conflict do nothing;
vacuum h;
vacuum (freeze) h;
begin; select from h where id = 2 for share; savepoint a; update h set t = 'multi' where id = 2; commit;
begin; savepoint a; insert into h values (20001); rollback to a; insert into h values (20002); rollback;
begin; insert into h values (20003); prepare transaction 'p1';
commit prepared 'p1';
begin; insert into h values (20004); prepare transaction 'p2';
rollback prepared 'p2';
begin; lock table h in access exclusive mode; commit;

create table b (k int, p text);
create index b_k on b (k);
insert into b select g / 20, 'p' from generate_series(1, 1500) g;
insert into b select 30, 'p' from generate_series(1, 400) g;
delete from b where k between 5 and 70;
vacuum b;
create index b_h on b using hash (p);
insert into b select g, 'q' || g % 97 from generate_series(1, 400) g;

create table g (a int[], p point, q int4range, s text, r int);
create index g_gin on g using gin (a) with (fastupdate = on);
create index g_gist on g using gist (p);
create index g_spg on g using spgist (s);
create index g_brin on g using brin (r) with (pages_per_range = 1, autosummarize = off);
insert into g select array[i, i % 7, i % 3], point(i, i * 7 % 100), int4range(i, i + 3),
  'key' || i % 37 || '/' || i, i from generate_series(1, 260) i;
select gin_clean_pending_list('g_gin');
select brin_summarize_new_values('g_brin');
select brin_desummarize_range('g_brin', 1);
delete from g where r % 4 = 0;
vacuum g;
insert into g select array[i], point(i, 1), int4range(i, i + 1), 'more' || i, i from generate_series(1, 100) i;

create sequence sq cache 1;
select nextval('sq') from generate_series(1, 40);
create table tr as select 1 as x;
truncate tr;
begin; create table gone (x int); insert into gone values (1); drop table gone; commit;
begin; create table gone (x int); rollback;
create unlogged table u (x int primary key);
insert into u values (1);
vacuum full pg_tablespace;
select pg_create_restore_point('little workload');
select pg_logical_emit_message(true, 'tx', 'in a transaction');
select pg_logical_emit_message(false, 'big', repeat('walhaven ', 40000));
select pg_replication_origin_create('o');
begin; select pg_replication_origin_session_setup('o');
select pg_replication_origin_xact_setup('1/2', '2020-01-01 00:00:00+00'); insert into tr values (2); commit;
select pg_replication_origin_session_reset();
select pg_replication_origin_drop('o');
checkpoint;
update h set t = 'after the checkpoint' where id < 40;
update b set p = 'z' where k = 30;
select pg_switch_wal();
insert into tr values (3);
select pg_switch_wal();
