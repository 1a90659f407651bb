package alarm

import (
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // for servers without zone files
)

// Schedule says when an alarm is in force: on Days (mon…sun, empty: every day) from From to To
// (15:04, local time of Zone). A To that is not after From is on the next day; From and To that are
// equal mean the whole day.
type Schedule struct {
	Zone string   `json:"zone"` // IANA name
	Days []string `json:"days,omitempty"`
	From string   `json:"from"`
	To   string   `json:"to"`
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // as time.Weekday counts

func (s *Schedule) validate(fs *faults) {
	_, err := time.LoadLocation(s.Zone)
	fs.add(err != nil || s.Zone == "" || s.Zone == "Local", "schedule.zone",
		"must be the name of a time zone such as Europe/Rome or UTC")
	for i, d := range s.Days {
		fs.add(!slices.Contains(dayNames, d), fmt.Sprintf("schedule.days[%d]", i),
			"must be mon, tue, wed, thu, fri, sat or sun")
		fs.add(slices.Contains(s.Days[:i], d), fmt.Sprintf("schedule.days[%d]", i),
			"must not be named twice")
	}
	fs.add(minutes(s.From) < 0, "schedule.from", "must be a time of day such as 06:00")
	fs.add(minutes(s.To) < 0, "schedule.to", "must be a time of day such as 22:00")
}

// minutes returns the minutes since midnight of a time of day such as 15:04; -1 when s is not one.
func minutes(s string) int {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != 5 {
		return -1
	}
	return t.Hour()*60 + t.Minute()
}

func (s *Schedule) location() *time.Location {
	l, err := time.LoadLocation(s.Zone)
	if err != nil {
		return time.UTC
	}
	return l
}

func (r *Rule) location() *time.Location {
	if r.zone == nil && r.Schedule != nil {
		return r.Schedule.location()
	}
	return r.zone
}

// turn returns when the schedule that begins on a day begins and ends; ok is false when it does not
// begin on that day.
func (s *Schedule) turn(
	y int, m time.Month, d int, l *time.Location,
) (from, to time.Time, ok bool) {
	day := time.Date(y, m, d, 12, 0, 0, 0, l)
	if len(s.Days) > 0 && !slices.Contains(s.Days, dayNames[day.Weekday()]) {
		return from, to, false
	}
	f, t := minutes(s.From), minutes(s.To)
	end := d
	if t <= f {
		end++
	}
	return time.Date(y, m, d, f/60, f%60, 0, 0, l), time.Date(y, m, end, t/60, t%60, 0, 0, l), true
}

// on reports whether the schedule is in force at t.
func (s *Schedule) on(l *time.Location, t time.Time) bool {
	y, m, d := t.In(l).Date()
	for i := -1; i <= 0; i++ {
		if from, to, ok := s.turn(y, m, d+i, l); ok && !t.Before(from) && t.Before(to) {
			return true
		}
	}
	return false
}

// next returns when the schedule next comes into force or ends after t; zero: never.
func (s *Schedule) next(l *time.Location, t time.Time) time.Time {
	y, m, d := t.In(l).Date()
	now := s.on(l, t)
	var best time.Time
	for i := -1; i <= 8; i++ {
		from, to, ok := s.turn(y, m, d+i, l)
		if !ok {
			continue
		}
		for _, b := range [...]time.Time{from, to} {
			if b.After(t) && s.on(l, b) != now && (best.IsZero() || b.Before(best)) {
				best = b
			}
		}
	}
	return best
}
