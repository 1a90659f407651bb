package store_test

import (
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

func TestRollUp_ContinuesWhileAnotherInstanceMigrates(t *testing.T) {
	s, db := openRaw(t)
	store.RollUpAtOnce(s)
	conn, err := db.Conn(t.Context())
	ok(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), `SELECT pg_advisory_lock($1)`, store.MigrationLock)
	ok(t, err)

	hour := time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour)
	var rs []store.Reading
	for minute := range 60 {
		at := hour.Add(time.Duration(minute) * time.Minute)
		rs = append(rs, store.Reading{SensorID: 1, Timestamp: at, Received: at, Value: 1})
	}
	write(t, s, rs...)
	if n, _, err := s.RollUp(t.Context(), 10); n != 1 || err != nil {
		t.Errorf("got %d hours, %v; want 1", n, err)
	}
}
