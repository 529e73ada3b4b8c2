package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// history is what clients did and were told.
type history struct {
	began time.Time

	mu       sync.Mutex
	acked    map[int64]bool // inserts whose commit was acknowledged
	unknown  map[int64]bool // inserts whose outcome nobody was told
	open     bool           // there may be more inserts than these
	swaps    []swap
	answered int           // of swaps
	last     time.Time     // of the last acknowledged insert
	longest  time.Duration // between two of them
	progress chan struct{} // closed and made anew when anything is acknowledged
}

// swap is one operation on a register: value is put in, and what was there before
// comes back. Each value is put in once.
type swap struct {
	client       int
	register     int
	value, old   int64
	call, answer time.Duration // since the history began
	known        bool          // old and answer are valid: it was acknowledged
	read         bool          // only what there is at the end
}

func newHistory() *history {
	now := time.Now()
	return &history{began: now, last: now, acked: map[int64]bool{}, unknown: map[int64]bool{}, progress: make(chan struct{})}
}

// inserted records the end of an insert.
func (h *history) inserted(id int64, acknowledged bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !acknowledged {
		h.unknown[id] = true
		return
	}
	h.acked[id] = true
	now := time.Now()
	h.longest = max(h.longest, now.Sub(h.last))
	h.last = now
	h.wake()
}

// swapped records the end of a swap.
func (h *history) swapped(s swap) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.swaps = append(h.swaps, s)
	if s.known {
		h.answered++
		h.wake()
	}
}

func (h *history) wake() {
	close(h.progress)
	h.progress = make(chan struct{})
}

// counts returns how many inserts and swaps were acknowledged, and what tells of
// more.
func (h *history) counts() (inserts, swaps int, more <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.acked), h.answered, h.progress
}

// snapshot is what clients were told of inserts so far; what they do not know the
// end of counts as such.
func (h *history) snapshot() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &history{acked: maps.Clone(h.acked), unknown: maps.Clone(h.unknown), open: true}
}

// checkInserts compares the inserts with the rows that are there.
func (h *history) checkInserts(rows []int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	there := map[int64]bool{}
	for _, id := range rows {
		switch {
		case there[id]:
			return fmt.Errorf("row %#x is there twice", id)
		case !h.open && !h.acked[id] && !h.unknown[id]:
			return fmt.Errorf("row %#x is there and was never inserted", id)
		}
		there[id] = true
	}
	var lost []int64
	for id := range h.acked {
		if !there[id] {
			lost = append(lost, id)
		}
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		return fmt.Errorf("%d of %d acknowledged inserts are lost: %#x", len(lost), len(h.acked), lost[:min(len(lost), 20)])
	}
	return nil
}

// ended records what is in the registers when no client is left: without it, the last swap of
// each could be lost and nobody would see it.
func (h *history) ended(values map[int]int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Since(h.began)
	used := map[int]bool{}
	for _, s := range h.swaps {
		used[s.register] = true
	}
	for register := range used {
		h.swaps = append(h.swaps, swap{client: swappers, register: register, old: values[register], value: -1, call: now, answer: now, known: true, read: true})
	}
}

// checkWithin bounds the search of checkSwaps.
const checkWithin = 2 * time.Minute

// checkSwaps says whether some order of the swaps, in which each happens between
// its call and its answer, explains what they returned.
func (h *history) checkSwaps() error {
	h.mu.Lock()
	swaps := slices.Clone(h.swaps)
	h.mu.Unlock()
	byRegister := map[int][]swap{}
	for _, s := range swaps {
		byRegister[s.register] = append(byRegister[s.register], s)
	}
	for _, register := range slices.Sorted(maps.Keys(byRegister)) {
		swaps := byRegister[register]
		switch porcupine.CheckOperationsTimeout(registerModel(), operations(swaps), checkWithin) {
		case porcupine.Illegal:
			return fmt.Errorf("register %d is not linearizable over %d swaps%s", register, len(swaps), broken(swaps))
		case porcupine.Unknown:
			return fmt.Errorf("register %d: no order was found in %s", register, checkWithin)
		}
	}
	return nil
}

// operations is the history as the checker takes it. A swap that nobody was told
// the end of may have happened until somebody has got its value; one whose value
// nobody got may as well never have happened, since whatever comes behind it would
// have.
func operations(swaps []swap) []porcupine.Operation {
	got := map[int64]time.Duration{}
	for _, s := range swaps {
		if s.known {
			got[s.old] = s.answer
		}
	}
	var all []porcupine.Operation
	for _, s := range swaps {
		answer := int64(s.answer)
		if !s.known {
			seen, ok := got[s.value]
			if !ok {
				continue
			}
			answer = int64(seen)
		}
		all = append(all, porcupine.Operation{ClientId: s.client, Input: s, Call: int64(s.call), Return: answer})
	}
	slices.SortFunc(all, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	return all
}

// registerModel is a register that starts with 0.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return int64(0) },
		Step: func(state, input, _ any) (bool, any) {
			s := input.(swap)
			return !s.known || s.old == state.(int64), s.value
		},
	}
}

// broken finds what a person wants to see of a history that is not linearizable:
// a value that two swaps got, or one that was acknowledged and that nobody got
// though it was not the last.
func broken(swaps []swap) string {
	by := map[int64]swap{}
	for _, s := range swaps {
		if !s.known {
			continue
		}
		if first, ok := by[s.old]; ok {
			return fmt.Sprintf(": value %#x was got twice, by %+v and by %+v", s.old, first, s)
		}
		by[s.old] = s
	}
	var lost []string
	for _, s := range swaps {
		if _, ok := by[s.value]; s.known && !ok {
			lost = append(lost, fmt.Sprintf("%+v", s))
		}
	}
	return fmt.Sprintf(": values that nobody got, of which one at most may be: %v", lost[:min(len(lost), 10)])
}
