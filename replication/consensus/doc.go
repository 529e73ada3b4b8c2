/*
Package consensus decides who may write a timeline's WAL and what of it is
committed. It is two state machines, [Acceptor] and [Proposer], and the rules
that they share; messages and events go in, effects come out. No goroutine,
clock, file, socket or logger is in here: the same code runs in package test/sim
and in production. Messages are those of package protocol/pushwal; the log is
package wal/walstore's; drivers that join them are in package replication.

Rules are named as in the reference of the wire protocol (safekeeper-wire,
section 4): R1 to R13, C1 to C14, S1 to S5. There is a test for each of those
that are kept here.

# The acceptor's driver

A safekeeper has one Acceptor a timeline, and one driver that owns it, its log
and its control file, under one lock.

 1. Recover the log, then NewAcceptor with the State of the control file and the
    log's positions. If Err is not nil committed WAL is missing: serve nothing.
 2. Give each connection a ConnID that was never used. Step each message. An
    error changed nothing: send it, close the connection, call Disconnected.
 3. Do what [Effects] says, field by field from the top, before any other call:
    SyncFirst, Truncate, Save, Append, then Send. Truncate and Save are durable
    when done; the State and the PostgreSQL history in it are one write. When one
    of them fails, send nothing, and go back to step 1 with what is on disk.
 4. After Append tell Appended where the log ends. If the log refuses the bytes,
    close the connection and do not.
 5. After NeedSync go on stepping while more messages are at hand; then sync the
    log once for all of them, call Synced, and do its effects.
    A driver that lets go of its lock while it syncs must read the flushed
    position from the log under the lock in which it calls Synced: another
    connection may have cut the log meanwhile.
 6. When a connection ends call Disconnected.
 7. Now and then, and at the end, save what Checkpoint returns.

# The proposer's driver

A Proposer is one campaign and at most one term, for one unbroken connection to
PostgreSQL.

 1. Look: ask a quorum where it stands, touching no term. Evaluate says whether a
    campaign could succeed and which WAL is to be compared. Compare it, and wait
    while another writer is alive; the clock for that is the driver's.
 2. NewProposer with Survey.MaxTerm as MinTerm. Connect to every peer; send
    Greeting first on each connection. A greeting of a higher term means that
    somebody campaigned since the look: the proposer ends, no term is touched.
 3. Feed what arrives as Greeted, Voted and Appended, ends as Disconnected, and a
    Tick each second. Events of a connection that was replaced must not arrive.
    An error is about that peer alone: close, and connect again later.
 4. Do what [ProposerEffects] says, in its order. Prove asks for the comparison
    of all bytes with those that the voters hold; feed the answer as Proved.
 5. Once Stream names a peer, send it AppendRequests from there on, at least one
    at once, and one each second. A connection that breaks needs a new Stream.
    AppendRequest fills the header. Feed Available as the own WAL grows.
 6. Commit is what may be reported to PostgreSQL. Announce it to all at once.
 7. Reconfigure passes an operator's wish for other members on, as often as you
    like. Members names those to connect to; AddPeer makes room for one more.
 8. Fatal ends the proposer: close everything, go back to 1 if the cause allows.

# Messages

	message           from      what it does at the receiver
	ProposerGreeting  proposer  checked against the timeline's identity
	AcceptorGreeting  acceptor  term, membership; a quorum of them begins the campaign
	VoteRequest       proposer  sync; vote if the term is higher; position in any case
	VoteResponse      acceptor  a vote, or the position of one that does not vote
	ProposerElected   proposer  cut to the common point, take over both histories
	AppendRequest     proposer  WAL; commit and truncate positions; heartbeat
	AppendResponse    acceptor  durable position, persisted commit position, or a higher term
	ConfigurationRequest   proposer  accept the next membership, in this term
	ConfigurationResponse  acceptor  what was accepted

# Different from Raft

  - Log entries carry no term. A history of (term, position) says which term
    wrote what, and the common point of two logs is computed from two histories
    in one step, where Raft probes backwards.
  - A leader appends to a log that may lag behind it at any distance, and followers
    are cut once, by ProposerElected, never by appends.
  - A vote names no candidate. An equal term is refused even to the proposer that
    has the vote, so a vote lost with its connection cannot be repeated.
  - The leader starts from the best log of its voters, which is why a vote carries
    a history; it need not have the best log itself before. With a server of its
    own it must have the same bytes: that is the proof.

# Different from Neon

Neon's proposer is served as it is; where this acceptor differs it refuses what a
correct proposer does not send, or answers earlier:

  - A foreign system identifier is refused, not taken over: Neon's computes never
    meet another cluster's WAL, a stock server pointed at the wrong address does.
  - What is an assertion there (R8, C3) is an error here: network input must not
    end a process that serves other timelines.
  - A commit position is kept and applied again after the own sync; there it
    waits for the next heartbeat, and a headless run for up to a second.
  - Appends are taken only on a connection on which ProposerElected was handled in
    this life of the process. Relying on positions alone, as Neon does, would let
    an append of a term pass that was voted for but never cut to.
  - A history that has nothing in common with the log is refused unless the log is
    empty, so that no gap can arise.
  - Members are known by incarnation. One whose data directory was made anew is
    joining: with a vote or an acknowledgement that it gave before it was wiped,
    it could make a minority look like a quorum. Joining nodes are filled like
    laggards; they refuse their vote without promising anything, to Neon's
    proposer with an error, since a refusal would end it.
  - Votes and acknowledgements of a node whose connection broke still count, they
    are on its disk; Neon forgets the votes.

And the proposer:

  - ProposerElected is preceded by a proof: PostgreSQL's WAL was compared with the
    voters' byte for byte. Neon starts from a base backup made at that position.
  - An equal-term refusal before the election does not end the run as such: the
    others may still elect it. If they have not by the next tick, there are two
    cases. A node that was asked in this term before, on a connection that broke
    without an answer, most likely gave its vote to this proposer, which then
    campaigns in the next term. Nothing was sent in the old term but requests for
    votes, so nothing can be lost by giving it up; and if the vote went to another
    proposer after all, that one meets the higher term and stops, as with any
    election. A node that was never asked before gave its vote to another proposer
    for certain: that one may be writing, and is not deposed ([ErrRival]). The
    driver looks again then, after a random wait, since two that end at once would
    meet again.
  - A higher term always ends it, also before the election: the driver has to look
    who is there before it campaigns above it.
  - Several peers that are one node count once, whatever the list says.
  - An acknowledgement counts up to the WAL that the proposer itself has.

# PostgreSQL's timelines

A promoted server has WAL of the old timeline up to the switch, and may campaign
although some node has more of the old timeline: a vote beyond the point where
the two histories part does not count, and if the others are still a quorum,
nothing beyond it was committed, for a commit would be in every quorum. Otherwise
the campaign is refused, naming the node and its position ([ErrTimeline]).

An acceptor keeps the PostgreSQL history with the term history, in one write. It
refuses a second history that gives a timeline it knows another beginning, and
one that puts bytes which it would keep on other timelines, without raising its
term. Knowing means having accepted: also when no byte of that timeline arrived.
Two servers promoted under one number are a split brain, and one of them has to
be promoted again; PostgreSQL then takes the next number.

# Members

Neon's storage controller keeps the membership in a database and switches
safekeepers from outside. Here the next configuration is chosen by the members in
force, with the term as ballot: a vote tells what was accepted before, a proposer
proposes that again before anything else, and a majority of each set makes it the
one in force. Acceptors hear of that in greetings, and from each other. A node that
comes, or comes back with another data directory, is filled as joining, and votes
and counts once a configuration in force names that very data directory.

# What is not here

Waiting for a takeover, comparing bytes, feeding laggards from a donor, feedback
of page servers and standbys: drivers. Which members there should be: operators.
*/
package consensus
