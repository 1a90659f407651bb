package push

import "time"

// round gathers what a connection conflates at one pace: the first update opens it and leaves at
// once; those that follow wait for its end, of each sensor the newest, and then open the next. So
// no sensor is told of twice within an interval.
type round struct {
	newest []*update // in the order of their first
	at     map[Topic]int
	timer  *time.Timer
}

// begin reports whether u opens a round and may leave now; else u waits in the one that is open.
// The caller holds l.mu.
func (l *lane) begin(u *update, pace time.Duration) bool {
	r := l.rounds[pace]
	if r == nil {
		if l.rounds == nil {
			l.rounds = make(map[time.Duration]*round)
		}
		r = &round{at: make(map[Topic]int)}
		r.timer = time.AfterFunc(pace, func() { l.endRound(r, pace) })
		l.rounds[pace] = r
		return true
	}
	i, ok := r.at[u.about]
	switch {
	case !ok:
		r.at[u.about] = len(r.newest)
		r.newest = append(r.newest, u)
	case !u.at.before(r.newest[i].at):
		r.newest[i] = u
	}
	return false
}

func (l *lane) endRound(r *round, pace time.Duration) {
	l.mu.Lock()
	if l.rounds[pace] != r { // stopped
		l.mu.Unlock()
		return
	}
	if len(r.newest) == 0 {
		delete(l.rounds, pace)
		l.mu.Unlock()
		return
	}
	for _, u := range r.newest {
		l.put(u)
	}
	clear(r.newest)
	r.newest = r.newest[:0]
	clear(r.at)
	r.timer.Reset(pace)
	l.callAndUnlock()
}

// stop ends all rounds.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.rounds {
		r.timer.Stop()
	}
	l.rounds = nil
}
