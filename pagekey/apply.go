package pagekey

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/redo/page"
)

// applySpecial applies a change that is no record.
func applySpecial(p *page.Page, delta []byte) error {
	body := delta[1:]
	switch delta[0] {
	case deltaMapClear:
		return applyMapClear(p, body)
	case deltaMapTruncate:
		if len(body) != 4 {
			return errValue
		}
		p.TruncateMap(binary.LittleEndian.Uint32(body))
	case deltaFSMTruncate:
		if len(body) != 2 {
			return errValue
		}
		truncateFSM(p, int(binary.LittleEndian.Uint16(body)))
	case deltaCLOG:
		return applyCLOG(p, body)
	case deltaCommitTS:
		return applyCommitTS(p, body)
	case deltaOffset:
		return applyOffset(p, body)
	case deltaMembers:
		return applyMembers(p, body)
	default:
		return errValue
	}
	return nil
}

func applyMapClear(p *page.Page, body []byte) error {
	if len(body) != 5 {
		return errValue
	}
	v := redo.VisibilityClear{HeapBlock: binary.LittleEndian.Uint32(body), Bits: body[4] & page.MapBits}
	v.Apply(p)
	return nil
}

func applyCLOG(p *page.Page, body []byte) error {
	if len(body)%2 != 1 || body[0] > 3 {
		return errValue
	}
	status := body[0]
	for b := body[1:]; len(b) > 0; b = b[2:] {
		n := int(binary.LittleEndian.Uint16(b))
		if n >= CLOGPerPage {
			return errValue
		}
		shift := n % 4 * 2
		p[n/4] = p[n/4]&^(3<<shift) | status<<shift
	}
	return nil
}

func applyCommitTS(p *page.Page, body []byte) error {
	if len(body) < commitTSSize || len(body)%2 != 0 {
		return errValue
	}
	entry := body[:commitTSSize]
	for b := body[commitTSSize:]; len(b) > 0; b = b[2:] {
		n := int(binary.LittleEndian.Uint16(b))
		if n >= CommitTSPerPage {
			return errValue
		}
		copy(p[n*commitTSSize:], entry)
	}
	return nil
}

func applyOffset(p *page.Page, body []byte) error {
	if len(body) != 6 {
		return errValue
	}
	n := int(binary.LittleEndian.Uint16(body))
	if n >= OffsetsPerPage {
		return errValue
	}
	copy(p[n*4:], body[2:])
	return nil
}

// applyMembers enters members: groups of four status bytes and four xids
// (MXOffsetToFlagsOffset and MXOffsetToMemberOffset).
func applyMembers(p *page.Page, body []byte) error {
	if len(body)%5 != 2 {
		return errValue
	}
	n := int(binary.LittleEndian.Uint16(body))
	for b := body[2:]; len(b) > 0; b = b[5:] {
		if n >= MembersPerPage {
			return errValue
		}
		group, member := n/membersPerGroup*memberGroupSize, n%membersPerGroup
		p[group+member] = b[4]
		copy(p[group+membersPerGroup+member*4:], b[:4])
		n++
	}
	return nil
}

// The tree of a page of the free space map: behind the header and the number of
// the next slot to try, the inner nodes, then the leaves
// (src/include/storage/fsm_internals.h).
const (
	fsmNodes    = page.HeaderSize + 4
	fsmNonLeaf  = page.Size/2 - 1
	fsmAllNodes = page.Size - fsmNodes

	// FSMSlots is the number of leaves of a page of the free space map.
	FSMSlots = fsmAllNodes - fsmNonLeaf
)

// truncateFSM empties the leaves from slot on and rebuilds the inner nodes
// (fsm_truncate_avail, fsm_rebuild_page).
func truncateFSM(p *page.Page, slot int) {
	nodes := p[fsmNodes:]
	if slot >= FSMSlots {
		return
	}
	clear(nodes[fsmNonLeaf+slot:])
	for n := fsmNonLeaf - 1; n >= 0; n-- {
		var most byte
		for _, child := range [2]int{2*n + 1, 2*n + 2} {
			if child < len(nodes) {
				most = max(most, nodes[child])
			}
		}
		nodes[n] = most
	}
}
