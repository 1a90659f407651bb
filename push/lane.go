package push

import (
	"slices"
	"sync"
	"time"
)

// maxReplies bounds the answers that wait for one connection; a client may well send a burst before
// it reads.
const maxReplies = 128

// lane holds what waits to be written to one connection. Putting something in never blocks.
//
// Updates leave in the order they came while no more than size wait. When they are more, later ones
// conflate: of each sensor (and each gateway's status) only the newest is kept, one slot for each
// the client listens to, until the queue has drained and they become the queue. What was lost by it
// is counted and handed out with them. Answers and pings have their own room and go first; so have
// alarm events (stream.go), which go next.
//
// Whoever takes out of it, the writer, is there only while there is something to do; where that is
// often it stays.
type lane struct {
	size  int
	start func()        // a writer
	wake  chan struct{} // has a token when there may be something to take

	mu      sync.Mutex
	manned  bool // there is a writer
	over    bool // the last writer has been called, and stays to the end
	loads   int  // taken since the last sweep
	hot     bool // the writer stays: before that sweep there were several
	replies [][]byte
	pong    *string // the payload of the client's latest ping
	ping    bool
	held    bool
	patient bool      // the writer lets updates gather until there are chunk of them
	queue   []*update // waiting from head on
	head    int
	late    []*update // conflated, in the order of their first
	at      map[Topic]int
	dropped int
	rounds  map[time.Duration]*round
	told    map[Topic]order // by a snapshot, not to be told again
	toldAt  time.Time
	stream  stream
}

// load is what the writer takes out at once.
type load struct {
	replies [][]byte
	pong    *string
	ping    bool
	alarms  []*update
	dropped int // updates that will never be sent, before these
	updates []*update
}

func (l load) empty() bool {
	return len(l.replies) == 0 && l.pong == nil && !l.ping && len(l.alarms) == 0 &&
		l.dropped == 0 && len(l.updates) == 0
}

func newLane(size, alarms int, start func()) *lane {
	return &lane{
		size:   size,
		start:  start,
		wake:   make(chan struct{}, 1),
		stream: stream{size: alarms},
	}
}

// offer puts u in and reports whether an update was lost by it. With a pace it may have to wait for
// the end of a round.
func (l *lane) offer(u *update, pace time.Duration) (lost bool) {
	l.mu.Lock()
	if pace > 0 && !l.begin(u, pace) {
		l.mu.Unlock()
		return false
	}
	lost = l.put(u)
	if l.patient && len(l.queue)-l.head < chunk {
		l.mu.Unlock()
		return lost
	}
	l.callAndUnlock()
	return lost
}

func (l *lane) put(u *update) (lost bool) {
	if at, ok := l.told[u.about]; ok && u.at.compare(at) == 0 {
		return false
	}
	if len(l.late) > 0 || len(l.queue)-l.head >= l.size {
		return l.conflate(u)
	}
	if l.head > 0 && len(l.queue) == cap(l.queue) {
		l.compact()
	}
	l.queue = append(l.queue, u)
	return false
}

// gather has wake stay silent until there is a chunk of updates, or an answer. The writer sets it
// while it waits, and takes what there is afterwards.
func (l *lane) gather(patient bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.patient = patient
	if patient && len(l.replies) == 0 && len(l.stream.events) == 0 && l.pong == nil && !l.ping &&
		len(l.queue)-l.head < chunk {
		select {
		case <-l.wake: // of updates that may go on waiting
		default:
		}
	}
}

// compact moves what waits to the front, so that a queue that is never empty does not grow.
func (l *lane) compact() {
	n := copy(l.queue, l.queue[l.head:])
	clear(l.queue[n:])
	l.queue, l.head = l.queue[:n], 0
}

func (l *lane) conflate(u *update) (lost bool) {
	i, ok := l.at[u.about]
	if !ok {
		if l.at == nil {
			l.at = make(map[Topic]int)
		}
		l.at[u.about] = len(l.late)
		l.late = append(l.late, u)
		return false
	}
	l.dropped++
	if !u.at.before(l.late[i].at) { // a reading that came late does not hide a newer one
		l.late[i] = u
	}
	return true
}

// reply puts an answer in and reports whether there was room.
func (l *lane) reply(frame []byte) bool {
	l.mu.Lock()
	room := len(l.replies) < maxReplies
	if room {
		l.replies = append(l.replies, frame)
	}
	l.callAndUnlock()
	return room
}

// askPing has the client pinged; givePong answers its ping, the latest only.
func (l *lane) askPing() {
	l.mu.Lock()
	l.ping = true
	l.callAndUnlock()
}

func (l *lane) givePong(payload string) {
	l.mu.Lock()
	l.pong = &payload
	l.callAndUnlock()
}

// hold keeps updates in until release, while answers still leave: what a subscription is answered
// with comes before its first update.
func (l *lane) hold() {
	l.mu.Lock()
	l.held = true
	l.mu.Unlock()
}

func (l *lane) release() {
	l.mu.Lock()
	l.held = false
	l.callAndUnlock()
}

// take fills room with the next updates and returns them with everything else that waits.
func (l *lane) take(room []*update) (out load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out = load{replies: l.replies, pong: l.pong, ping: l.ping}
	l.replies, l.pong, l.ping = nil, nil, false
	defer func() {
		if !out.empty() {
			l.loads++
		}
	}()
	if l.held {
		return out
	}
	out.alarms = l.stream.take()
	if l.head == len(l.queue) && len(l.late) > 0 {
		l.queue, l.head, l.late, l.at = l.late, 0, nil, nil
		out.dropped, l.dropped = l.dropped, 0
	}
	n := copy(room, l.queue[l.head:])
	clear(l.queue[l.head : l.head+n])
	l.head += n
	if l.head == len(l.queue) {
		l.queue, l.head = l.queue[:0], 0
		if cap(l.queue) > len(room) {
			l.queue = nil // an idle connection keeps little
		}
	}
	out.updates = room[:n]
	return out
}

// tell puts the frames of a snapshot in while the lane is held. What waits of the same sensors and
// is older goes before them, and what they tell already is left out, now and until forgetTold.
func (l *lane) tell(frames []*update, told map[Topic]order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var before, after []*update
	for _, u := range l.queue[l.head:] {
		switch at, ok := told[u.about]; {
		case !ok || u.at.after(at):
			after = append(after, u)
		case u.at.before(at):
			before = append(before, u)
		}
	}
	l.queue, l.head = slices.Concat(before, frames, after), 0
	late := l.late
	l.late, l.at = nil, nil
	for _, u := range late {
		if at, ok := told[u.about]; !ok || u.at.after(at) {
			l.conflate(u)
		}
	}
	if l.told == nil {
		l.told = make(map[Topic]order, len(told))
	}
	for about, at := range told {
		l.told[about] = at
	}
	l.toldAt = time.Now()
}

// forgetTold forgets what snapshots told when the last was before that time.
func (l *lane) forgetTold(before time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told != nil && l.toldAt.Before(before) {
		l.told = nil
	}
}

// rouse has the writer look what there is.
func (l *lane) rouse() {
	l.mu.Lock()
	l.callAndUnlock()
}

// callAndUnlock wakes the writer, or starts one. The caller holds l.mu.
func (l *lane) callAndUnlock() {
	manned := l.manned
	l.manned = true
	l.mu.Unlock()
	if !manned {
		l.start()
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// close calls the writer for the last time.
func (l *lane) close() {
	l.mu.Lock()
	l.over = true
	l.callAndUnlock()
}

// sweep looks now and then whether a writer is worth keeping.
func (l *lane) sweep() {
	l.mu.Lock()
	cools := l.hot && l.loads < 2
	l.hot, l.loads = l.loads >= 2, 0
	if cools && l.manned {
		l.callAndUnlock() // so that it leaves
		return
	}
	l.mu.Unlock()
}

// leave reports whether the writer, which found nothing, is to go; then the next who puts something
// in starts another one.
func (l *lane) leave() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	waits := len(l.replies) > 0 || l.pong != nil || l.ping || !l.held &&
		(len(l.queue) > l.head || len(l.late) > 0 || len(l.stream.events) > 0)
	if l.hot || l.over || waits {
		return false
	}
	l.manned = false
	return true
}
