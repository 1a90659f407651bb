package ingest

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// room is the memory for messages that are not committed yet. A publisher that can be made to wait
// without others, which has a connection or a request of its own, may take a quarter of it: so one
// whose messages take long leaves room for the others.
type room struct {
	size  int64
	whole *semaphore.Weighted

	mu     sync.Mutex
	shares map[uint64]*share // by publisher
}

type share struct {
	free  *semaphore.Weighted
	users int // messages that take of it or wait to
}

func newRoom(size int64) *room {
	return &room{size: size, whole: semaphore.NewWeighted(size), shares: map[uint64]*share{}}
}

// acquire waits until there is room for j. A message larger than all of it is taken alone.
func (r *room) acquire(ctx context.Context, j *job) error {
	j.size = min(j.size, r.size)
	if j.waitsAlone() {
		if err := r.shareOf(j.sequence).free.Acquire(ctx, j.share(r)); err != nil {
			r.leave(j.sequence)
			return err
		}
	}
	err := r.whole.Acquire(ctx, j.size)
	if err != nil {
		r.releaseShare(j)
	}
	return err
}

// release gives back what j took.
func (r *room) release(j *job) {
	r.whole.Release(j.size)
	r.releaseShare(j)
}

func (r *room) releaseShare(j *job) {
	if j.waitsAlone() {
		r.leave(j.sequence).free.Release(j.share(r))
	}
}

// waitsAlone reports whether only its own publisher waits when j does.
func (j *job) waitsAlone() bool { return j.byHTTP || j.message.Gateway != "" }

// share is what j takes of its publisher's share.
func (j *job) share(r *room) int64 { return min(j.size, r.size/4) }

// shareOf returns the share of a publisher, with one user more.
func (r *room) shareOf(publisher uint64) *share {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.shares[publisher]
	if s == nil {
		s = &share{free: semaphore.NewWeighted(r.size / 4)}
		r.shares[publisher] = s
	}
	s.users++
	return s
}

// leave returns the share of a publisher, with one user less.
func (r *room) leave(publisher uint64) *share {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.shares[publisher]
	if s.users--; s.users == 0 {
		delete(r.shares, publisher)
	}
	return s
}
