// Package consensus decides which proposer may write a timeline's WAL and what
// is committed: the two state machines, and nothing that touches the world.
package consensus
