package notify_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/syncbuf"
	"github.com/oei-ms/oei-ms/notify"
	"github.com/oei-ms/oei-ms/store"
)

func TestMain(m *testing.M) {
	pgtest.Template(func(dsn string) error {
		_, _, err := store.Migrate(context.Background(), dsn)
		return err
	})
	pgtest.Main(m)
}

// noon is when these tests begin. They pass times explicitly.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// fixture is a database with alarm 1 of sensor 1 of gateway 1, labelled line=1, and alarm 2 on the
// same sensor, labelled line=2.
type fixture struct {
	t     *testing.T
	dsn   string
	db    *sql.DB
	store *store.Store
	log   *syncbuf.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	p := &fixture{t: t, dsn: pgtest.DSN(t) + " synchronous_commit=on", log: &syncbuf.Buffer{}}
	var err error
	if p.db, err = sql.Open("postgres", p.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.db.Close() })
	if p.store, err = store.Open(t.Context(), p.dsn, store.DefaultConfig(),
		slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.store.Close() })
	p.run(`INSERT INTO gateways (key, name) VALUES ('press-1', 'Press')`)
	p.run(`INSERT INTO sensors (gateway_id, key, name, type, unit) VALUES (1, 't1', 'Oil', ` +
		`'temperature', 'Cel')`)
	p.run(`INSERT INTO alarms (sensor_id, name, severity, rule, labels) VALUES
		(1, 'Oil too hot', 'critical', '{}', '{"line":"1"}'),
		(1, 'Oil warm', 'minor', '{}', '{"line":"2"}')`)
	return p
}

func (p *fixture) run(q string, args ...any) {
	p.t.Helper()
	if _, err := p.db.ExecContext(p.t.Context(), q, args...); err != nil {
		p.t.Fatalf("%s: %v", q, err)
	}
}

// addEvents adds n alarm events as store.Write does, with offsets in order of commit.
func (p *fixture) addEvents(n int, alarm int64, kind, state string, quiet bool) {
	p.t.Helper()
	severity := map[int64]string{1: "critical", 2: "minor"}[alarm]
	p.run(`
		WITH l AS (
			UPDATE alarm_log
			SET last = last + $1
			RETURNING last - $1 AS before
		)
		INSERT INTO alarm_events (
			"offset", at, occurrence, version, value, alarm_id, sensor_id, gateway_id,
			rule_version, quiet, kind, before, after, level, severity, message, username, comment)
		SELECT
			l.before + i, $2, 1, 1, 81.5, $3, 1, 1, 1, $4, $5,
			'normal', $6, 'high', $7, 'Oil at 81.5', '', ''
		FROM l, generate_series(1, $1::int) AS i`, n, noon, alarm, quiet, kind, state, severity)
}

const (
	unacked = "active_unacknowledged"
	acked   = "active_acknowledged"
)

// raise adds n raised events of alarm.
func (p *fixture) raise(n int, alarm int64) {
	p.t.Helper()
	p.addEvents(n, alarm, "raised", unacked, false)
}

// notifier returns a notifier that may send to this machine.
func (p *fixture) notifier(change ...func(*notify.Config)) *notify.Notifier {
	return p.notifierWith(nil, change...)
}

func (p *fixture) notifierWith(
	publish notify.Publish, change ...func(*notify.Config),
) *notify.Notifier {
	p.t.Helper()
	cfg := notify.DefaultConfig()
	cfg.AllowedTargets = []string{"127.0.0.1"}
	for _, f := range change {
		f(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		p.t.Fatal(err)
	}
	n, err := notify.New(cfg, p.store, publish,
		slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		prometheus.NewRegistry())
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func (p *fixture) webhook(url string) store.Channel {
	p.t.Helper()
	return p.channel(store.Channel{Kind: store.Webhook, URL: url, Secret: secret})
}

func (p *fixture) channel(c store.Channel) store.Channel {
	p.t.Helper()
	c.IsActive, c.Name = true, fmt.Sprintf("channel %d", time.Now().UnixNano())
	c, err := p.store.CreateChannel(p.t.Context(), c)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *fixture) route(r store.Route) store.Route {
	p.t.Helper()
	r.IsActive, r.Name = true, fmt.Sprintf("route %d", time.Now().UnixNano())
	r, err := p.store.CreateRoute(p.t.Context(), r)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// step has n do all work that is due at a time.
func (p *fixture) step(n *notify.Notifier, at time.Time) {
	p.t.Helper()
	if err := n.Enqueue(p.t.Context(), at); err != nil {
		p.t.Fatal(err)
	}
	for {
		more, err := n.Deliver(p.t.Context(), at)
		if err != nil {
			p.t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

// deliveries returns the deliveries, oldest first.
func (p *fixture) deliveries() []store.Delivery {
	p.t.Helper()
	list, err := p.store.Deliveries(p.t.Context(), store.DeliveryFilter{}, nil, 0, 1000)
	if err != nil {
		p.t.Fatal(err)
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

// receiver is a server that receives webhooks.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []received
	status func(n int) int // of the nth request, from 1; 0 waits until the client disconnects
}

type received struct {
	header http.Header
	body   string
}

func newReceiver(t *testing.T, status func(int) int) *receiver {
	t.Helper()
	r := &receiver{status: status}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, received{req.Header, string(b)})
		n := len(r.got)
		r.mu.Unlock()
		s := r.status(n)
		if s == 0 {
			<-req.Context().Done()
			return
		}
		w.WriteHeader(s)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

func always(status int) func(int) int { return func(int) int { return status } }
