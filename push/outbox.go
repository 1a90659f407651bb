package push

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// maxReplies bounds the answers that wait for one connection: a client may send a burst of requests
// before it reads.
const maxReplies = 128

// outbox is the bounded queue of one connection. Adding to it never blocks.
//
// Updates leave in order while at most size of them wait. When more wait, later updates conflate:
// the outbox keeps the newest update of each sensor and of each gateway's status, until the queue
// is empty and the conflated updates become the queue. It counts the updates that were lost, and
// reports their number with the next batch. Answers and pings have queues of their own and leave
// first; alarm events, which are never lost (alarm_stream.go), leave next.
//
// The writer takes batches out of the outbox. It runs only while something waits, unless that is
// often the case: then it keeps running.
type outbox struct {
	size        int
	startWriter func()
	wake        chan struct{} // has a token when the writer may find something

	mu          sync.Mutex
	hasWriter   bool
	closing     bool // the writer has been started for the last time and runs until the end
	batches     int  // taken since the last reviewWriter
	keepWriter  bool // reviewWriter found several batches
	replies     [][]byte
	pong        *string // the payload of the client's latest ping
	ping        bool
	held        bool
	gathering   bool      // the writer waits for a chunk of updates
	queue       []*update // waiting from head on
	head        int
	conflated   []*update     // in order of each topic's first update
	conflatedAt map[Topic]int // in conflated
	dropped     int
	windows     map[time.Duration]*window
	inSnapshot  map[Topic]order // what snapshots contained, not to be sent again
	snapshotAt  time.Time       // of the last snapshot
	alarms      alarmStream
}

// batch is what the writer takes at once.
type batch struct {
	replies [][]byte
	pong    *string
	ping    bool
	alarms  []*update
	dropped int // updates before these that are never sent
	updates []*update
}

func (b batch) isEmpty() bool {
	return len(b.replies) == 0 && b.pong == nil && !b.ping && len(b.alarms) == 0 &&
		b.dropped == 0 && len(b.updates) == 0
}

func newOutbox(size, maxAlarms int, startWriter func()) *outbox {
	return &outbox{
		size:        size,
		startWriter: startWriter,
		wake:        make(chan struct{}, 1),
		alarms:      alarmStream{size: maxAlarms},
	}
}

// offer adds u and reports whether an update was lost. With an interval, u may wait for the end of
// a window.
func (o *outbox) offer(u *update, interval time.Duration) (lost bool) {
	o.mu.Lock()
	if interval > 0 && !o.openWindow(u, interval) {
		o.mu.Unlock()
		return false
	}
	lost = o.put(u)
	if o.gathering && o.waiting() < chunkSize {
		o.mu.Unlock()
		return lost
	}
	o.wakeAndUnlock()
	return lost
}

// waiting returns the number of updates in the queue. The caller holds o.mu.
func (o *outbox) waiting() int { return len(o.queue) - o.head }

func (o *outbox) put(u *update) (lost bool) {
	if at, ok := o.inSnapshot[u.about]; ok && u.at.compare(at) == 0 {
		return false
	}
	if len(o.conflated) > 0 || o.waiting() >= o.size {
		return o.conflate(u)
	}
	if o.head > 0 && len(o.queue) == cap(o.queue) {
		o.compact()
	}
	o.queue = append(o.queue, u)
	return false
}

// compact moves waiting updates to the front, so that a queue that is never empty does not grow.
func (o *outbox) compact() {
	n := copy(o.queue, o.queue[o.head:])
	clear(o.queue[n:])
	o.queue, o.head = o.queue[:n], 0
}

func (o *outbox) conflate(u *update) (lost bool) {
	i, ok := o.conflatedAt[u.about]
	if !ok {
		if o.conflatedAt == nil {
			o.conflatedAt = make(map[Topic]int)
		}
		o.conflatedAt[u.about] = len(o.conflated)
		o.conflated = append(o.conflated, u)
		return false
	}
	o.dropped++
	if !u.at.before(o.conflated[i].at) { // a late reading does not replace a newer one
		o.conflated[i] = u
	}
	return true
}

// setGathering says whether updates wake the writer only when there is a chunk of them. The writer
// sets it while it waits, and takes a batch afterwards.
func (o *outbox) setGathering(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gathering = on
	if on && len(o.replies) == 0 && len(o.alarms.events) == 0 && o.pong == nil && !o.ping &&
		o.waiting() < chunkSize {
		select {
		case <-o.wake: // of updates that may go on waiting
		default:
		}
	}
}

// reply adds an answer and reports whether there was room.
func (o *outbox) reply(frame []byte) bool {
	o.mu.Lock()
	room := len(o.replies) < maxReplies
	if room {
		o.replies = append(o.replies, frame)
	}
	o.wakeAndUnlock()
	return room
}

// sendPing has the writer ping the client.
func (o *outbox) sendPing() {
	o.mu.Lock()
	o.ping = true
	o.wakeAndUnlock()
}

// sendPong has the writer answer the client's latest ping.
func (o *outbox) sendPong(payload string) {
	o.mu.Lock()
	o.pong = &payload
	o.wakeAndUnlock()
}

// hold keeps updates in the outbox until release, while answers leave: the answer to a
// subscription comes before its first update.
func (o *outbox) hold() {
	o.mu.Lock()
	o.held = true
	o.mu.Unlock()
}

func (o *outbox) release() {
	o.mu.Lock()
	o.held = false
	o.wakeAndUnlock()
}

// take fills room with the next updates and returns them with everything else that waits.
func (o *outbox) take(room []*update) (out batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	out = batch{replies: o.replies, pong: o.pong, ping: o.ping}
	o.replies, o.pong, o.ping = nil, nil, false
	defer func() {
		if !out.isEmpty() {
			o.batches++
		}
	}()
	if o.held {
		return out
	}
	out.alarms = o.alarms.take()
	if o.waiting() == 0 && len(o.conflated) > 0 {
		o.queue, o.head = o.conflated, 0
		o.conflated, o.conflatedAt = nil, nil
		out.dropped, o.dropped = o.dropped, 0
	}
	n := copy(room, o.queue[o.head:])
	clear(o.queue[o.head : o.head+n])
	o.head += n
	if o.waiting() == 0 {
		o.queue, o.head = o.queue[:0], 0
		if cap(o.queue) > len(room) {
			o.queue = nil // an idle connection keeps little memory
		}
	}
	out.updates = room[:n]
	return out
}

// addSnapshot adds the frames of a snapshot while the outbox is held. contents has the reading of
// each sensor in it. Waiting readings that are older leave before the snapshot; readings that it
// contains are left out, now and until forgetSnapshot.
func (o *outbox) addSnapshot(frames []*update, contents map[Topic]order) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var before, after []*update
	for _, u := range o.queue[o.head:] {
		switch at, ok := contents[u.about]; {
		case !ok || u.at.after(at):
			after = append(after, u)
		case u.at.before(at):
			before = append(before, u)
		}
	}
	o.queue, o.head = slices.Concat(before, frames, after), 0
	conflated := o.conflated
	o.conflated, o.conflatedAt = nil, nil
	for _, u := range conflated {
		if at, ok := contents[u.about]; !ok || u.at.after(at) {
			o.conflate(u)
		}
	}
	if o.inSnapshot == nil {
		o.inSnapshot = make(map[Topic]order, len(contents))
	}
	maps.Copy(o.inSnapshot, contents)
	o.snapshotAt = time.Now()
}

// forgetSnapshot forgets the contents of snapshots if the last was added before that time.
func (o *outbox) forgetSnapshot(before time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.inSnapshot != nil && o.snapshotAt.Before(before) {
		o.inSnapshot = nil
	}
}

// wakeWriter has the writer look for something to send.
func (o *outbox) wakeWriter() {
	o.mu.Lock()
	o.wakeAndUnlock()
}

// wakeAndUnlock wakes the writer, or starts one. The caller holds o.mu.
func (o *outbox) wakeAndUnlock() {
	running := o.hasWriter
	o.hasWriter = true
	o.mu.Unlock()
	if !running {
		o.startWriter()
		return
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// close wakes the writer for the last time.
func (o *outbox) close() {
	o.mu.Lock()
	o.closing = true
	o.wakeAndUnlock()
}

// reviewWriter decides, at intervals, whether the writer keeps running when nothing waits.
func (o *outbox) reviewWriter() {
	o.mu.Lock()
	idle := o.keepWriter && o.batches < 2
	o.keepWriter, o.batches = o.batches >= 2, 0
	if idle && o.hasWriter {
		o.wakeAndUnlock() // so that it stops
		return
	}
	o.mu.Unlock()
}

// stopWriter reports whether the writer, which found nothing to send, must stop. The next that adds
// something starts another writer.
func (o *outbox) stopWriter() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	waits := len(o.replies) > 0 || o.pong != nil || o.ping || !o.held &&
		(o.waiting() > 0 || len(o.conflated) > 0 || len(o.alarms.events) > 0)
	if o.keepWriter || o.closing || waits {
		return false
	}
	o.hasWriter = false
	return true
}
