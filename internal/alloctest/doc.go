// Package alloctest asserts in tests how often a hot path allocates.
//
// It counts nothing under the race detector, where sync.Pool forgets at random
// what it holds; `make test` runs the packages that import it without the
// detector too. Benchmarks with their figures do not live here.
package alloctest
