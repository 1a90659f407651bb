package store_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

// TestStatements_AreFew counts the round trips of what runs all the time, BEGIN and COMMIT
// included: one more must be noticed.
func TestStatements_AreFew(t *testing.T) {
	s, _ := openRaw(t)
	g := addGateway(t, s, "press")
	plain, watched := addSensor(t, s, g.ID, "plain"), addSensor(t, s, g.ID, "watched")
	rule := alarm.Rule{
		SensorID: watched.ID,
		Name:     "hot",
		Kind:     alarm.Threshold,
		Severity: alarm.Major,
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: 80}},
	}
	_, err := s.CreateAlarm(t.Context(), &rule, noon)
	ok(t, err)
	minute := 0
	writeTo := func(sensor int64, value float64) func() error {
		return func() error {
			minute++
			_, err := s.Write(t.Context(), []store.Reading{reading(sensor, minute, value)},
				store.SideWrites{})
			return err
		}
	}
	tests := []struct {
		name           string
		do             func() error
		sent, prepared int64
	}{
		{"a reading without alarms", writeTo(plain.ID, 1), 6, 4},
		{"a reading with an alarm that stays as it is", writeTo(watched.ID, 1), 6, 4},
		{"the latest reading of a sensor", func() error {
			_, err := s.Latest(t.Context(), store.LatestQuery{Sensors: []int64{plain.ID}})
			return err
		}, 1, 1},
		{"a sensor", func() error {
			_, err := s.Sensor(t.Context(), plain.ID)
			return err
		}, 1, 1},
		{"sensors", func() error {
			_, err := s.Sensors(t.Context(), store.SensorFilter{}, 0, 100)
			return err
		}, 1, 1},
		{"a gateway", func() error {
			_, err := s.Gateway(t.Context(), g.ID)
			return err
		}, 1, 1},
		{"nothing to roll up", func() error {
			_, _, err := s.RollUp(t.Context(), 10)
			return err
		}, 8, 6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 12 { // every connection of the pool knows the statements then
				ok(t, tt.do())
			}
			sent, prepared := s.Statements()
			ok(t, tt.do())
			sentThen, preparedThen := s.Statements()
			if n, p := sentThen-sent, preparedThen-prepared; n != tt.sent || p != tt.prepared {
				t.Errorf("%d statements, %d of them prepared; want %d and %d", n, p, tt.sent,
					tt.prepared)
			}
		})
	}
}

func TestStatements_ArePrepared(t *testing.T) {
	count := func(t *testing.T, s *store.Store) (n int) {
		t.Helper()
		ok(t, store.SessionAPI(t, s).Get(&n, `SELECT count(*) FROM pg_prepared_statements`))
		return n
	}
	read := func(t *testing.T, s *store.Store, sensor int64) {
		t.Helper()
		for range 3 {
			got, err := s.Sensor(t.Context(), sensor)
			ok(t, err)
			if got.Name != "temperature" {
				t.Errorf("got %q", got.Name)
			}
		}
	}
	open := func(t *testing.T) (*store.Store, int64) {
		t.Helper()
		s := openAt(t, pgtest.DSN(t)+durable)
		store.SessionAPI(t, s)
		sensor := addSensor(t, s, addGateway(t, s, "press").ID, "temperature")
		read(t, s, sensor.ID)
		if count(t, s) == 0 {
			t.Fatal("nothing is prepared")
		}
		return s, sensor.ID
	}
	t.Run("again after the schema has changed", func(t *testing.T) {
		s, _ := open(t)
		users := func() {
			for range 3 {
				_, err := s.Users(t.Context(), store.UserFilter{}, 0, 10)
				ok(t, err)
			}
		}
		users()
		_, err := store.SessionAPI(t, s).Exec(
			`ALTER TABLE users ALTER COLUMN email TYPE varchar(200)`)
		ok(t, err)
		users()
	})
	t.Run("again in a new session after the session has ended", func(t *testing.T) {
		s, sensor := open(t)
		_, _ = store.SessionAPI(t, s).Exec(`SELECT pg_terminate_backend(pg_backend_pid())`)
		read(t, s, sensor)
		if count(t, s) == 0 {
			t.Error("nothing is prepared")
		}
	})
	t.Run("only the latest of many texts", func(t *testing.T) {
		s, sensor := open(t)
		for n := range 300 {
			for range 2 {
				var got int
				ok(t, store.SessionAPI(t, s).Get(&got, fmt.Sprintf(`SELECT %d + $1::int`, n), 1))
			}
		}
		if n := count(t, s); n < 90 || n > 100 {
			t.Errorf("%d are prepared", n)
		}
		read(t, s, sensor)
	})
	t.Run("not where partitions are read", func(t *testing.T) {
		s, sensor := open(t)
		_, before := s.Statements()
		for range 5 {
			all(t, s, sensor)
		}
		var n int
		ok(t, store.SessionAPI(t, s).Get(&n, `
			SELECT count(*)
			FROM pg_prepared_statements
			WHERE statement LIKE '%sensor_data%'`))
		if _, after := s.Statements(); n > 0 || after > before+5 {
			t.Errorf("%d are prepared, and were sent %d times", n, after-before)
		}
	})
	t.Run("no more once a server does not know them", func(t *testing.T) {
		var log bytes.Buffer
		cfg := store.DefaultConfig()
		s, err := store.Open(t.Context(), pgtest.DSN(t)+durable, cfg,
			slog.New(slog.NewTextHandler(&log, nil)))
		ok(t, err)
		defer s.Close()
		store.SessionAPI(t, s)
		sensor := addSensor(t, s, addGateway(t, s, "press").ID, "temperature")
		read(t, s, sensor.ID)
		_, err = store.SessionAPI(t, s).Exec(`DEALLOCATE ALL`)
		ok(t, err)
		read(t, s, sensor.ID)
		if n := count(t, s); n > 0 {
			t.Errorf("%d are prepared", n)
		}
		if !bytes.Contains(log.Bytes(), []byte("OEI_STORE_PREPARED_STATEMENTS=false")) {
			t.Errorf("the log has no remedy: %s", &log)
		}
	})
	t.Run("not when they are switched off", func(t *testing.T) {
		s := openWith(t, pgtest.DSN(t)+durable,
			func(cfg *store.Config) { cfg.PreparedStatements = false })
		read(t, s, addSensor(t, s, addGateway(t, s, "press").ID, "temperature").ID)
		if _, n := s.Statements(); n > 0 {
			t.Errorf("%d were sent", n)
		}
	})
}
