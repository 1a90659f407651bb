package push

import "time"

// window is a time of one interval in which a connection conflates. The first update opens a window
// and leaves at once. Later updates wait for the end of the window, the newest of each sensor; then
// they leave and the next window begins. So a client gets at most one reading of a sensor in an
// interval.
type window struct {
	newest []*update     // in order of each sensor's first update
	index  map[Topic]int // in newest
	timer  *time.Timer
}

// openWindow reports whether u opens a window and may leave now. Otherwise u waits in the open
// window. The caller holds o.mu.
func (o *outbox) openWindow(u *update, interval time.Duration) bool {
	w := o.windows[interval]
	if w == nil {
		if o.windows == nil {
			o.windows = make(map[time.Duration]*window)
		}
		w = &window{index: make(map[Topic]int)}
		w.timer = time.AfterFunc(interval, func() { o.endWindow(w, interval) })
		o.windows[interval] = w
		return true
	}
	i, ok := w.index[u.about]
	switch {
	case !ok:
		w.index[u.about] = len(w.newest)
		w.newest = append(w.newest, u)
	case !u.at.before(w.newest[i].at):
		w.newest[i] = u
	}
	return false
}

func (o *outbox) endWindow(w *window, interval time.Duration) {
	o.mu.Lock()
	if o.windows[interval] != w { // stopWindows was called
		o.mu.Unlock()
		return
	}
	if len(w.newest) == 0 {
		delete(o.windows, interval)
		o.mu.Unlock()
		return
	}
	for _, u := range w.newest {
		o.put(u)
	}
	clear(w.newest)
	w.newest = w.newest[:0]
	clear(w.index)
	w.timer.Reset(interval)
	o.wakeAndUnlock()
}

func (o *outbox) stopWindows() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.windows {
		w.timer.Stop()
	}
	o.windows = nil
}
