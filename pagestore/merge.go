package pagestore

import "errors"

// cursor walks entries in the order of layers. The item is valid until the next
// advance.
type cursor interface {
	advance() (bool, error)
	item() *item
	close() error
}

// merged walks several cursors as one: a binary heap with the next entry on top.
type merged struct {
	all  []cursor // to close
	heap []cursor
	done bool // the top has been given out
}

// newMerged takes the cursors over; an error has closed them.
func newMerged(cursors []cursor) (*merged, error) {
	m := &merged{all: cursors}
	for _, c := range cursors {
		ok, err := c.advance()
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		if ok {
			m.heap = append(m.heap, c)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	m.done = false
	return m, nil
}

func (m *merged) down(i int) {
	for {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(m.heap) && m.heap[child].item().before(m.heap[least].item()) {
				least = child
			}
		}
		if least == i {
			return
		}
		m.heap[i], m.heap[least] = m.heap[least], m.heap[i]
		i = least
	}
}

func (m *merged) advance() (bool, error) {
	if !m.done {
		m.done = true
		return len(m.heap) > 0, nil
	}
	if len(m.heap) == 0 {
		return false, nil
	}
	ok, err := m.heap[0].advance()
	if err != nil {
		return false, err
	}
	if !ok {
		last := len(m.heap) - 1
		m.heap[0] = m.heap[last]
		m.heap = m.heap[:last]
	}
	m.down(0)
	return len(m.heap) > 0, nil
}

func (m *merged) item() *item { return m.heap[0].item() }

func (m *merged) close() (err error) {
	for _, c := range m.all {
		err = errors.Join(err, c.close())
	}
	return err
}
