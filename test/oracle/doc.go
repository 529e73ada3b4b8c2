// Package oracle compares pages with what a stock PostgreSQL has on disk: every
// block of every relation and every SLRU, after the masks of PostgreSQL's own
// consistency check.
package oracle
