package alarm

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// slotLength is the time for which alarms are counted together.
const slotLength = 10 * time.Minute

// Target is the targets of an alarm system for one operator.
type Target struct {
	AveragePer10Min float64 `json:"average_per_10_min"` // maximum
	PeakPer10Min    int     `json:"peak_per_10_min"`    // maximum; a flood begins above it
	FloodEndsBelow  int     `json:"flood_ends_below"`   // in a slotLength
	FloodShare      float64 `json:"flood_share"`        // maximum, of the time
	ChatterCount    int     `json:"chatter_count"`      // so many raises …
	ChatterMs       int64   `json:"chatter_ms"`         // … within this time are chattering
	StaleMs         int64   `json:"stale_ms"`           // standing longer is stale
	StaleAlarms     int     `json:"stale_alarms"`       // maximum
	// maximum, of all alarms, by the ten most frequent
	TopTenShare float64 `json:"top_ten_share"`
}

// EEMUA191 is the targets for steady operation. The average (one alarm in ten minutes) and the peak
// (ten in ten minutes) are those of EEMUA publication 191. The others are those of ANSI/ISA-18.2
// and IEC 62682, which build on it: floods begin above ten and end below five in ten minutes and
// take less than about 1 % of the time; fewer than five alarms are stale after 24 hours; no alarm
// chatters, which is three raises in a minute; the ten most frequent alarms are 1 to 5 % of all.
var EEMUA191 = Target{
	AveragePer10Min: 1,
	PeakPer10Min:    10,
	FloodEndsBelow:  5,
	FloodShare:      0.01,
	ChatterCount:    3,
	ChatterMs:       time.Minute.Milliseconds(),
	StaleMs:         (24 * time.Hour).Milliseconds(),
	StaleAlarms:     5,
	TopTenShare:     0.05,
}

// KPI measures an alarm system by its events, in order of time. It holds a count for each ten
// minutes and a few for each alarm that has events.
type KPI struct {
	from, to   time.Time
	target     Target
	slots      []int
	alarms     map[int64]*alarmCount
	bySeverity map[Severity]int
	acks       int
	ackTime    time.Duration
}

type alarmCount struct {
	raised  int
	recent  []time.Time // the last ChatterCount raises
	chatter int         // raises that were part of chattering
	since   time.Time   // active since; zero: not active
	unacked time.Time   // announced and unacknowledged since; zero: it is not
}

// NewKPI returns a KPI of [from, to), at most 366 days, against a target.
func NewKPI(from, to time.Time, target Target) *KPI {
	if end := from.Add(366 * 24 * time.Hour); to.After(end) {
		to = end
	}
	n := 0
	if to.After(from) {
		n = int((to.Sub(from) + slotLength - 1) / slotLength)
	}
	return &KPI{
		from:       from,
		to:         to,
		target:     target,
		slots:      make([]int, n),
		alarms:     map[int64]*alarmCount{},
		bySeverity: map[Severity]int{},
	}
}

func (k *KPI) alarm(id int64) *alarmCount {
	a := k.alarms[id]
	if a == nil {
		a = &alarmCount{}
		k.alarms[id] = a
	}
	return a
}

// Standing adds an alarm that was active at from: since when, and since when unacknowledged (zero:
// it is acknowledged). It is to be called before the first Add.
func (k *KPI) Standing(id int64, since, unacked time.Time) {
	a := k.alarm(id)
	a.since, a.unacked = since, unacked
}

// Add counts an event of an alarm, unless it is outside of [from, to).
func (k *KPI) Add(id int64, e Event) {
	if e.At.Before(k.from) || !e.At.Before(k.to) {
		return
	}
	a := k.alarm(id)
	switch e.Kind {
	case Raised, Escalated, Reraised:
		if e.Kind == Raised {
			a.since = e.At
		}
		if e.Quiet {
			return // it was not announced
		}
		a.unacked = e.At
		a.raised++
		k.bySeverity[e.Severity]++
		k.slots[e.At.Sub(k.from)/slotLength]++
		if a.recent = append(a.recent, e.At); len(a.recent) > k.target.ChatterCount {
			a.recent = slices.Delete(a.recent, 0, 1)
		}
		if len(a.recent) == k.target.ChatterCount &&
			e.At.Sub(a.recent[0]).Milliseconds() <= k.target.ChatterMs {
			a.chatter++
		}
	case Cleared, LatchedEvent:
		a.since = time.Time{}
	case Acknowledged:
		if !a.unacked.IsZero() {
			k.acks++
			k.ackTime += e.At.Sub(a.unacked)
			a.unacked = time.Time{}
		}
	}
}

// KPIResult is the figures of a KPI.
type KPIResult struct {
	From, To time.Time
	Target   Target
	// announced: raised, escalated or re-alarmed while neither shelved nor suppressed
	Alarms           int
	Per10Min         []int   // of each ten minutes
	Average          float64 // per ten minutes
	Peak             int     // of the worst ten minutes
	Floods           []Flood
	FloodShare       float64 // of the time
	Chattering       []Count // the worst ten, by how often they chattered
	ChatteringAlarms int
	Stale            []Standing // the oldest ten
	StaleAlarms      int
	TopTen           []Count
	TopTenShare      float64 // of all that was announced
	BySeverity       map[Severity]int
	Acknowledged     int
	MeanTimeToAck    time.Duration // 0 when nothing was acknowledged
	Missed           []string      // names of the targets that were not met
}

// Flood is a time with more alarms than an operator can follow.
type Flood struct {
	From, To time.Time
	Alarms   int
}

// Count is a count of one alarm.
type Count struct {
	AlarmID int64
	Count   int
}

// Standing is an active alarm.
type Standing struct {
	AlarmID int64
	Since   time.Time
}

// Result returns the figures of the events that were added.
func (k *KPI) Result() KPIResult {
	out := KPIResult{
		From:         k.from,
		To:           k.to,
		Target:       k.target,
		Per10Min:     slices.Clone(k.slots),
		BySeverity:   maps.Clone(k.bySeverity),
		Floods:       []Flood{},
		Acknowledged: k.acks,
	}
	for _, n := range k.slots {
		out.Alarms += n
		out.Peak = max(out.Peak, n)
	}
	if length := k.to.Sub(k.from); length > 0 {
		out.Average = float64(out.Alarms) / (float64(length) / float64(slotLength))
		out.Floods, out.FloodShare = k.floods()
	}
	var raised, chatter []Count
	var stale []Standing
	for id, a := range k.alarms {
		if a.raised > 0 {
			raised = append(raised, Count{id, a.raised})
		}
		if a.chatter > 0 {
			chatter = append(chatter, Count{id, a.chatter})
		}
		if !a.since.IsZero() && k.to.Sub(a.since).Milliseconds() > k.target.StaleMs {
			stale = append(stale, Standing{id, a.since})
		}
	}
	slices.SortFunc(stale,
		func(a, b Standing) int {
			return cmp.Or(a.Since.Compare(b.Since),
				cmp.Compare(a.AlarmID, b.AlarmID))
		})
	out.TopTen, out.Chattering = topTen(raised), topTen(chatter)
	out.ChatteringAlarms, out.StaleAlarms = len(chatter), len(stale)
	out.Stale = stale[:min(10, len(stale))]
	topTotal := 0
	for _, c := range out.TopTen {
		topTotal += c.Count
	}
	if out.Alarms > 0 {
		out.TopTenShare = float64(topTotal) / float64(out.Alarms)
	}
	if k.acks > 0 {
		out.MeanTimeToAck = k.ackTime / time.Duration(k.acks)
	}
	out.Missed = out.missed()
	return out
}

// topTen returns the ten with the highest counts.
func topTen(cs []Count) []Count {
	slices.SortFunc(cs,
		func(a, b Count) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.AlarmID, b.AlarmID)) })
	return cs[:min(10, len(cs))]
}

// floods returns the floods and their share of the time. A flood begins with ten minutes above the
// peak and ends with ten minutes below FloodEndsBelow.
func (k *KPI) floods() (floods []Flood, share float64) {
	floods = []Flood{}
	in := false
	var total time.Duration
	for i, n := range k.slots {
		from := k.from.Add(time.Duration(i) * slotLength)
		to := from.Add(slotLength)
		if to.After(k.to) {
			to = k.to
		}
		switch {
		case !in && n > k.target.PeakPer10Min:
			in = true
			floods = append(floods, Flood{From: from})
		case in && n < k.target.FloodEndsBelow:
			in = false
		}
		if in {
			f := &floods[len(floods)-1]
			f.To, f.Alarms = to, f.Alarms+n
			total += to.Sub(from)
		}
	}
	return floods, float64(total) / float64(k.to.Sub(k.from))
}

func (r *KPIResult) missed() []string {
	out := []string{}
	for _, m := range []struct {
		missed bool
		name   string
	}{
		{r.Average > r.Target.AveragePer10Min, "average_per_10_min"},
		{r.Peak > r.Target.PeakPer10Min, "peak_per_10_min"},
		{r.FloodShare > r.Target.FloodShare, "flood_share"},
		{r.ChatteringAlarms > 0, "chattering"},
		{r.StaleAlarms > r.Target.StaleAlarms, "stale_alarms"},
		{r.Alarms > 0 && r.TopTenShare > r.Target.TopTenShare, "top_ten_share"},
	} {
		if m.missed {
			out = append(out, m.name)
		}
	}
	return out
}
