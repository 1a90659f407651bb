package ingest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/store"
)

// failOn makes the database raise an error with an SQLSTATE for every row that meets a condition,
// until heal is called.
func (b *testPipeline) failOn(condition, sqlstate string) (heal func()) {
	b.t.Helper()
	b.exec(fmt.Sprintf(`
		CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			RAISE EXCEPTION 'odd' USING ERRCODE = '%s';
		END $$`, sqlstate))
	b.exec(`
		CREATE TRIGGER fail BEFORE INSERT ON sensor_data
			FOR EACH ROW WHEN (` + condition + `) EXECUTE FUNCTION fail()`)
	return func() {
		b.t.Helper()
		b.exec(`DROP TRIGGER fail ON sensor_data`)
	}
}

func (b *testPipeline) exec(q string) {
	b.t.Helper()
	if _, err := b.db.ExecContext(b.t.Context(), q); err != nil {
		b.t.Fatalf("%s: %v", q, err)
	}
}

// failing is a pipeline with one lane for all gateways and short backoffs.
func failing(t *testing.T) *testPipeline {
	t.Helper()
	cfg := ingest.DefaultConfig()
	cfg.Committers = 1
	b := newTestPipeline(t, cfg)
	ingest.SetMaxBackoff(b.Pipeline, 20*time.Millisecond)
	return b
}

func TestMessageThatTheDatabaseFailsOn_IsRejectedAndRecorded(t *testing.T) {
	b := failing(t)
	b.failOn("NEW.value = 13", "ZZ001")
	release := b.hold()
	defer release()
	first := b.send("g1", "sensors/g1/t2/data", sample(0), noon)
	bad := b.send("g1", "sensors/g1/t2/data", sample(13), noon) // in one batch with the others
	later := b.send("g1", "sensors/g1/t1/data", sample(1), noon)
	other := b.send("g2", "sensors/g2/u1/data", sample(1), noon)
	release()
	for _, done := range []<-chan ingest.Receipt{first, other} {
		if r := b.wait(done); r.Accepted != 1 {
			t.Errorf("another message: got %+v", r)
		}
	}
	n := 13
	testutil.Eventually(t, testutil.Timeout,
		"the message at fault is rejected while another gateway goes on", func() bool {
			n++
			b.publish("g2", "sensors/g2/u1/data", sample(n))
			overtaken := len(later) > 0
			rejected := len(bad) > 0
			if overtaken && !rejected {
				t.Fatal("a message was acknowledged before an earlier one of its gateway")
			}
			return rejected
		})
	if r := b.wait(later); r.Accepted != 1 {
		t.Errorf("the message after it: got %+v", r)
	}
	if r := b.wait(bad); r.Code != 0x83 || !strings.HasPrefix(r.Text, "database_refused") {
		t.Errorf("the message at fault: got %+v", r)
	}
	if got := b.recorded(); got != "g1 sensors/g1/t2/data database_refused 1" {
		t.Errorf("recorded: got %s", got)
	}
}

// TestDatabaseThatFailsOnEverything_LosesNothing has errors that say nothing of the messages: they
// are kept, and stored when the database is repaired.
func TestDatabaseThatFailsOnEverything_LosesNothing(t *testing.T) {
	tests := map[string]struct{ condition, sqlstate string }{
		"an error of no known class for all messages":      {"true", "ZZ001"},
		"a missing privilege, even for some messages only": {"NEW.value = 13", "42501"},
		"damaged data, even for some messages only":        {"NEW.value = 13", "XX001"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := failing(t)
			heal := b.failOn(test.condition, test.sqlstate)
			var receipts []<-chan ingest.Receipt
			for n := range 3 {
				receipts = append(receipts, b.send("g1", "sensors/g1/t2/data", sample(12+n), noon))
			}
			receipts = append(receipts, b.send("g2", "sensors/g2/u1/data", sample(13), noon))
			attempts := 60.
			if test.sqlstate != "ZZ001" {
				attempts = 5 // with the backoff of a database that is away
			}
			testutil.Eventually(t, testutil.Timeout, "it was tried often",
				func() bool { return b.metric("oei_ingest_retries_total") > attempts })
			if got := b.recorded(); got != "" {
				t.Errorf("rejected: %s", got)
			}
			heal()
			for n, done := range receipts {
				if r := b.wait(done); r.Accepted != 1 {
					t.Errorf("message %d: got %+v", n, r)
				}
			}
		})
	}
}

// TestDatabaseRefusal_IsRecorded adds a constraint that readings violate after every check.
func TestDatabaseRefusal_IsRecorded(t *testing.T) {
	b := newTestPipeline(t, ingest.DefaultConfig())
	const q = `ALTER TABLE sensor_data ADD CONSTRAINT not_13 CHECK (value <> 13)`
	if _, err := b.db.Exec(q); err != nil {
		t.Fatal(err)
	}
	release := b.hold()
	defer release()
	first := b.send("g1", "sensors/g1/t2/data", sample(0), noon)
	var receipts []<-chan ingest.Receipt
	for n := range 30 {
		receipts = append(receipts, b.send("g1", "sensors/g1/t2/data", sample(n), noon))
	}
	release()
	b.wait(first)
	for n, done := range receipts {
		r := b.wait(done)
		if want := 0; n == 13 &&
			(r.Code != 0x83 || !strings.HasPrefix(r.Text, "database_refused")) || n != 13 &&
			r.RejectedTotal != want {
			t.Errorf("%d: got %+v", n, r)
		}
	}
	if n := scan[int](t, b.db, `SELECT count(*) FROM sensor_data`); n != 29 {
		t.Errorf("stored: got %d, want 29", n)
	}
	if got := b.recorded(); got != "g1 sensors/g1/t2/data database_refused 1" {
		t.Errorf("recorded: got %s", got)
	}
	results, err := b.Write(t.Context(),
		[]store.Reading{{SensorID: b.id("t2"), Value: 13}, {SensorID: b.id("t1"), Value: 1}})
	if err != nil || len(results) != 2 || results[0].Outcome != store.Rejected ||
		results[1].Outcome != store.Rejected {
		t.Errorf("by HTTP: got %+v, %v", results, err)
	}
}
