// Package procstat reads from /proc which processes there are, and what they have
// used.
package procstat
