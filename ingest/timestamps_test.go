package ingest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/store"
)

// TestServerClock_Jumps has a gateway whose clock is right, and a server whose clock is wrong.
// Every sample has an outcome, none is stored twice, and one that was rejected because of the wrong
// clock is stored when it is sent again.
func TestServerClock_Jumps(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	with := func(value int, clock string) string {
		return fmt.Sprintf(`{"value":%d,"timestamp":"2026-03-04T%sZ"}`, value, clock)
	}
	ahead, behind, years := time.Hour, -time.Hour, 11*8766*time.Hour
	steps := []struct {
		name    string
		off     time.Duration // of the server's clock, which is right at noon
		payload string
		code    byte
		counts  string
		latest  string
	}{
		{"the clock is right", 0, with(1, "12:00:00"), 0, "1 0 0", "12:00:00"},
		{"an hour ahead", ahead, with(2, "12:00:01"), 0, "1 0 0", "12:00:01"},
		{
			"an hour ahead, five minutes more", ahead, with(3, "13:05:00"), 0, "1 0 0",
			"13:05:00",
		},
		{"corrected, latest stays", 0, with(4, "12:00:02"), 0, "1 0 0", "13:05:00"},
		{"sent again", 0, with(4, "12:00:02"), 0, "0 1 0", "13:05:00"},
		// noon is taken
		{"corrected, the time of receipt", 0, `{"value":5}`, 0x83, "0 0 1", "13:05:00"},
		{"an hour behind", behind, with(6, "12:00:03"), 0x83, "0 0 1", "13:05:00"},
		{"an hour behind, the time of receipt", behind, `{"value":7}`, 0, "1 0 0", "13:05:00"},
		{"years ahead", years, with(8, "12:00:04"), 0x83, "0 0 1", "13:05:00"},
		{
			"corrected, a reading that was in the future", 0, with(6, "12:00:03"), 0, "1 0 0",
			"13:05:00",
		},
		{"corrected, a reading that was too old", 0, with(8, "12:00:04"), 0, "1 0 0", "13:05:00"},
	}
	for _, s := range steps {
		r := b.wait(b.send("g1", "sensors/g1/t2/data", s.payload, noon.Add(s.off)))
		if got := fmt.Sprint(r.Accepted, r.Duplicates, r.RejectedTotal); got != s.counts ||
			r.Code != s.code {
			t.Errorf("%s: got %s with %#02x, want %s with %#02x", s.name, got, r.Code, s.counts,
				s.code)
		}
		latest, err := b.store.Latest(t.Context(),
			store.LatestQuery{Sensors: []int64{b.id("t2")}, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got := latest[0].Timestamp.UTC().Format(time.TimeOnly); got != s.latest {
			t.Errorf("%s: latest is of %s, want %s", s.name, got, s.latest)
		}
	}
	want := "t2 2026-03-04T11:00:00 7 good\nt2 2026-03-04T12:00:00 1 good\n" +
		"t2 2026-03-04T12:00:01 2 good\nt2 2026-03-04T12:00:02 4 good\n" +
		"t2 2026-03-04T12:00:03 6 good\nt2 2026-03-04T12:00:04 8 good\nt2 2026-03-04T13:05:00 3 " +
		"good"
	if got := b.stored(); got != want {
		t.Errorf("stored: got\n%s\nwant\n%s", got, want)
	}
	rejected := make(map[string]int)
	for line := range strings.Lines(b.recorded()) {
		rejected[strings.Fields(line)[2]]++
	}
	if rejected["conflict"] != 1 || rejected["future_timestamp"] != 1 || rejected["too_old"] != 1 {
		t.Errorf("recorded: got %v", rejected)
	}
}
