// Package disposable marks PostgreSQL data directories in which a server runs
// with fsync = off. Such a directory is whole as long as the operating system
// that wrote it lives: a killed server loses nothing, for the kernel has its
// writes. Once the machine has crashed any page and any WAL may be missing, in
// a way that PostgreSQL's recovery does not notice, and then the directory is of
// no more use.
//
// The marker says where the server runs: boot, machine, filesystem. It is
// durable before the first start without fsync, and goes when the server has been
// stopped and all its filesystems have been written to disk. A marker that tells
// of another boot, machine or filesystem condemns the directory.
//
// Its name begins with pgsql_tmp, which makes pg_basebackup leave it out: a backup
// is complete by itself, whatever became of the original. pg_rewind removes it
// from the directory that it rewinds, as it does with all that its source lacks.
//
// What to do instead of starting a condemned directory is said elsewhere.
package disposable
