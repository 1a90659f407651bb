package alarm

import (
	"fmt"
	"time"
)

// plant is the model that Step is held against: each limit is a relay of its own with an on-delay
// and an off-delay, scanned every second as a PLC would, and the operator's panel is the table of
// transitions of ISA-18.2. It shares no code with Step.
type plant struct {
	limits       []*relay // by side and, on it, from the inside out
	on, off, min int      // delays in seconds, readings
	band         float64
	latching     bool
	realarm      int
	code         byte // A…F
	shown        string
	occurrence   int
	acked, shelf int // shelf: until when, 0 is not shelved
	newest       int // time of the newest reading
	oneShot      bool
	log          []string
}

type relay struct {
	name        string
	at          float64
	high, outer bool
	closed      bool
	since, n    int // of the trouble while open; -1 is none
	left        int // of its end while closed; -1 is none
}

// panel is the life cycle of ISA-18.2: the next state for a state and an input.
var panel = map[string]byte{
	"A new": 'B', "B new": 'B', "C new": 'B', "D new": 'B', "E new": 'B', "F new": 'B',
	"B worse": 'B', "C worse": 'B', "B over": 'D', "C over": 'A', "B latch": 'E', "C latch": 'F',
	"B ack": 'C', "D ack": 'A', "E ack": 'F', "E reset": 'D', "F reset": 'A', "C again": 'B',
	"B better": 'B', "C better": 'C',
}

func (p *plant) press(key string) bool {
	next, ok := panel[string(p.code)+" "+key]
	if ok {
		p.code = next
	}
	return ok
}

func (p *plant) say(kind string, t int) {
	after := p.code
	if p.shelf > 0 {
		after = 'G'
	}
	p.log = append(p.log, fmt.Sprintf("%s %d #%d %s %c", kind, t, p.occurrence, p.shown, after))
}

// scan is one second without a reading.
func (p *plant) scan(t int) {
	p.open(t)
	p.close(t)
	p.clocks(t)
}

// clocks ends what ends at an instant, independent of readings.
func (p *plant) clocks(t int) {
	if p.shelf > 0 && t >= p.shelf {
		p.shelf, p.oneShot = 0, false
		p.say("unshelved", t)
	}
	if p.realarm > 0 && p.code == 'C' && t >= p.acked+p.realarm {
		p.press("again")
		p.say("reraised", t)
	}
}

// open lets relays go whose off-delay has passed.
func (p *plant) open(t int) {
	was := false
	for _, r := range p.limits {
		if r.closed && r.left >= 0 && t >= r.left+p.off {
			was, r.closed, r.left = true, false, -1
		}
	}
	if !was {
		return
	}
	for _, r := range p.limits {
		if r.closed && !r.outer {
			p.shown = r.name
			p.press("better")
			p.say("deescalated", t)
			return
		}
	}
	if p.latching {
		p.press("latch")
		p.say("latched", t)
	} else {
		p.press("over")
		p.say("cleared", t)
	}
	if p.oneShot {
		p.shelf, p.oneShot = 0, false
		p.say("unshelved", t)
	}
}

// close pulls relays whose on-delay has passed; the outermost is shown.
func (p *plant) close(t int) {
	var last *relay
	for _, r := range p.limits {
		if !r.closed && r.since >= 0 && t >= r.since+p.on && r.n >= p.min {
			r.closed, r.since, r.n, r.left = true, -1, 0, -1
			last = r
		}
	}
	if last == nil {
		return
	}
	same, other := false, false
	for _, r := range p.limits {
		if r.closed && r.high != last.high {
			r.closed, r.left, other = false, -1, true
		}
		same = same || r.closed && r.high == last.high && r.name == p.shown
	}
	p.shown = last.name
	if same && !other && (p.code == 'B' || p.code == 'C') && last.outer && p.was(last) {
		p.press("worse")
		p.say("escalated", t)
		return
	}
	p.occurrence++
	p.press("new")
	p.say("raised", t)
}

// was says whether the inner relay of the same side had been closed before this scan.
func (p *plant) was(outer *relay) bool {
	for _, r := range p.limits {
		if r.high == outer.high && !r.outer {
			return r.closed
		}
	}
	return false
}

func (p *plant) read(t int, v float64, bad bool) {
	if t <= p.newest {
		return
	}
	p.newest = t
	for _, r := range p.limits {
		if bad {
			r.left = -1
			continue
		}
		beyond := v > r.at
		held := v > r.at-p.band
		if !r.high {
			beyond, held = v < r.at, v < r.at+p.band
		}
		switch {
		case r.closed && held:
			r.left = -1
		case r.closed && r.left < 0:
			r.left = t
		case !r.closed && !beyond:
			r.since, r.n = -1, 0
		case !r.closed && r.since < 0:
			r.since, r.n = t, 1
		case !r.closed:
			r.n++
		}
	}
	p.open(t)
	p.close(t)
}

func newPlant(r *Rule) *plant {
	p := &plant{
		on:       seconds(r.OnDelay),
		off:      seconds(r.OffDelay),
		min:      max(r.MinSamples, 1),
		latching: r.Latching,
		realarm:  seconds(r.RealarmAfter), code: 'A', newest: -1,
	}
	if r.Deadband != nil {
		p.band = r.Deadband.Value
	}
	add := func(l *Limit, name string, high, outer bool) {
		if l != nil {
			p.limits = append(p.limits,
				&relay{name: name, at: l.Value, high: high, outer: outer, since: -1, left: -1})
		}
	}
	add(r.Limits.High, "high", true, false)
	add(r.Limits.HighHigh, "high_high", true, true)
	add(r.Limits.Low, "low", false, false)
	add(r.Limits.LowLow, "low_low", false, true)
	return p
}

func seconds(d Duration) int { return int(time.Duration(d) / time.Second) }
