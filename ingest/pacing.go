package ingest

import "time"

// pacing decides how long a lane waits for more messages before it commits: a transaction costs
// much more than one more reading in it. It waits only while messages keep coming, and so that a
// message is acknowledged within the target latency. A message that comes alone, or whose publisher
// sends the next one after its acknowledgement, is committed at once.
type pacing struct {
	target time.Duration
	gap    time.Duration // between messages, a moving average
	commit time.Duration // duration of a transaction, a moving average
	last   time.Time     // receipt of the last message
	futile int           // waits in a row in which no message came
	skip   int           // batches that do not wait, after futile waits
}

const (
	// averaged is of how many values the moving averages are, about.
	averaged = 16
	// maxSilence is after how many gaps without a message it waits no longer.
	maxSilence = 3
	// minExpected is how many messages must be expected for a wait.
	minExpected = 2
	// maxFutile bounds how many batches do not wait after futile waits: 1<<maxFutile.
	maxFutile = 6
)

// arrived notes the receipt of a message.
func (p *pacing) arrived(at time.Time) {
	gap := min(max(at.Sub(p.last), 0), p.target)
	p.last = at
	p.gap += (gap - p.gap) / averaged
}

// committed notes the duration of a transaction.
func (p *pacing) committed(d time.Duration) {
	p.commit += (min(d, p.target) - p.commit) / averaged
}

// room returns for how long a batch whose first message came at first may wait, at the time now;
// 0: not at all. Half of the target is left for its transaction to take twice as long as usual.
func (p *pacing) room(first, now time.Time) time.Duration {
	room := min(p.target/2, p.target-2*p.commit) - now.Sub(first)
	if room <= 0 || p.gap*minExpected > room {
		return 0
	}
	if p.skip > 0 {
		p.skip--
		return 0
	}
	return room
}

// silence returns after which time without a message a batch waits no longer.
func (p *pacing) silence() time.Duration { return maxSilence * p.gap }

// waited notes how many messages came while a batch waited.
func (p *pacing) waited(messages int) {
	if messages > 0 {
		p.futile = 0
		return
	}
	p.futile = min(p.futile+1, maxFutile)
	p.skip = 1 << p.futile
}
