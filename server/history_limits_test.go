package server_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

func TestHistory_FaultsNameTheRemedy(t *testing.T) {
	s := startWithHistory(t)
	token := s.token(s.users[store.Viewer])
	const year = "sensor_id=1&start=2025-01-01T00:00:00Z&end=2026-01-01T00:00:00Z"
	for query, want := range map[string][2]string{
		"history?" + fiveMinutes: {
			"sensor_id", "missing",
		},
		"history?sensor_id=99&" + fiveMinutes: {
			"sensor_id", "no sensor 99",
		},
		"history?sensor_id=NaN&" + fiveMinutes: {
			"sensor_id", "",
		},
		"history?sensor_id=1&start=2026-03-04T03:00:00Z": {
			"end", "missing",
		},
		"history?sensor_id=1&start=2026-03-04T03:00:00Z&end=2026-03-04T02:00:00Z": {
			"end", "not after start",
		},
		"history?sensor_id=1&start=NaN&end=2026-03-04T02:00:00Z": {
			"start", "",
		},
		"history?sensor_id=1&timezone=Mars/Olympus&" + fiveMinutes: {
			"timezone", "Europe/Berlin",
		},
		"history?sensor_id=1&timezone=../etc/passwd&" + fiveMinutes: {
			"timezone", "Europe/Berlin",
		},
		"history?sensor_id=1&timezone=Local&" + fiveMinutes: {
			"timezone", "Europe/Berlin",
		},
		"history?sensor_id=1&interval=7m&" + fiveMinutes: {
			"interval", "1m",
		},
		"history?sensor_id=1&interval=1m&points=3&" + fiveMinutes: {
			"points", "together",
		},
		"history?sensor_id=1&points=NaN&" + fiveMinutes: {
			"points", "",
		},
		"history?interval=1s&" + year: {
			"interval", "use 15m or longer",
		},
		"history?interval=1s&sensor_id=2&" + year: {
			"interval", "use 30m or longer",
		},
		"history?sensor_id=1&interval=1mo&start=0001-01-01T00:00:00Z&end=9999-01-01T00:00:00Z": {
			"interval", "shorter range",
		},
		"history?interval=1s&limit=50000&sensor_id=2&" + year: {
			"limit", "at most 25000",
		},
		"history?points=10000&" + year + manySensors(2, 6): {
			"points", "at most 8333",
		},
		"downsampled?points=3&sensor_id=1&" + fiveMinutes: {
			"points", "4",
		},
		"downsampled?method=lttb&points=10000&" + year + manySensors(2, 6): {
			"points", "at most 8333",
		},
		"downsampled?interval=1m&sensor_id=1&" + fiveMinutes: {
			"interval", "",
		},
		"downsampled?agg=avg&sensor_id=1&" + fiveMinutes: {
			"agg", "",
		},
		"downsampled?fill=null&sensor_id=1&" + fiveMinutes: {
			"fill", "",
		},
		"downsampled?limit=5&sensor_id=1&" + fiveMinutes: {
			"limit", "",
		},
		"downsampled?method=average&sensor_id=1&" + fiveMinutes: {
			"method", "",
		},
		"downsampled?method=lttb&sensor_id=99&" + fiveMinutes: {
			"sensor_id", "no sensor 99",
		},
		"history?method=minmax&sensor_id=1&" + fiveMinutes: {
			"method", "",
		},
		"history?agg=median&sensor_id=1&" + fiveMinutes: {
			"agg", "",
		},
		"history?" + fiveMinutes + manySensors(1, 101): {
			"sensor_id", "100",
		},
		"statistics?interval=1m&" + year: {
			"interval", "use 2h or longer",
		},
		"statistics?sensor_id=1&interval=1mo&start=0001-01-01T00:00:00Z&end=9999-01-01T00:00:00Z": {
			"interval", "statistics; use a shorter range",
		},
		"statistics?percentiles=p100&" + year: {
			"percentiles", "",
		},
		"statistics?sensor_id=1&end=2026-03-04T03:00:00Z&start=2026-03-04T03:00:00Z": {
			"end", "not after start",
		},
		"statistics?timezone=Nowhere&sensor_id=1&" + fiveMinutes: {
			"timezone", "Europe/Berlin",
		},
		"statistics?sensor_id=99&" + fiveMinutes: {
			"sensor_id", "no sensor 99",
		},
		"statistics?sensor_id=1&gap_seconds=0&" + fiveMinutes: {
			"gap_seconds", "",
		},
	} {
		if res := s.send("GET", "/api/data/"+query, token, ""); res.StatusCode != 400 ||
			!names(res, want[0]) || !strings.Contains(string(res.body), want[1]) {
			t.Errorf("%.120s: got %d, want 400 with %v: %s", query, res.StatusCode, want, res.body)
		}
	}
}

// manySensors is a query of the sensors from..to.
func manySensors(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "&sensor_id=%d", i)
	}
	return b.String()
}

func TestHistory_TooManyReadingsToReadInTime(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	s := fillReadings(startOn(t, dsn), 1)
	db := must(sql.Open("postgres", dsn))
	defer db.Close()
	lock := must(db.BeginTx(t.Context(), nil))
	defer func() { _ = lock.Rollback() }()
	must(lock.ExecContext(t.Context(), `LOCK TABLE sensor_data IN ACCESS EXCLUSIVE MODE`))
	token := s.token(s.users[store.Viewer])
	var queries sync.WaitGroup // at once, since each waits for the time limit of statements
	for _, query := range []string{
		"history?interval=1s&", "downsampled?method=lttb&", "statistics?",
	} {
		queries.Go(func() {
			res := s.send("GET", "/api/data/"+query+"sensor_id=1&"+fiveMinutes, token, "")
			if res.StatusCode != 400 || !names(res, "end") ||
				!strings.Contains(string(res.body), "shorter range") {
				t.Errorf("%s: got %d: %s", query, res.StatusCode, res.body)
			}
		})
	}
	queries.Wait()
}
