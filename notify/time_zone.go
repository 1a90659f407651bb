package notify

import (
	"fmt"
	"time"
	_ "time/tzdata" // for servers without zone files
	"unicode"

	"github.com/oei-ms/oei-ms/store"
)

// checkZone returns an error for a name that is not that of a time zone.
func checkZone(name string) error {
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return fmt.Errorf("%.60q is not a time zone; use a name such as Europe/Rome, or UTC", name)
	}
	return nil
}

// zone returns the time zone of times in the notifications of a route.
func (n *Notifier) zone(r *store.Route) *time.Location {
	if r != nil && r.TimeZone != "" {
		if l, err := time.LoadLocation(r.TimeZone); err == nil {
			return l
		}
	}
	return n.location
}

// clock returns t as people read it: 2026-01-02 04:04:05 CET (+01:00).
func clock(t time.Time, zone *time.Location) string {
	t = t.In(zone)
	name, offset := t.Zone()
	switch {
	case name == "UTC" && offset == 0:
		return t.Format("2006-01-02 15:04:05 UTC")
	case unicode.IsLetter(rune(name[0])):
		return t.Format("2006-01-02 15:04:05 MST (-07:00)")
	}
	return t.Format("2006-01-02 15:04:05 -07:00") // the zone has no abbreviation
}
