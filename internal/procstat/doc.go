// Package procstat reads what processes have used from /proc, for benchmarks that
// put whole systems beside each other.
package procstat
