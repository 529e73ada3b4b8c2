// Package cluster runs a whole walhaven for tests: the real programs, built
// once a test binary, as real processes around a real PostgreSQL, started by
// package operator the way `walhaven up` starts them. It adds what only a test
// wants: killing and stopping parts, writers that remember which commits were
// acknowledged, and restoring from the base backup.
package cluster
