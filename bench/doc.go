// Package bench is what the programs in the folders below have in common: where they
// work, with which PostgreSQL, and how they begin and end.
//
// What does not belong here: anything that is measured.
package bench
