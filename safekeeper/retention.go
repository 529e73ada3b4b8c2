package safekeeper

import "github.com/walhaven/walhaven/wal"

// retentionInput is all that decides how far WAL may go on one timeline.
type retentionInput struct {
	commit   wal.LSN
	flush    wal.LSN
	truncate wal.LSN // the proposer's horizon: what the slowest member has; 0 = not known
	limit    wal.LSN // below it no member is waited for; 0 = all are, for ever
	oldest   wal.LSN // oldest byte on disk

	filling wal.LSN // where a member is being filled from; 0 = nowhere

	slot    wal.LSN // oldest position that a valid slot reserves
	hasSlot bool

	// pageservers are the positions below which the configured pageservers can do
	// without this node: what they have in an object store or, when space runs
	// out here, on their own disks; 0 for one that has not answered since the
	// start.
	pageservers []wal.LSN

	keepSize uint64 // --wal-keep-size, bytes that stay in any case

	need    uint64 // bytes by which free space is below --min-free-disk
	segment wal.SegmentSize
}

// retentionHorizon returns the position below which WAL may go. It only ever
// gives up what nothing named needs:
//
//   - what the quorum needs: never past the commit or flush position, nor past
//     the slowest member, which is fed from here, unless that is below limit: one
//     member that is gone for good must not fill the disks of the others;
//   - a member that is being filled is read to from here, and nobody would read to it
//     what goes meanwhile: one that joins begins where WAL begins here;
//   - slots and configured pageservers: never past what they confirmed, except that
//     pageservers give way to a disk that is about to be full, as far as needed;
//   - the last keepSize bytes stay for consumers that nobody configured.
func retentionHorizon(in retentionInput) wal.LSN {
	all := in.withPageservers(in.pageservers)
	if in.need == 0 || len(in.pageservers) == 0 {
		return all
	}
	freed := uint64(in.segment.SegmentStart(all) - in.segment.SegmentStart(in.oldest))
	if freed >= in.need {
		return all
	}
	enough := in.segment.SegmentStart(in.oldest + wal.LSN(in.need) + wal.LSN(in.segment) - 1)
	return max(all, min(enough, in.withPageservers(nil)))
}

// withPageservers is the horizon for those pageservers.
func (in retentionInput) withPageservers(pageservers []wal.LSN) wal.LSN {
	h := min(in.commit, in.flush, max(in.slowest(), in.limit))
	if in.filling != 0 {
		h = min(h, max(in.filling, in.limit))
	}
	if in.hasSlot {
		h = min(h, in.slot)
	}
	for _, p := range pageservers {
		h = min(h, p)
	}
	if keep := wal.LSN(in.keepSize); in.commit > keep {
		h = min(h, in.commit-keep)
	} else {
		h = 0
	}
	return max(h, in.oldest)
}

// slowest is the position from which the slowest member may still have to be fed. One that
// holds a record need not have what follows up to the next: the bytes that align it,
// and behind a switch of the segment all that is left of that. The segment stays.
func (in retentionInput) slowest() wal.LSN {
	if in.truncate == 0 {
		return 0
	}
	return in.truncate - 1
}

// slotLimit is the position below which slots are given up, and members not
// waited for, so that one forgotten consumer cannot fill the disk that commits need. limit 0 = never.
func slotLimit(commit wal.LSN, limit uint64) wal.LSN {
	if limit == 0 || uint64(commit) <= limit {
		return 0
	}
	return commit - wal.LSN(limit)
}
