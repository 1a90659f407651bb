package store

import (
	"math"
	"time"
)

// instant is a time in microseconds since 2000, as PostgreSQL has it.
type instant int64

// never is before all instants: PostgreSQL's -infinity.
const never instant = math.MinInt64

func instantOf(t time.Time) instant { return instant(t.UnixMicro() - epoch) }

func (i instant) time() time.Time { return time.UnixMicro(int64(i) + epoch).UTC() }

// since returns seconds.
func (i instant) since(o instant) float64 { return float64(i-o) / 1e6 }

// point is a reading on its way into a piece. Its value is NaN where it is not usable.
type point struct {
	at    instant
	value float64
	good  bool
}

// piece is what readings of one sensor that follow each other come to. The zero piece is of none.
// All but count, good, begin, end and pause speak of usable readings.
type piece struct {
	count, good, usable int64
	begin, end          instant // of the first and the last reading
	pause               instant // the longest between two of them, in microseconds
	firstAt, lastAt     instant
	sum, min, max       float64
	m2                  float64 // sum of the squared deviations from the mean
	first, last         float64
	// seconds times value, each value held until the next, from first to last
	integral float64
}

// add takes in a reading that is later than all before.
func (p *piece) add(r point) {
	if p.count == 0 {
		p.begin = r.at
	} else {
		p.pause = max(p.pause, r.at-p.end)
	}
	p.end = r.at
	p.count++
	if r.good {
		p.good++
	}
	v := r.value
	if math.IsNaN(v) {
		return
	}
	if p.usable == 0 {
		p.first, p.firstAt, p.min, p.max = v, r.at, v, v
	} else {
		p.integral += p.last * r.at.since(p.lastAt)
		p.min, p.max = min(p.min, v), max(p.max, v)
	}
	p.last, p.lastAt = v, r.at
	p.sum += v
	p.usable++
	if n := float64(p.usable); n > 1 { // Youngs and Cramer, 1971
		d := v*n - p.sum
		p.m2 += d / n * (d / (n - 1))
	}
}

// merge takes in a piece that is later than all before.
func (p *piece) merge(o *piece) {
	switch {
	case o.count == 0:
		return
	case p.count == 0:
		*p = *o
		return
	}
	p.pause = max(p.pause, o.pause, o.begin-p.end)
	p.end = o.end
	p.count += o.count
	p.good += o.good
	switch {
	case o.usable == 0:
		return
	case p.usable == 0:
		p.first, p.firstAt, p.min, p.max = o.first, o.firstAt, o.min, o.max
	default:
		p.integral += p.last * o.firstAt.since(p.lastAt)
		p.min, p.max = min(p.min, o.min), max(p.max, o.max)
		a, b := float64(p.usable), float64(o.usable)
		d := p.sum/a - o.sum/b
		p.m2 += d * d * a * b / (a + b)
	}
	p.integral += o.integral
	p.m2 += o.m2
	p.sum += o.sum
	p.usable += o.usable
	p.last, p.lastAt = o.last, o.lastAt
}
