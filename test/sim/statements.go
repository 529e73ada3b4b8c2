package sim

// statement is something that must hold whatever happens: an invariant of the
// design page, or a testable statement of the reference of the wire protocol
// (safekeeper-wire, section 4). docs/consensus.md has the table of all of them.
type statement uint8

const (
	durability statement = iota
	oneWriter
	samePrefix
	divergence
	quorumsMeet
	s1
	s3
	s4
	s5
	r1
	r2
	r3
	r4
	r5
	r6
	r7
	r8
	r9
	r10
	r12
	c1
	c2
	c3
	c4
	c5
	c6
	c8
	c9
	c10
	c11
	c12
	c14
	statements // how many there are
)

// statementNames are what a broken statement and the count of its checks are reported by.
var statementNames = [statements]string{
	durability:  "invariant 1: whichever quorum votes next, it elects all that was acknowledged",
	oneWriter:   "invariant 2: nothing is committed behind the start of a later term",
	samePrefix:  "invariant 3: below its commit position a node holds what was committed",
	divergence:  "invariant 4, instead of C13: who is elected has the quorum's bytes",
	quorumsMeet: "any two quorums that could vote next have a node in common",
	s1:          "S1, S2: no term is won twice",
	s3:          "S3: a log holds what its history claims, in rising terms",
	s4:          "S4: what is committed at a position is the same for all",
	s5:          "S5: a generation is one configuration",
	r1:          "R1: a vote is for a term above all promised, persisted, and no joining node's",
	r2:          "R2: a term starts at the best of its votes",
	r3:          "R3: a commit lies at or behind its term's start",
	r4:          "R4: a vote's history claims only WAL that is there",
	r5:          "R5, C7: WAL is cut to a common point, and written behind that in that life",
	r6:          "R6: no gap, no overwriting",
	r7:          "R7: nothing of a term below the promised one is written",
	r8:          "R8: a term starts at one position in all histories",
	r9:          "R9: who votes, cuts or writes is in the message's generation",
	r10:         "R10, R11: the votes are of the generation, and a majority of each set",
	r12:         "R12: a joint configuration ends when the new members know it and hold what was committed",
	c1:          "C1: persisted commit <= commit <= durable, and it never falls",
	c2:          "C2: commit positions are ends of records",
	c3:          "C3: nothing below the commit position is cut",
	c4:          "C4: the truncate position is held by all and never falls",
	c5:          "C5: what a node reports, in votes too, is durable",
	c6:          "C6: a restart finds all that was known to be committed",
	c8:          "C8: a file under a segment's name has its whole size, after a crash too",
	c9:          "C9: a donor gives a proposer that proposer's WAL only",
	c10:         "C10: what is copied from a peer step by step is committed, whatever its term did meanwhile",
	c11:         "C11: members learn from terms that were won",
	c12:         "C12: WAL goes only below the persisted commit position, and where no member lacks it",
	c14:         "C14: after a crash a timeline is there whole or not at all",
}

// broken counts a check of a statement, and says whether it failed.
func (wd *World) broken(s statement, bad bool) bool {
	wd.checks[s]++
	return bad
}

// report adds the number of checks to the counts of the run.
func (wd *World) report() {
	for s, n := range wd.checks {
		wd.stats.count("check: "+statementNames[s], n)
	}
}
