package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

// TestAlarmLog_OffsetsAreInOrderOfCommit holds a transaction after it has added its event, begins
// another one, and aborts the first.
func TestAlarmLog_OffsetsAreInOrderOfCommit(t *testing.T) {
	s, db := openRaw(t)
	g := addGateway(t, s, "g").ID
	first, second := addSensor(t, s, g, "first").ID, addSensor(t, s, g, "second").ID
	a, b := addAlarm(t, s, highRule(first)), addAlarm(t, s, highRule(second))
	const lock = 7351
	run(t, db, fmt.Sprintf(`
		CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF NEW.sensor_id = %d THEN
				PERFORM pg_advisory_xact_lock(%d);
			END IF;
			RETURN NULL;
		END $$`, first, lock))
	run(t, db, `
		CREATE TRIGGER hold AFTER INSERT ON alarm_events
			FOR EACH ROW EXECUTE FUNCTION hold()`)
	held, err := db.BeginTx(t.Context(), nil)
	ok(t, err)
	defer func() { _ = held.Rollback() }()
	_, err = held.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock($1)`, lock)
	ok(t, err)
	begin := func(sensor int64) <-chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := s.Write(t.Context(), []store.Reading{reading(sensor, 1, 90)},
				store.SideWrites{})
			ended <- err
		}()
		return ended
	}
	const q = `
		SELECT count(*)
		FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = 'oei-ms ingest'
			AND wait_event_type = 'Lock'`
	aborted := begin(first)
	testutil.Eventually(t, testutil.Timeout, "the first transaction is held",
		func() bool { return scan[int](t, db, q) == 1 })
	waiting := begin(second)
	testutil.Eventually(t, testutil.Timeout, "the second transaction waits for the first",
		func() bool {
			select {
			case err := <-waiting:
				t.Fatalf("the second has overtaken the first: %v, journal %v", err, journal(t, s))
			default:
			}
			return scan[int](t, db, q) == 2
		})
	run(t, db, `
		SELECT pg_terminate_backend(pid)
		FROM pg_stat_activity
		WHERE wait_event = 'advisory' AND datname = current_database()`)
	if err := <-aborted; err == nil {
		t.Fatal("a transaction was committed without its connection")
	}
	ok(t, <-waiting)
	ok(t, held.Rollback())
	write(t, s, reading(first, 1, 90))
	wantJournal(t, s, // which checks that there is no gap
		fmt.Sprintf("%d raised 1 normal>active_unacknowledged", b.ID),
		fmt.Sprintf("%d raised 1 normal>active_unacknowledged", a.ID))
}

// TestClaimDeliveries_PassesByWhatAnotherClaims has another transaction hold one of three
// deliveries.
func TestClaimDeliveries_PassesByWhatAnotherClaims(t *testing.T) {
	s, db := openRaw(t)
	hook := store.Channel{Name: "hook", Kind: store.Webhook, URL: "https://hooks.example.com/"}
	c, err := s.CreateChannel(t.Context(), hook)
	ok(t, err)
	for range 3 {
		_, err := s.BeginTest(t.Context(), c.ID, 0) // which is lost at once
		ok(t, err)
	}
	other, err := db.BeginTx(t.Context(), nil)
	ok(t, err)
	defer func() { _ = other.Rollback() }()
	var claimed int64
	ok(t, other.QueryRowContext(t.Context(), `
		UPDATE notification_deliveries
		SET status = 'sending', attempts = attempts + 1
		WHERE id = (SELECT min(id) FROM notification_deliveries)
		RETURNING id`).Scan(&claimed))
	list, err := s.ClaimDeliveries(t.Context(), time.Now().Add(time.Hour), time.Minute, 10, 10)
	if err != nil || len(list) != 2 || list[0].ID == claimed || list[1].ID == claimed {
		t.Errorf("got %d deliveries, %v; want the two that are free", len(list), err)
	}
}
