package pageserver

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// stepped is a disk that syncs when it is told to.
type stepped struct {
	began, goOn chan struct{}
	reports     chan struct{}
	err         error
}

func newStepped() *stepped {
	return &stepped{began: make(chan struct{}), goOn: make(chan struct{}), reports: make(chan struct{}, 100)}
}

func (s *stepped) sync() error {
	s.began <- struct{}{}
	<-s.goOn
	return s.err
}

func (s *stepped) report() error {
	s.reports <- struct{}{}
	return nil
}

// While one sync runs more is taken, but not without bound, and what was taken
// meanwhile is made durable by the next.
func TestFlusherTakesDuringASync(t *testing.T) {
	d := newStepped()
	f := newFlusher(d.sync, d.report, func(error) {})
	f.take(100, false)
	<-d.began
	f.take(syncEvery, true)
	full := make(chan struct{})
	go func() {
		defer close(full)
		f.take(syncEvery, true)
	}()
	d.goOn <- struct{}{}
	<-d.reports
	<-d.began
	d.goOn <- struct{}{}
	<-d.reports
	<-full
	select { // What came too late for that one.
	case <-d.began:
		d.goOn <- struct{}{}
		<-d.reports
	default:
	}
	f.take(0, false) // Answered without a sync if nothing is to be synced.
	for done := false; !done; {
		select {
		case <-d.began:
			d.goOn <- struct{}{}
		case <-d.reports:
			done = true
		}
	}
	require.Zero(t, f.stop())
}

// No report goes out before the sync that is owed, and a sync makes durable only
// what was taken before it began: what came meanwhile is synced by the next round,
// also when nobody takes anything more.
func TestFlusherSyncsBeforeItReports(t *testing.T) {
	d := newStepped()
	f := newFlusher(d.sync, d.report, func(error) {})
	f.take(100, false)
	<-d.began
	require.Empty(t, d.reports, "reported before the sync")
	f.take(50, false)
	require.Empty(t, d.reports, "reported during the sync")
	d.goOn <- struct{}{}
	<-d.reports
	select {
	case <-d.began:
	case <-d.reports:
		require.Fail(t, "what came during a sync was reported without one of its own")
	}
	d.goOn <- struct{}{}
	<-d.reports
	require.Zero(t, f.stop())
}

// A flusher that stops in the middle of a sync tells what that sync does not cover.
func TestFlusherStopsDuringASync(t *testing.T) {
	d := newStepped()
	f := newFlusher(d.sync, d.report, func(error) {})
	f.take(100, false)
	<-d.began
	f.take(50, true)
	close(f.quit)
	d.goOn <- struct{}{}
	left := 50
	for done := false; !done; { // It may see the bytes before the end.
		select {
		case <-d.began:
			left = 0
			d.goOn <- struct{}{}
		case <-f.done:
			done = true
		}
	}
	require.Equal(t, left, f.unsynced)
}

// What others should follow is made durable though they do not.
func TestFlusherLingersOnly(t *testing.T) {
	d := newStepped()
	f := newFlusher(d.sync, d.report, func(error) {})
	f.take(1, true)
	<-d.began
	d.goOn <- struct{}{}
	<-d.reports
	require.Zero(t, f.stop())
}

// A failed sync ends the session, also when it waits for room; what was not synced
// is told.
func TestFlusherFails(t *testing.T) {
	d := newStepped()
	d.err = errors.New("disk")
	var got error
	failed := make(chan struct{})
	f := newFlusher(d.sync, d.report, func(err error) {
		got = err
		close(failed)
	})
	full := make(chan struct{})
	go func() {
		defer close(full)
		f.take(3*syncEvery, true)
	}()
	<-d.began
	d.goOn <- struct{}{}
	<-failed
	<-full
	require.ErrorIs(t, got, d.err)
	require.Equal(t, 3*syncEvery, f.stop())
	require.Empty(t, d.reports)
}
