package store_test

import (
	"database/sql"
	"testing"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

// TestChangesOfAlarms_AnswerWithWhatTheyWrote has one connection: a second command that waits for
// it commits before the first caller could run another query.
func TestChangesOfAlarms_AnswerWithWhatTheyWrote(t *testing.T) {
	tests := map[string]struct {
		first       func(t *testing.T, s *store.Store, a store.Alarm) (store.Alarm, error)
		second      func(t *testing.T, s *store.Store, a store.Alarm) error
		state       string
		ruleVersion int64
	}{
		"a command": {
			func(t *testing.T, s *store.Store, a store.Alarm) (store.Alarm, error) {
				return s.CommandAlarm(t.Context(), a.ID, alarm.Command{
					Kind:         alarm.Acknowledge,
					User:         "o",
					Occurrence:   1,
					StateVersion: 1,
				}, noon)
			},
			func(t *testing.T, s *store.Store, a store.Alarm) error {
				_, err := s.CommandAlarm(t.Context(), a.ID,
					alarm.Command{Kind: alarm.TakeOut, User: "e", Comment: "x"}, noon)
				return err
			},
			"active_acknowledged", 1,
		},
		"another rule": {
			func(t *testing.T, s *store.Store, a store.Alarm) (store.Alarm, error) {
				r := highRule(a.SensorID)
				r.ID = a.ID
				return s.UpdateAlarm(t.Context(), &r, 0, "e", noon)
			},
			func(t *testing.T, s *store.Store, a store.Alarm) error {
				_, err := s.DeleteAlarm(t.Context(), a.ID, 0, "e", false, noon)
				return err
			},
			"active_unacknowledged", 2,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dsn := pgtest.DSN(t) + durable
			db, err := sql.Open("postgres", dsn)
			ok(t, err)
			t.Cleanup(func() { _ = db.Close() })
			s := openWith(t, dsn, func(c *store.Config) { c.APIConnections = 1 })
			v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
			a := addAlarm(t, s, highRule(v.ID))
			write(t, s, reading(v.ID, 1, 90))

			lock, err := db.BeginTx(t.Context(), nil)
			ok(t, err)
			_, err = lock.ExecContext(t.Context(),
				`SELECT FROM alarm_states WHERE alarm_id = $1 FOR UPDATE`, a.ID)
			ok(t, err)
			type answer struct {
				alarm store.Alarm
				err   error
			}
			first, second := make(chan answer, 1), make(chan error, 1)
			go func() {
				got, err := test.first(t, s, a)
				first <- answer{got, err}
			}()
			within(t, "the first waits for the lock", func() bool {
				return scan[bool](t, db, `
					SELECT EXISTS (
						SELECT
						FROM pg_stat_activity
						WHERE wait_event_type = 'Lock' AND datname = current_database())`)
			})
			waits := store.WaitsForAPI(s)
			go func() { second <- test.second(t, s, a) }()
			within(t, "the second waits for the connection",
				func() bool { return store.WaitsForAPI(s) > waits })
			ok(t, lock.Rollback())

			got := <-first
			ok(t, got.err)
			ok(t, <-second)
			if got.alarm.StateName != test.state || got.alarm.RuleVersion != test.ruleVersion {
				t.Errorf("got %s with rule version %d, want %s with %d", got.alarm.StateName,
					got.alarm.RuleVersion, test.state, test.ruleVersion)
			}
		})
	}
}
