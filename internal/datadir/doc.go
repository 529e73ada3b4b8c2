// Package datadir opens the data directory of a walhaven program: it takes the
// lock that keeps a second process out, and reads or founds the identity that
// belongs to the directory, not to the machine: the node ID and a random
// incarnation, made once with the directory.
//
// It also holds the small sealed text file that such facts are kept in
// (written whole, fsynced, renamed, closed by a checksum line). WAL and its
// control files are package wal/walstore's.
package datadir
