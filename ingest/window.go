package ingest

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// window is the in-flight window: it bounds the memory of messages that are not yet committed. A
// publisher whose waiting delays no others, because it has a connection or a request of its own,
// may take a quarter of it, so that messages which take long leave room for other publishers.
type window struct {
	size  int64
	whole *semaphore.Weighted

	mu     sync.Mutex
	shares map[uint64]*share // by publisher
}

// share is the part of the window that one publisher may take.
type share struct {
	free  *semaphore.Weighted
	users int // messages that have or wait for some of it
}

func newWindow(size int64) *window {
	return &window{size: size, whole: semaphore.NewWeighted(size), shares: map[uint64]*share{}}
}

// acquire waits until the window has room for e. A message larger than the window is taken alone.
func (w *window) acquire(ctx context.Context, e *entry) error {
	e.size = min(e.size, w.size)
	if e.delaysNoOthers() {
		if err := w.addUser(e.sequence).free.Acquire(ctx, w.shareOf(e)); err != nil {
			w.removeUser(e.sequence)
			return err
		}
	}
	err := w.whole.Acquire(ctx, e.size)
	if err != nil {
		w.releaseShare(e)
	}
	return err
}

// release gives back what e took.
func (w *window) release(e *entry) {
	w.whole.Release(e.size)
	w.releaseShare(e)
}

func (w *window) releaseShare(e *entry) {
	if e.delaysNoOthers() {
		w.removeUser(e.sequence).free.Release(w.shareOf(e))
	}
}

// delaysNoOthers reports whether only e's own publisher waits when e does.
func (e *entry) delaysNoOthers() bool { return e.byHTTP || e.message.Gateway != "" }

// shareOf returns what e takes of its publisher's share.
func (w *window) shareOf(e *entry) int64 { return min(e.size, w.size/4) }

func (w *window) addUser(publisher uint64) *share {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.shares[publisher]
	if s == nil {
		s = &share{free: semaphore.NewWeighted(w.size / 4)}
		w.shares[publisher] = s
	}
	s.users++
	return s
}

func (w *window) removeUser(publisher uint64) *share {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.shares[publisher]
	if s.users--; s.users == 0 {
		delete(w.shares, publisher)
	}
	return s
}
