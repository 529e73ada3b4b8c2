package sender

import (
	"fmt"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
)

// decodeFeedback takes one report; unknown kinds are skipped, so that a newer
// receiver may say more. It returns whether anything was taken.
func (p *pushSession) decodeFeedback(msg []byte) (bool, error) {
	switch walstream.Kind(msg) {
	case walstream.KindStatusUpdate:
		var m walstream.StatusUpdate
		if err := walstream.DecodeStatusUpdate(msg, &m); err != nil {
			return false, err
		}
		p.note(func(f *PushFeedback) {
			// A position never goes back within a session; what a confused
			// receiver says must not make this side keep less.
			f.Write = max(f.Write, m.Write)
			f.Flush = max(f.Flush, m.Flush)
			f.Apply = max(f.Apply, m.Apply)
		})
		return true, nil
	case walstream.KindPageserverFeedback:
		block, err := walstream.DecodePageserverFeedback(msg)
		if err != nil {
			return false, err
		}
		var m pushwal.PageserverFeedback
		if err := pushwal.DecodePageserverFeedback(block, &m); err != nil {
			return false, fmt.Errorf("decode feedback block: %w", err)
		}
		p.note(func(f *PushFeedback) {
			f.Active = m.Active == pushwal.Active
			f.Corruption = f.Corruption || m.Corruption
			f.Remote = max(f.Remote, m.RemoteConsistent)
		})
		return true, nil
	}
	return false, nil
}
